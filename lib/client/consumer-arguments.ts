import type { OffsetCommit } from '../broker/offset-and-metadata.ts'
import { validateTopicName } from '../broker/topic-name.ts'
import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import {
  abortSignal,
  callback,
  checkOptions,
  checkWholeNumber,
  describeValue,
  isOpaque,
  isPlainObject,
  wholeNumber,
  type Check,
  type Checks,
} from '../checks.ts'
import type { RebalanceListener } from './rebalance-listener.ts'

const MAX_PARTITION = 0x7fff_ffff
/** Options of one poll. */
export interface PollOptions {
  /** How long to wait for records, milliseconds; 0 does not wait. @defaultValue `fetchMaxWaitMs` */
  readonly maxWaitMs?: number | undefined
  /** Aborts the poll, which rejects with the signal's reason. No record is lost. */
  readonly signal?: AbortSignal | undefined
}

const POLL_OPTIONS: Checks<PollOptions> = { maxWaitMs: wholeNumber(0), signal: abortSignal }

const LISTENER: Checks<RebalanceListener> = {
  onPartitionsRevoked: callback,
  onPartitionsAssigned: callback,
  onPartitionsLost: callback,
}

/** For a field that is checked separately. */
export const checkedLater: Check = () => undefined

/** The group checks the values, because it can name the partition in the error. */
const OFFSET_COMMIT: Checks<OffsetCommit> = {
  topic: checkedLater,
  partition: checkedLater,
  offset: checkedLater,
  metadata: checkedLater,
  leaderEpoch: checkedLater,
}

/**
 * Checks an argument that names one partition.
 *
 * @throws TypeError or RangeError when it does not
 */
export function checkTopicPartition(value: unknown): TopicPartition {
  if (typeof value !== 'object' || value === null) {
    throw new TypeError(`a partition must be { topic, partition }, got ${describeValue(value)}`)
  }
  const { topic, partition } = value as Record<string, unknown>
  return {
    topic: validateTopicName(topic),
    partition: checkWholeNumber('partition', partition, 0, MAX_PARTITION),
  }
}

/**
 * Checks a list of partitions and removes duplicates.
 *
 * @throws TypeError or RangeError when it is something else
 */
export function checkTopicPartitions(value: unknown): TopicPartition[] {
  if (!Array.isArray(value)) {
    throw new TypeError(
      `partitions must be an array of { topic, partition }, got ${describeValue(value)}`,
    )
  }
  const partitions = new Map<string, TopicPartition>()
  for (const each of value as unknown[]) {
    const checked = checkTopicPartition(each)
    partitions.set(topicPartitionKey(checked), checked)
  }
  return [...partitions.values()]
}

/**
 * Checks a list of topics and removes duplicates.
 *
 * @throws TypeError when it is something else
 * @throws {@link InvalidTopicError} when one of them is not a legal name
 */
export function checkTopics(value: unknown): string[] {
  if (!Array.isArray(value)) {
    throw new TypeError(`topics must be an array of names or a RegExp, got ${describeValue(value)}`)
  }
  // `Array.from` also visits holes, which `map` skips.
  return [...new Set(Array.from(value as unknown[], validateTopicName))]
}

/**
 * Checks a listener. It may be an instance of the application's own class; a plain object may only
 * have the known callbacks.
 *
 * @throws TypeError when it is not an object, or a callback is not a function
 */
export function checkListener(listener: RebalanceListener | undefined): RebalanceListener {
  if (listener === undefined) return {}
  if (typeof listener !== 'object' || (listener as unknown) === null || Array.isArray(listener)) {
    throw new TypeError(`listener must be an object, got ${describeValue(listener)}`)
  }
  if (isPlainObject(listener)) checkOptions('a listener', listener, LISTENER)
  else if (isOpaque(listener, Object.keys(LISTENER))) {
    const callbacks = Object.keys(LISTENER).join(', ')
    throw new TypeError(
      `a listener must be an object with ${callbacks}, got ${describeValue(listener)}`,
    )
  }
  for (const [name, check] of Object.entries(LISTENER)) {
    const given = listener[name as keyof RebalanceListener]
    if (given !== undefined) check(name, given)
  }
  return listener
}

/**
 * Checks a list of offsets to commit; the group checks their values. A record as returned by a
 * consumer is refused: committing its own offset would deliver it again.
 *
 * @throws TypeError or RangeError
 */
export function checkOffsetCommits(value: unknown): OffsetCommit[] {
  if (!Array.isArray(value)) {
    throw new TypeError(
      'offsets must be an array of { topic, partition, offset, metadata? }, ' +
        `got ${describeValue(value)}`,
    )
  }
  return Array.from(value as unknown[], (each) => {
    const checked = checkOptions('an offset to commit', each as OffsetCommit, OFFSET_COMMIT)
    const { topic, partition } = checkTopicPartition(checked)
    const { offset, metadata = '', leaderEpoch = null } = checked
    // There may be a hundred thousand, and an object spread takes a microsecond for each.
    return { topic, partition, offset, metadata, leaderEpoch }
  })
}

/**
 * Checks the options of a poll and fills in the default wait time.
 *
 * @throws TypeError or RangeError
 */
export function checkPollOptions(
  options: PollOptions,
  defaultWaitMs: number,
): { maxWaitMs: number; signal: AbortSignal | undefined } {
  const { maxWaitMs = defaultWaitMs, signal } = checkOptions('poll options', options, POLL_OPTIONS)
  return { maxWaitMs, signal }
}
