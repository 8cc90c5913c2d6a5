// Not the global `Buffer`: it is behind a getter, which would be called for every small read.
import { Buffer } from 'node:buffer'
import { markAsUntransferable } from 'node:worker_threads'

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
