import { LogFullError, StorageError } from '../errors.ts'

/** Error of an append that failed because one before it in line did: nothing of it was written. */
export function behindFailed(error: StorageError | LogFullError): StorageError | LogFullError {
  if (error instanceof LogFullError) return error
  const message = `not written, because an earlier append failed: ${error.message}`
  return new StorageError(message, { path: error.path, outcome: 'not-written' }, { cause: error })
}
