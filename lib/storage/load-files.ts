import { isSystemError } from '../platform/system-error.ts'
import { damageKey, LOOKS_BESIDE_A_WRITER } from './beside-writer.ts'
import { LogGuard } from './log-guard.ts'
import type { LoadedLog, LoadOptions, LogRecovery } from './loaded-log.ts'
import { LogLoader } from './log-loader.ts'
import type { LogContext } from './log-options.ts'

/**
 * Opens a log's files. Beside a writer, what was read first may contradict what was read last: a batch
 * of an epoch that was not there yet, say, or the mark of an orderly close that is gone by now. So what
 * is wrong is believed when it is found twice. Where each look finds something else, somebody changes
 * what is looked at: then it ends where it could be read to, and the next refresh goes on.
 *
 * @throws {@link StorageError} when the disk fails.
 */
export async function loadFiles(dir: string, context: LogContext): Promise<LoadedLog> {
  try {
    const options = loadOptions(dir, context)
    return await (context.readOnly ? loadBesideWriter(options) : new LogLoader(options).load())
  } catch (error) {
    const { topic, partition, readOnly } = context
    const guard = new LogGuard({ name: `${topic}-${partition}`, dir, readOnly, damage: null })
    throw guard.failed('open', error, 'not-written')
  }
}

/** What the files of a log are opened with. Where some cannot be read, nothing is changed. */
export function loadOptions(dir: string, context: LogContext): LogContext & LoadOptions {
  const { indexIntervalBytes, segmentIndexBytes } = context.config
  const readOnly = context.readOnly || context.unreadable !== undefined
  return { ...context, dir, readOnly, indexIntervalBytes, segmentIndexBytes }
}

async function loadBesideWriter(first: LogContext & LoadOptions): Promise<LoadedLog> {
  let options = first
  const seen = new Set<string>()
  for (let look = 1; ; look += 1) {
    const isLast = look === LOOKS_BESIDE_A_WRITER
    const loaded = await loadOnce(options, isLast)
    if (loaded !== null) {
      const wrong = whatIsWrong(loaded.recovery)
      // What has no directory is for those to tell who know whether it should have one.
      if (wrong === null || seen.has(wrong) || options.loss !== undefined) return loaded
      if (isLast) return { ...loaded, recovery: NOTHING_WRONG, isUnsettled: true }
      seen.add(wrong)
      await loaded.segments.close()
    }
    const isClean = options.isClean && ((await options.isStillClean?.()) ?? true)
    options = { ...options, ...(await options.loadState?.()), isClean }
  }
}

/** @returns `null` where a file was removed that was there a moment ago, unless that `mustSucceed` */
async function loadOnce(options: LoadOptions, mustSucceed: boolean): Promise<LoadedLog | null> {
  try {
    return await new LogLoader(options).load()
  } catch (error) {
    if (mustSucceed || !isSystemError(error, 'ENOENT')) throw error
    return null
  }
}

const NOTHING_WRONG: LogRecovery = { truncations: [], rebuiltIndexes: [], damage: null }

/**
 * In a form that can be compared; `null` where nothing is. Who opened a log when it was sound does not know
 * of the damage, and goes on behind it.
 */
function whatIsWrong({ truncations, rebuiltIndexes, damage }: LogRecovery): string | null {
  if (damage !== null) return damageKey(damage)
  if (rebuiltIndexes.length === 0 && truncations.length === 0) return null
  return JSON.stringify([rebuiltIndexes, truncations])
}
