import { describeValue } from '../checks.ts'
import { InvalidTopicError, UnknownTopicOrPartitionError } from '../errors.ts'
import type { TopicPartition } from './topic-partition.ts'

/** Topics that Kafka keeps for itself: applications neither create nor delete them. */
export const INTERNAL_TOPICS: ReadonlySet<string> = new Set([
  '__consumer_offsets',
  '__transaction_state',
  '__share_group_state',
  '__cluster_metadata',
])

/** 255 is what file systems allow a name; `-` and five digits of partition number go off it. */
const MAX_TOPIC_NAME_LENGTH = 249
const MAX_DIRECTORY_NAME_LENGTH = 255
const MAX_PARTITION = 0x7fff_ffff

const LEGAL_NAME = /^[a-zA-Z0-9._-]+$/
const CANONICAL_DECIMAL = /^(?:0|[1-9][0-9]{0,9})$/
const DELETED_DIRECTORY = /^[a-zA-Z0-9._-]+-(?:0|[1-9][0-9]{0,9})\.[0-9a-f]{32}-delete$/

/**
 * Checks a topic's name by Kafka's rules, so that the name is safe in paths and a real broker can
 * take the topic over. Internal names are legal.
 *
 * @returns the name, now known to be a string
 * @throws TypeError when the name is not a string
 * @throws {@link InvalidTopicError} when it is empty, `.` or `..`, longer than 249 characters, or
 * has a character other than ASCII letters, digits, `.`, `_` and `-`
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

/** What those hear who would change an internal topic. */
export function internalTopic(name: string): InvalidTopicError {
  return new InvalidTopicError(name, 'the library keeps it for itself')
}

/**
 * Whether two names differ in nothing but `.` against `_`. Kafka's metrics cannot tell such topics
 * apart, so it refuses to create the second. A name collides with itself.
 */
export function topicNamesCollide(left: string, right: string): boolean {
  return left.replaceAll('.', '_') === right.replaceAll('.', '_')
}

/** Name of the directory that holds a partition: `<topic>-<partition>`. */
export function partitionDirectoryName(topic: string, partition: number): string {
  return `${topic}-${partition}`
}

/**
 * Reads the name of a partition's directory. It is split at the last `-`, because topic names may
 * contain `-` themselves.
 *
 * @returns `null` when no partition can have a directory of that name: it has no legal topic, or
 * a number that is signed, padded with zeros or above 2147483647
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
 * Whether a directory is one that Kafka renamed for deletion. What it accepts may be removed, so it takes
 * no other name.
 */
export function isDeletedDirectoryName(name: string): boolean {
  return name.length <= MAX_DIRECTORY_NAME_LENGTH && DELETED_DIRECTORY.test(name)
}

function whyIllegal(name: string): string | null {
  if (name === '') return 'it is empty'
  if (name === '.' || name === '..') return "'.' and '..' name directories"
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
