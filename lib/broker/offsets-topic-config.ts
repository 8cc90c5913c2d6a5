import type { TopicConfig } from '../config.ts'

/** Kafka's name for the topic that groups commit to. */
export const OFFSETS_TOPIC = '__consumer_offsets'

/**
 * One partition: a single coordinator serves all groups, so more would only cost files. A Kafka
 * broker that takes the directory over reads the count from the topic.
 */
export const OFFSETS_TOPIC_PARTITIONS = 1

/**
 * The least that `maxMessageBytes` and `segmentBytes` of the topic must allow, so that no commit is refused:
 * the longest id of a group takes 32 KiB of a record, and metadata 4 KiB.
 */
export const LEAST_COMMIT_BYTES: number = 64 * 1024

/**
 * The topic is read from its start at every open, and the active segment is never compacted. Kafka's
 * segments of 100 MiB suit a server that starts once; here they would cost each open seconds for a
 * handful of offsets. How a topic was created stays with it, and `alter` changes it.
 */
export const OFFSETS_TOPIC_CONFIG: TopicConfig = {
  cleanupPolicy: 'compact',
  segmentBytes: 4 * 1024 * 1024,
  compressionType: 'producer',
}
