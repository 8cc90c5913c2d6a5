// Not the global `Buffer`: it is behind a getter, which would be called for every small read.
import { Buffer } from 'node:buffer'
import { markAsUntransferable } from 'node:worker_threads'
import { setBytes } from './record-encoding.ts'

/**
 * Marks memory for views of records as untransferable. Otherwise whoever transferred one record to
 * a worker would take the memory away from all others, even from those not yet delivered. Node.js
 * marks the pool that `Buffer` cuts small pieces from for the same reason.
 *
 * @param bytes were allocated by `Buffer`, for nothing else.
 */
export function shared(bytes: Buffer): Buffer {
  if (bytes.length >= Buffer.poolSize >>> 1) markAsUntransferable(bytes.buffer)
  return bytes
}

/** A copy of some bytes for views of records, see {@link shared}. */
export function sharedCopy(bytes: Buffer): Buffer {
  // `Buffer.from` takes the same memory, but first looks at what else it may have been given.
  const copy = Buffer.allocUnsafe(bytes.length)
  setBytes.call(copy, bytes, 0)
  return shared(copy)
}
