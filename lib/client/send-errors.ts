import { ClosedError, TimeoutError } from '../errors.ts'
import type { ProducerBatch } from './producer-batch.ts'
import type { SentTo } from './send-completion.ts'

/** The error of a send after the close of its producer. */
export function producerClosed(): ClosedError {
  return new ClosedError('the producer is closed')
}

/** The error of a send that may have been written when its producer stopped waiting for it. */
export function closedBeforeAcknowledged(): ClosedError {
  return new ClosedError('the producer was closed before the write was acknowledged', 'unknown')
}

/** The error of the sends of a batch that took longer than `deliveryTimeoutMs`. */
export function notAcknowledged(
  batch: Pick<ProducerBatch, 'recordCount' | 'isInFlight'>,
  { topic, index }: SentTo,
  deliveryTimeoutMs: number,
): TimeoutError {
  const message =
    `${batch.recordCount} record(s) for ${topic}-${index} were not acknowledged within ` +
    `deliveryTimeoutMs (${deliveryTimeoutMs} ms)`
  return new TimeoutError(message, batch.isInFlight ? 'unknown' : 'not-written')
}
