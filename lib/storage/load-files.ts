import { LogGuard } from './log-guard.ts'
import type { LoadedLog } from './loaded-log.ts'
import { LogLoader } from './log-loader.ts'
import type { LogContext } from './log-options.ts'

/**
 * How often a log is opened beside its writer before damage is believed that differs each time. On a
 * disk that is full, a writer that goes on trying begins an epoch with each attempt.
 */
const LOOKS_BESIDE_A_WRITER = 16

/**
 * Opens a log's files. Beside a writer, what was read first may contradict what was read last: a batch
 * of an epoch that was not there yet, say. Damage is what is found twice.
 *
 * @throws {@link StorageError} when the disk fails.
 */
export async function loadFiles(dir: string, context: LogContext): Promise<LoadedLog> {
  const { indexIntervalBytes, segmentIndexBytes } = context.config
  try {
    const options = { ...context, dir, indexIntervalBytes, segmentIndexBytes }
    let seen: string | null = null
    for (let look = 1; ; look += 1) {
      const loaded = await new LogLoader(options).load()
      const { damage } = loaded.recovery
      const isBelieved = damage?.message === seen || look === LOOKS_BESIDE_A_WRITER
      if (!context.readOnly || damage === null || isBelieved) return loaded
      seen = damage.message
      await loaded.segments.close()
    }
  } catch (error) {
    const { topic, partition, readOnly } = context
    const guard = new LogGuard({ name: `${topic}-${partition}`, dir, readOnly, damage: null })
    throw guard.failed('open', error, 'not-written')
  }
}
