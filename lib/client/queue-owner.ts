import type { Clock } from '../platform/clock.ts'
import type { PartitionQueue } from './partition-queue.ts'
import type { ProducerBatch } from './producer-batch.ts'
import type { ResolvedProducerOptions } from './producer-options.ts'

/** What the queues of a producer share. */
export interface QueueOwner {
  readonly clock: Clock
  readonly options: ResolvedProducerOptions
  /** Whether batches are sent without waiting for more records. */
  readonly isForced: boolean
  batchCreated(batch: ProducerBatch, queue: PartitionQueue): void
  /** Called when the records in memory have grown. */
  memoryTaken(sizeBytes: number): void
  /** Schedules {@link PartitionQueue.drain} for the end of the tick. */
  markReady(queue: PartitionQueue): void
  /** @param timestamp the timestamp of the append, `null` if records keep their own */
  complete(batch: ProducerBatch, baseOffset: number, timestamp: number | null): void
  fail(batch: ProducerBatch, error: unknown): void
  /** `parts` have replaced `batch` and hold its records. */
  replaced(batch: ProducerBatch, parts: readonly ProducerBatch[], queue: PartitionQueue): void
  /** The group was not written, or may not have been: batches sent after it must not be written. */
  failGroup(queue: PartitionQueue, group: readonly ProducerBatch[], error: unknown): void
  /** A group has settled, and the queue may write the next one. */
  groupSettled(queue: PartitionQueue): void
}
