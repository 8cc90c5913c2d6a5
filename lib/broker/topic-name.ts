import { describeValue } from '../checks.ts'
import { InvalidTopicError, UnknownTopicOrPartitionError } from '../errors.ts'
import type { TopicPartition } from './topic-partition.ts'

/** Kafka's internal topics: applications neither create nor delete them. */
export const INTERNAL_TOPICS: ReadonlySet<string> = new Set([
  '__consumer_offsets',
  '__transaction_state',
  '__share_group_state',
  '__cluster_metadata',
])

/**
 * File systems allow names of 255 bytes; `-` and five digits of the partition number are
 * subtracted.
 */
const MAX_TOPIC_NAME_LENGTH = 249
const MAX_DIRECTORY_NAME_LENGTH = 255
const MAX_PARTITION = 0x7fff_ffff

const LEGAL_NAME = /^[a-zA-Z0-9._-]+$/
const CANONICAL_DECIMAL = /^(?:0|[1-9][0-9]{0,9})$/
const DELETED_DIRECTORY = /^[a-zA-Z0-9._-]+-(?:0|[1-9][0-9]{0,9})\.[0-9a-f]{32}-delete$/

/**
 * Checks a topic's name by Kafka's rules, so that the name is safe in paths and a Kafka broker can
 * take over the topic. Internal names are legal.
 *
 * @returns the name, now known to be a string
 * @throws TypeError when the name is not a string
 * @throws {@link InvalidTopicError} when it is empty, `.` or `..`, longer than 249 characters, or
 * contains a character other than ASCII letters, digits, `.`, `_` and `-`
 */
export function validateTopicName(name: unknown): string {
  if (typeof name !== 'string') {
    throw new TypeError(
      `topic must be a string of 1 to ${MAX_TOPIC_NAME_LENGTH} characters, ` +
        `got ${describeValue(name)}`,
    )
  }
  const reason = whyIllegal(name)
  if (reason !== null) throw new InvalidTopicError(name, reason)
  return name
}

/** The error for an attempt to change an internal topic. */
export function internalTopic(name: string): InvalidTopicError {
  return new InvalidTopicError(name, 'it is reserved for the library')
}

/**
 * Whether two names are equal or differ only in `.` and `_`. Kafka's metrics cannot distinguish
 * such topics, so it refuses to create the second one.
 */
export function topicNamesCollide(left: string, right: string): boolean {
  return left.replaceAll('.', '_') === right.replaceAll('.', '_')
}

/** Name of a partition's directory: `<topic>-<partition>`. */
export function partitionDirectoryName(topic: string, partition: number): string {
  return `${topic}-${partition}`
}

/**
 * Parses the name of a partition's directory. It is split at the last `-`, because topic names may
 * contain `-`.
 *
 * @returns `null` when no partition can have a directory of that name: the topic is not legal, or
 * the number is signed, padded with zeros or above 2147483647
 */
export function parsePartitionDirectoryName(name: string): TopicPartition | null {
  const dash = name.lastIndexOf('-')
  if (dash === -1) return null
  const topic = name.slice(0, dash)
  const digits = name.slice(dash + 1)
  if (whyIllegal(topic) !== null || !CANONICAL_DECIMAL.test(digits)) return null
  const partition = Number(digits)
  return partition <= MAX_PARTITION ? { topic, partition } : null
}

/**
 * Whether Kafka has renamed the directory for deletion. A match permits removal, so no other name
 * matches.
 */
export function isDeletedDirectoryName(name: string): boolean {
  return name.length <= MAX_DIRECTORY_NAME_LENGTH && DELETED_DIRECTORY.test(name)
}

function whyIllegal(name: string): string | null {
  if (name === '') return 'it is empty'
  if (name === '.' || name === '..') return "'.' and '..' are directory names"
  if (name.length > MAX_TOPIC_NAME_LENGTH) {
    return `it has ${name.length} characters, at most ${MAX_TOPIC_NAME_LENGTH} are allowed`
  }
  if (!LEGAL_NAME.test(name)) return "only ASCII letters, digits, '.', '_' and '-' are allowed"
  return null
}

/** The error for a topic that does not exist. */
export function unknownTopic(name: string): UnknownTopicOrPartitionError {
  return new UnknownTopicOrPartitionError(name, null, `there is no topic '${name}'`)
}
