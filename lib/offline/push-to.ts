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

/** A push in progress: a promise of what it has done. */
export interface Push extends Promise<PushResult> {
  /**
   * Ends it: no more writes are started but of what lies in front of a record that a write has got, as of its key
   * with `orderBy: 'key'`, and all of these are waited for. So what is acknowledged is committed, and not written
   * again by the next push, unless a write in front of it fails. One that fails then is neither tried again nor told
   * to `onError`: its records come again with the next push, as does what stands behind them. The `signal` starts
   * nothing more. A write that awaits this would wait for itself: call it there without awaiting.
   */
  stop(): Promise<PushResult>
  /**
   * Hands out nothing more of these partitions but what lies in front of a record that a write has got,
   * waits for their writes, and commits. For `onPartitionsRevoked`: without it the next owner repeats what
   * was in flight. One that is kept goes on. Does nothing once the push has ended.
   */
  drain(partitions: readonly TopicPartition[]): Promise<void>
}

/**
 * Drives a target that wants to be written to, at its own pace, from a consumer that is subscribed
 * or has partitions. What the target has acknowledged is committed, each partition up to the first
 * record that is not: a crash or a rebalance loses nothing, and repeats at most what was in flight,
 * with what was acknowledged and had no durable commit yet. While `maxInFlight` is reached the
 * partitions are paused; up to one poll waits in memory.
 *
 * It ends when it is stopped or aborted, when a record cannot be written and `onError` is `'stop'`,
 * or when the consumer is closed. The consumer then stands where nothing is acknowledged yet. Nobody
 * else may poll it meanwhile.
 *
 * @param write gets one record, or up to `batchRecords` of one partition in an array; what it returns
 * is awaited
 * @throws TypeError or RangeError for options that are not legal
 * @throws `IllegalStateError` when the consumer commits by itself: `enableAutoCommit: false`
 * @throws from the promise: `InvalidGroupIdError` or `ReadOnlyError` for a consumer that cannot commit,
 * before anything is written
 */
export function pushTo<K, V>(
  consumer: Consumer<K, V>,
  write: (record: ConsumerRecord<K, V>, context: PushContext) => unknown,
  options?: PushOptions<K, V> & { readonly batchRecords?: undefined },
): Push
/** Likewise, with several records in a write. */
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
        'otherwise what is not yet written would be committed',
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
