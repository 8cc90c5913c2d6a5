import type { OffsetCommit } from '../broker/offset-and-metadata.ts'
import { validateTopicName } from '../broker/topic-name.ts'
import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import { checkOptions, checkWholeNumber, describeValue } from '../config.ts'
import type { RebalanceListener } from './rebalance-listener.ts'

const MAX_PARTITION = 0x7fff_ffff
const OFFSET_COMMIT_KEYS = ['topic', 'partition', 'offset', 'metadata', 'leaderEpoch']

/** What a poll may be told. */
export interface PollOptions {
  /** How long to wait for records, milliseconds, 0 never waits. @defaultValue `fetchMaxWaitMs` */
  readonly maxWaitMs?: number
  /** Ends the poll, which rejects with the signal's reason. No record is lost by it. */
  readonly signal?: AbortSignal
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
  return [...new Set((value as unknown[]).map(validateTopicName))]
}

/** @throws TypeError when `listener` is no object, or has something else than functions */
export function checkListener(listener: RebalanceListener | undefined): RebalanceListener {
  if (listener === undefined) return {}
  const names = ['onPartitionsRevoked', 'onPartitionsAssigned', 'onPartitionsLost'] as const
  if (typeof listener !== 'object' || (listener as unknown) === null) {
    throw new TypeError(`listener must be an object, got ${describeValue(listener)}`)
  }
  for (const name of names) {
    const callback: unknown = listener[name]
    if (callback !== undefined && typeof callback !== 'function') {
      throw new TypeError(`${name} must be a function, got ${describeValue(callback)}`)
    }
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
  return (value as unknown[]).map((each) => {
    checkOptions('an offset to commit', each, OFFSET_COMMIT_KEYS)
    return { ...(each as OffsetCommit), ...checkTopicPartition(each) }
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
  checkOptions('poll options', options, ['maxWaitMs', 'signal'])
  const { maxWaitMs = defaultWaitMs, signal } = options
  checkWholeNumber('maxWaitMs', maxWaitMs, 0, Number.MAX_SAFE_INTEGER)
  if (signal !== undefined && !((signal as unknown) instanceof AbortSignal)) {
    throw new TypeError(`signal must be an AbortSignal, got ${describeValue(signal)}`)
  }
  return { maxWaitMs, signal }
}
