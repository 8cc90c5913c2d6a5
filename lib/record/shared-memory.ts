// Not the global of that name: that is behind a getter, which would be called for every small read.
import { Buffer } from 'node:buffer'
import { markAsUntransferable } from 'node:worker_threads'

/**
 * Marks memory of which records are to be views: whoever handed one of them to a worker in a list of what
 * is transferred would take it away from all others, those that are yet to be handed out among them. The
 * pool that `Buffer` cuts small pieces from is marked by Node.js for the same reason.
 *
 * @param bytes have been made by `Buffer`, for nothing else.
 */
export function shared(bytes: Buffer): Buffer {
  if (bytes.length >= Buffer.poolSize >>> 1) markAsUntransferable(bytes.buffer)
  return bytes
}
