/** Identifies one partition of one topic. */
export interface TopicPartition {
  readonly topic: string
  /** Partition number, from 0. */
  readonly partition: number
}

/**
 * The text `topic-partition`, for use as a key of a `Map` or `Set`.
 *
 * Two different partitions never share a key: the number has no `-`, so the last `-` separates.
 */
export function topicPartitionKey(topicPartition: TopicPartition): string {
  return `${topicPartition.topic}-${topicPartition.partition}`
}

/** Orders partitions by topic, then by number; an argument for `sort`. */
export function compareTopicPartitions(left: TopicPartition, right: TopicPartition): number {
  return compareNames(left.topic, right.topic) || left.partition - right.partition
}

/**
 * Orders topic names and member ids by UTF-16 code units, as Kafka does, so that the result
 * depends on neither locale nor machine; an argument for `sort`.
 */
export function compareNames(left: string, right: string): number {
  if (left < right) return -1
  return left > right ? 1 : 0
}

/** Whether two lists hold the same names in the same order. */
export function areSameNames(left: readonly string[], right: readonly string[]): boolean {
  if (left === right) return true
  return left.length === right.length && left.every((each, slot) => each === right[slot])
}
