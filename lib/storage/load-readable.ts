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
 * Opens the readable part of a log: it ends, damaged, before the segment with the unreadable file.
 * If the file does not belong to a segment, nothing of the log is readable. Nothing is changed, so
 * the next open finds whatever is readable then.
 *
 * @param error the error of `Log.load`.
 * @throws that error, if it concerns more than this log, or a write.
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
  // Without a clean shutdown there may be more records than the checkpoint includes.
  const lastOffset = isClean && recoveryPoint > logStartOffset ? recoveryPoint - 1 : null
  return new CorruptRecordError(
    readFailureReason(error),
    { path, position, firstOffset: logStartOffset, lastOffset },
    { cause: error },
  )
}

/** The file that prevented a log from being opened; `null` if the cause was not a read. */
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
    // A read-only load does not read the snapshots.
    await new ProducerState(watch, dir).load(Infinity)
  } catch {
    // The watch has noted the failure, or it is not a read failure.
  }
  if (watch.failure !== null) return watch.failure
  const { path = dir, syscall } = cause
  if (syscall !== 'open') return { path, position: 0, error: cause }
  // All files could be opened for reading. An open that creates or replaces one is a write.
  return (await isLogFile(context.fileSystem, dir, path))
    ? { path, position: 0, error: cause }
    : null
}

/** Whether it is the log file of an existing segment. */
async function isLogFile(fileSystem: FileSystem, dir: string, path: string): Promise<boolean> {
  const name = dirname(path) === dir ? parseSegmentFileName(basename(path)) : null
  return name?.kind === 'log' && (await fileSystem.stat(path)) !== null
}

function causedByReading(error: unknown): NodeJS.ErrnoException | null {
  const cause = error instanceof StorageError ? error.cause : null
  return isReadFailure(cause) ? cause : null
}
