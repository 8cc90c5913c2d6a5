import { LogGuard } from './log-guard.ts'
import type { LoadedLog } from './loaded-log.ts'
import { LogLoader } from './log-loader.ts'
import type { LogContext } from './log-options.ts'

/** Opens a log's files. @throws {@link StorageError} when the disk fails. */
export async function loadFiles(dir: string, context: LogContext): Promise<LoadedLog> {
  const { indexIntervalBytes, segmentIndexBytes } = context.config
  try {
    return await new LogLoader({ ...context, dir, indexIntervalBytes, segmentIndexBytes }).load()
  } catch (error) {
    const { topic, partition, readOnly } = context
    const guard = new LogGuard({ name: `${topic}-${partition}`, dir, readOnly, damage: null })
    throw guard.failed('open', error, 'not-written')
  }
}
