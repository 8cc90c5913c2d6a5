import { isSystemError, systemError } from '../platform/system-error.ts'

/** A sync or an irreversible change has failed, so that the state of the disk is unknown. */
export class InDoubtError extends Error {
  override readonly name: string = 'InDoubtError'
}

/**
 * The name of the file being written no longer refers to it. Written bytes are lost even if they
 * are synced, although the system reports success.
 */
export class LogGoneError extends InDoubtError {
  override readonly name: string = 'LogGoneError'

  constructor(path: string) {
    const reason = 'the file was removed or replaced while it was open'
    super(`${path} is gone`, { cause: systemError('ENOENT', 'stat', path, reason) })
  }
}

/** Names of files are in doubt, but not the bytes that were written. */
export class NamesInDoubtError extends InDoubtError {
  override readonly name: string = 'NamesInDoubtError'
}

/**
 * Bytes of a failed write beyond the end of the log could not be removed. Their position is known,
 * so the log continues once they are removed. Until then a crash may make them visible.
 */
export class LeftOversError extends Error {
  override readonly name = 'LeftOversError'
}

/** Runs an irreversible change. @throws InDoubtError if it fails. */
export async function inDoubt<T>(what: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task()
  } catch (error) {
    throw error instanceof InDoubtError ? error : new InDoubtError(what, { cause: error })
  }
}

/**
 * Runs a change that ends in a sync.
 *
 * @throws InDoubtError if it fails, unless a file or directory could not be opened for it: then
 * nothing was lost, and the call can be repeated.
 */
export async function orInDoubt<T>(what: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task()
  } catch (error) {
    if (error instanceof InDoubtError) throw error
    if (isSystemError(error) && error.syscall === 'open') throw error
    throw new InDoubtError(what, { cause: error })
  }
}
