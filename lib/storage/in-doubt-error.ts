import { isSystemError, systemError } from '../platform/system-error.ts'

/** A sync, or a change that cannot be taken back, has failed: nobody can tell what is on disk. */
export class InDoubtError extends Error {
  override readonly name: string = 'InDoubtError'
}

/**
 * The file that is written to is no longer the one that its name stands for. What is written and
 * even synced goes nowhere, and the system reports success.
 */
export class LogGoneError extends InDoubtError {
  override readonly name: string = 'LogGoneError'

  constructor(path: string) {
    const reason = 'the file was removed or replaced while it was open'
    super(`${path} is gone`, { cause: systemError('ENOENT', 'stat', path, reason) })
  }
}

/** Names of files are in doubt. What was written to them is not. */
export class NamesInDoubtError extends InDoubtError {
  override readonly name: string = 'NamesInDoubtError'
}

/**
 * What a write that failed has left behind the end of the log could not be removed. It is known
 * where it is, so the log goes on once it can be; until then a crash may bring it to light.
 */
export class LeftOversError extends Error {
  override readonly name = 'LeftOversError'
}

/** Runs what cannot be taken back. @throws InDoubtError when it fails. */
export async function inDoubt<T>(what: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task()
  } catch (error) {
    throw error instanceof InDoubtError ? error : new InDoubtError(what, { cause: error })
  }
}

/**
 * Runs what ends in a sync.
 *
 * @throws InDoubtError when it fails, unless a file or directory could not even be opened for it:
 * nothing was lost then, and another attempt tells the truth.
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
