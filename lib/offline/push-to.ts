import { callback, describeValue } from '../checks.ts'
import {
  IllegalStateError,
  type Consumer,
  type ConsumerRecord,
  type TopicPartition,
} from '../index.ts'
import { checkPartitions } from './arguments.ts'
import type { PushResult, Write } from './push-delivery.ts'
import { resolvePushOptions, type PushContext, type PushOptions } from './push-options.ts'
import { PushRun } from './push-run.ts'

export type { PushResult } from './push-delivery.ts'

/** A push in progress, and a promise of its result. */
export interface Push extends Promise<PushResult> {
  /**
   * Ends the push. It waits for all writes in progress and starts no others, except for records
   * that precede a record already passed to a write in their partition, which can happen with
   * `orderBy: 'key'`. Thus all acknowledged records are committed, and the next push does not write
   * them again, unless a write of records before them fails. A write that fails now is not retried,
   * and `onError` is not called: the next push delivers its records and those after them again. If
   * the `signal` aborts the push, no further writes are started at all. Do not await this method
   * within a write, as it would wait for itself; call it there without awaiting.
   */
  stop(): Promise<PushResult>
  /**
   * Stops writing records of these partitions, waits for their writes, and commits. Only records
   * that precede a record already passed to a write are still written. Call it in
   * `onPartitionsRevoked`: without it, the next owner repeats the records in flight. A drained
   * partition that stays assigned continues afterwards. Does nothing once the push has ended.
   */
  drain(partitions: readonly TopicPartition[]): Promise<void>
}

/**
 * Writes the records of a consumer to a target, at the target's own pace. The consumer must be
 * subscribed or have partitions assigned. Acknowledged records are committed, in each partition up
 * to the first record that is not acknowledged. A crash or a rebalance loses nothing, and repeats
 * at most the records in flight and the acknowledged records without a durable commit. While
 * `maxInFlight` is reached, the partitions are paused. Up to one poll waits in memory.
 *
 * The push ends if it is stopped or aborted, if a record cannot be written and `onError` is
 * `'stop'`, or if the consumer is closed. The consumer's position is then at the first
 * unacknowledged record. Nothing else may poll the consumer while the push runs.
 *
 * @param write receives one record, or an array of up to `batchRecords` of one partition; its
 * result is awaited
 * @throws TypeError or RangeError for invalid options
 * @throws `IllegalStateError` if the consumer commits automatically: set `enableAutoCommit: false`
 * @throws from the promise: `InvalidGroupIdError` or `ReadOnlyError` if the consumer cannot commit,
 * before anything is written
 */
export function pushTo<K, V>(
  consumer: Consumer<K, V>,
  write: (record: ConsumerRecord<K, V>, context: PushContext) => unknown,
  options?: PushOptions<K, V> & { readonly batchRecords?: undefined },
): Push
/** The same, with several records per write. */
export function pushTo<K, V>(
  consumer: Consumer<K, V>,
  write: (records: readonly ConsumerRecord<K, V>[], context: PushContext) => unknown,
  options: PushOptions<K, V> & { readonly batchRecords: number },
): Push
export function pushTo<K, V>(
  consumer: Consumer<K, V>,
  write: (records: never, context: PushContext) => unknown,
  options: PushOptions<K, V> = {},
): Push {
  if (typeof (consumer as Partial<Consumer> | null)?.poll !== 'function') {
    throw new TypeError(`consumer must be a consumer, got ${describeValue(consumer)}`)
  }
  callback('write', write)
  const resolved = resolvePushOptions(options)
  if (consumer.enableAutoCommit) {
    throw new IllegalStateError(
      'pushTo() needs a consumer with enableAutoCommit: false: ' +
        'otherwise records that are not yet written would be committed',
    )
  }
  const writeAll: Write<K, V> =
    resolved.batchRecords === null
      ? (records, context) => write(records[0] as never, context)
      : (records, context) => write(records as never, context)
  const run = new PushRun(consumer, writeAll, resolved)
  const promise = run.run()
  return Object.assign(promise, {
    stop: () => {
      run.stop()
      return promise
    },
    drain: async (partitions: readonly TopicPartition[]) => run.drain(checkPartitions(partitions)),
  })
}
