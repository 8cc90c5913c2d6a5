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
/** What a poll may be told. */
export interface PollOptions {
  /** How long to wait for records, milliseconds, 0 never waits. @defaultValue `fetchMaxWaitMs` */
  readonly maxWaitMs?: number
  /** Ends the poll, which rejects with the signal's reason. No record is lost by it. */
  readonly signal?: AbortSignal
}

const POLL_OPTIONS: Checks<PollOptions> = { maxWaitMs: wholeNumber(0), signal: abortSignal }

const LISTENER: Checks<RebalanceListener> = {
  onPartitionsRevoked: callback,
  onPartitionsAssigned: callback,
  onPartitionsLost: callback,
}

/** The group checks the values, and knows by then which partition they are of. */
const byTheGroup: Check = () => undefined

const OFFSET_COMMIT: Checks<OffsetCommit> = {
  topic: byTheGroup,
  partition: byTheGroup,
  offset: byTheGroup,
  metadata: byTheGroup,
  leaderEpoch: byTheGroup,
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
 * Checks a list of partitions and leaves out what it names twice.
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
 * Checks a list of topics and leaves out what it names twice.
 *
 * @throws TypeError when it is something else
 * @throws {@link InvalidTopicError} when one of them is not a legal name
 */
export function checkTopics(value: unknown): string[] {
  if (!Array.isArray(value)) {
    throw new TypeError(`topics must be an array of names or a RegExp, got ${describeValue(value)}`)
  }
  // Where `map` passes over holes.
  return [...new Set(Array.from(value as unknown[], validateTopicName))]
}

/**
 * Checks a listener, which may be an instance of the application's own class: a plain object has
 * nothing but callbacks.
 *
 * @throws TypeError when it is no object, or has something else than functions
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
 * Checks a list of offsets to commit; what they say is for the group to check. A record as it was
 * handed out is refused: with its own offset committed it would be delivered again.
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
    // There may be a hundred thousand, and a spread of what was checked takes a microsecond.
    return { topic, partition, offset, metadata, leaderEpoch }
  })
}

/**
 * Checks what a poll is told and fills in how long it waits.
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
