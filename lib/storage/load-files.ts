import { isSystemError } from '../platform/system-error.ts'
import { damageKey, LOOKS_BESIDE_A_WRITER } from './beside-writer.ts'
import { LogGuard } from './log-guard.ts'
import type { LoadedLog, LoadOptions, LogRecovery } from './loaded-log.ts'
import { LogLoader } from './log-loader.ts'
import type { LogContext } from './log-options.ts'

/**
 * Opens a log's files. While another process writes the log, files read at different times may
 * contradict each other: for example, a batch may have an epoch that was not yet in the file, or
 * the clean-shutdown mark may be gone. So an error is only believed if it is found twice. If each
 * look finds a different error or a missing file, the log is being changed. Then it ends where it
 * could be read, and the next refresh continues.
 *
 * @throws {@link StorageError} if the disk fails.
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

/** Options for opening a log's files. If some are unreadable, nothing is changed. */
export function loadOptions(dir: string, context: LogContext): LogContext & LoadOptions {
  const { indexIntervalBytes, segmentIndexBytes } = context.config
  const readOnly = context.readOnly || context.unreadable !== undefined
  return { dir, indexIntervalBytes, segmentIndexBytes, ...context, readOnly }
}

async function loadBesideWriter(first: LogContext & LoadOptions): Promise<LoadedLog> {
  let options = first
  const seen = new Set<string>()
  for (let look = 1; ; look += 1) {
    const isLast = look === LOOKS_BESIDE_A_WRITER
    const loaded = await loadUnlessGone(options, seen, isLast)
    if (loaded !== null) {
      const wrong = whatIsWrong(loaded)
      // The caller knows whether the log should have a directory.
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
 * @param seen errors of earlier looks; missing files are added.
 * @returns `null` if a file has just been removed, so that another look is needed.
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
    // If all looks miss the same file, no one is changing the log. No directory means no log.
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
 * Identifies the errors of a load for comparison; `null` if there are none. A writer that opened
 * the log while it was sound is unaware of damage and appends after it. A new epoch means a
 * truncation.
 */
function whatIsWrong({ epochs, recovery }: LoadedLog): string | null {
  const { truncations, rebuiltIndexes, damage } = recovery
  const { latestEpoch } = epochs
  if (damage !== null) return `${latestEpoch} ${damageKey(damage)}`
  if (rebuiltIndexes.length === 0 && truncations.length === 0) return null
  return `${latestEpoch} ${JSON.stringify([rebuiltIndexes, truncations])}`
}
