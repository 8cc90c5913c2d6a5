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

/** The consumers of the pushes in progress. */
const pushed = new WeakSet<object>()

/** A push in progress, and a promise of its result. */
export interface Push extends Promise<PushResult> {
  /**
   * Ends the push. It waits for all writes in progress and starts no others, except for records
   * that precede a record already passed to a write in their partition, which can happen with
   * `orderBy: 'key'`. Such a record that waits for its retry is tried once more, at once. Thus all
   * acknowledged records are committed, and the next push does not write them again, unless a write
   * of records before them fails. A write that fails now is not retried, and `onError` is not
   * called: the next push delivers its records and those after them again, from `attempt` 1. If
   * the `signal` aborts the push, no further writes are started at all. Do not await this method
   * within a write, `onError` or a listener of the consumer, as it would wait for itself; call it
   * there without awaiting.
   */
  stop(): Promise<PushResult>
  /**
   * Stops writing records of these partitions, waits for their writes, and commits. Only records
   * that precede a record already passed to a write are still written. As with `stop`, such a
   * record that waits for its retry is tried once more, at once, and a write that fails now is not
   * retried. Call it in `onPartitionsRevoked`: without it, the next owner repeats the records in
   * flight. A drained partition that stays assigned continues afterwards. Does nothing once the
   * push has ended.
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
 * The push ends if
 *
 * - it is stopped or aborted, or its consumer is closed;
 * - a record cannot be written and `onError` is `'stop'`, or `onError` throws;
 * - a poll fails. At a record that cannot be deserialized or is damaged, the push writes what it has
 *   taken before and rejects with a `SerializationError` or a `CorruptRecordError`; `onError` is not
 *   called. To skip the record, `seek` to the `offset` + 1 or the `lastOffset` + 1 of the error and
 *   push again. To have records that cannot be deserialized passed to `onError` instead, use
 *   `bytes()` as the deserializer and decode in `write`;
 * - a commit fails, as on a full disk.
 *
 * The consumer's position is then at the first unacknowledged record. Nothing else may poll the
 * consumer while the push runs. If its `fetchMaxWaitMs` is 0, the polls of the push wait for
 * up to 100 ms all the same.
 *
 * @param write receives one record, or an array of up to `batchRecords` of one partition; its
 * result is awaited
 * @throws TypeError or RangeError for invalid options
 * @throws `IllegalStateError` if the consumer commits automatically: set `enableAutoCommit: false`;
 * or if another push of this consumer is in progress
 * @throws from the promise: `InvalidGroupIdError`, `ReadOnlyError`, or `CommitFailedError` for
 * partitions that the consumer assigned itself while others subscribe, if the consumer cannot
 * commit, before anything is written; the error of a write, unchanged. A value that is not an error
 * becomes the `cause` of an error that names the records.
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
/** The same, if only the value of `batchRecords` tells how many records a write receives. */
export function pushTo<K, V>(
  consumer: Consumer<K, V>,
  write: (
    input: ConsumerRecord<K, V> | readonly ConsumerRecord<K, V>[],
    context: PushContext,
  ) => unknown,
  options: PushOptions<K, V>,
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
  if (pushed.has(consumer)) {
    throw new IllegalStateError(
      'another pushTo() of this consumer is in progress: stop it and await it first',
    )
  }
  const writeAll: Write<K, V> =
    resolved.batchRecords === null
      ? (records, context) => write(records[0] as never, context)
      : (records, context) => write(records as never, context)
  const run = new PushRun(consumer, writeAll, resolved)
  pushed.add(consumer)
  const promise = run.run().finally(() => pushed.delete(consumer))
  return Object.assign(promise, {
    stop: () => {
      run.stop()
      return promise
    },
    drain: async (partitions: readonly TopicPartition[]) => run.drain(checkPartitions(partitions)),
  })
}
