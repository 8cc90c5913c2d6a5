import { basename, dirname } from 'node:path'
import { CorruptRecordError, StorageError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { loadOptions } from './load-files.ts'
import { parseSegmentFileName } from './log-files.ts'
import { LogLoader } from './log-loader.ts'
import type { LogContext } from './log-options.ts'
import { Log } from './log.ts'
import { ProducerState } from './producer-state.ts'
import { isReadFailure, readFailureReason } from './read-failure.ts'
import { ReadWatch, type FailedRead } from './read-watch.ts'

/**
 * Opens what can be read of a log: it ends, damaged, before the segment with a file that cannot. Where it
 * is no file of a segment, nothing of the log is open. Nothing is changed, so the next open comes to
 * whatever can be read by then.
 *
 * @param error what `Log.load` has failed with.
 * @throws that error, where it is about more than this log, or about a write.
 */
export async function loadReadable(dir: string, context: LogContext, error: unknown): Promise<Log> {
  const failed = await findUnreadable(dir, context, error)
  if (failed === null) throw error
  const loss = whyUnreadable(failed, context)
  const name = parseSegmentFileName(basename(failed.path))
  if (name === null || name.kind === 'snapshot') return Log.load(dir, { ...context, loss })
  try {
    const unreadable = { ...failed, baseOffset: name.offset }
    return await Log.load(dir, { ...context, unreadable })
  } catch (failure) {
    if (causedByReading(failure) === null) throw failure
    return Log.load(dir, { ...context, loss })
  }
}

/** The damage of a log of which nothing can be read. */
export function whyUnreadable(
  { path, position, error }: FailedRead,
  past: Pick<LogContext, 'logStartOffset' | 'recoveryPoint' | 'isClean'>,
): CorruptRecordError {
  const { logStartOffset, recoveryPoint, isClean } = past
  // Without an order to the close, there may be more than the checkpoint knows of.
  const lastOffset = isClean && recoveryPoint > logStartOffset ? recoveryPoint - 1 : null
  return new CorruptRecordError(
    readFailureReason(error),
    { path, position, firstOffset: logStartOffset, lastOffset },
    { cause: error },
  )
}

/** Which file has kept a log from being opened; `null` where it was something else than a read. */
async function findUnreadable(
  dir: string,
  context: LogContext,
  error: unknown,
): Promise<FailedRead | null> {
  const cause = causedByReading(error)
  if (cause === null) return null
  const watch = new ReadWatch(context.fileSystem)
  try {
    const options = { ...loadOptions(dir, context), fileSystem: watch, readOnly: true }
    await (await new LogLoader(options).load()).segments.close()
    // Who only reads does not ask for them.
    await new ProducerState(watch, dir).load(Infinity)
  } catch {
    // What it has failed with is noted, or is not what is looked for.
  }
  if (watch.failure !== null) return watch.failure
  const { path = dir, syscall } = cause
  if (syscall !== 'open') return { path, position: 0, error: cause }
  // All can be opened for reading. One that was to be made, or replaced, was refused as a write.
  return (await isLogFile(context.fileSystem, dir, path))
    ? { path, position: 0, error: cause }
    : null
}

/** Whether it is the log file of a segment that is there. */
async function isLogFile(fileSystem: FileSystem, dir: string, path: string): Promise<boolean> {
  const name = dirname(path) === dir ? parseSegmentFileName(basename(path)) : null
  return name?.kind === 'log' && (await fileSystem.stat(path)) !== null
}

function causedByReading(error: unknown): NodeJS.ErrnoException | null {
  const cause = error instanceof StorageError ? error.cause : null
  return isReadFailure(cause) ? cause : null
}
