import { isSystemError } from '../platform/system-error.ts'
import { LogGuard } from './log-guard.ts'
import type { LoadedLog, LoadOptions } from './loaded-log.ts'
import { LogLoader } from './log-loader.ts'
import type { LogContext } from './log-options.ts'

/**
 * How often a log is opened beside its writer before damage is believed that differs each time. On a
 * disk that is full, a writer that goes on trying begins an epoch with each attempt.
 */
const LOOKS_BESIDE_A_WRITER = 16

/**
 * Opens a log's files. Beside a writer, what was read first may contradict what was read last: a batch
 * of an epoch that was not there yet, say, or the mark of an orderly close that is gone by now. Damage
 * is what is found twice.
 *
 * @throws {@link StorageError} when the disk fails.
 */
export async function loadFiles(dir: string, context: LogContext): Promise<LoadedLog> {
  const { indexIntervalBytes, segmentIndexBytes } = context.config
  try {
    const options = { ...context, dir, indexIntervalBytes, segmentIndexBytes }
    return await (context.readOnly ? loadBesideWriter(options) : new LogLoader(options).load())
  } catch (error) {
    const { topic, partition, readOnly } = context
    const guard = new LogGuard({ name: `${topic}-${partition}`, dir, readOnly, damage: null })
    throw guard.failed('open', error, 'not-written')
  }
}

async function loadBesideWriter(first: LogContext & LoadOptions): Promise<LoadedLog> {
  let options = first
  let seen: string | null = null
  for (let look = 1; ; look += 1) {
    const isLast = look === LOOKS_BESIDE_A_WRITER
    const loaded = await new LogLoader(options).load().catch((error: unknown) => {
      // It was in the list, and its writer has removed it.
      if (isLast || !isSystemError(error, 'ENOENT')) throw error
      return null
    })
    if (loaded !== null) {
      const { damage } = loaded.recovery
      if (damage === null || damage.message === seen || isLast) return loaded
      seen = damage.message
      await loaded.segments.close()
    }
    const isClean = options.isClean && ((await options.isStillClean?.()) ?? true)
    options = { ...options, ...(await options.loadState?.()), isClean }
  }
}
