import { isSystemError } from '../platform/system-error.ts'
import { damageKey, LOOKS_BESIDE_A_WRITER } from './beside-writer.ts'
import { LogGuard } from './log-guard.ts'
import type { LoadedLog, LoadOptions, LogRecovery } from './loaded-log.ts'
import { LogLoader } from './log-loader.ts'
import type { LogContext } from './log-options.ts'

/**
 * Opens a log's files. Beside a writer, what was read first may contradict what was read last: a batch
 * of an epoch that was not there yet, say, or the mark of an orderly close that is gone by now. So what
 * is wrong is believed when it is found twice. Where each look finds something else, or something gone,
 * somebody changes what is looked at: then it ends where it could be read to, and the next refresh goes on.
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
    const loaded = await loadUnlessGone(options, seen, isLast)
    if (loaded !== null) {
      const wrong = whatIsWrong(loaded)
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

/**
 * @param seen what earlier looks have found wrong; what is gone is added.
 * @returns `null` where a file was removed that was there a moment ago, and another look follows.
 */
async function loadUnlessGone(
  options: LoadOptions,
  seen: Set<string>,
  isLast: boolean,
): Promise<LoadedLog | null> {
  const loader = new LogLoader(options)
  try {
    return await loader.load()
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error
    seen.add(error.message)
    if (!isLast) return null
    // Nobody changes a log of which all looks miss the same, and one without a directory is no log.
    const { fileSystem, dir } = options
    if (seen.size === 1 || (await fileSystem.stat(dir)) === null) throw error
    return { ...loader.unknown(), recovery: NOTHING_WRONG, isUnsettled: true }
  }
}

const NOTHING_WRONG: LogRecovery = {
  truncations: [],
  rebuiltIndexes: [],
  failedSyncOffset: null,
  damage: null,
}

/**
 * In a form that can be compared; `null` where nothing is. Who opened a log when it was sound does not know
 * of the damage, and goes on behind it. Who begins another epoch meanwhile has cut the log.
 */
function whatIsWrong({ epochs, recovery }: LoadedLog): string | null {
  const { truncations, rebuiltIndexes, damage } = recovery
  const { latestEpoch } = epochs
  if (damage !== null) return `${latestEpoch} ${damageKey(damage)}`
  if (rebuiltIndexes.length === 0 && truncations.length === 0) return null
  return `${latestEpoch} ${JSON.stringify([rebuiltIndexes, truncations])}`
}
