import type { TopicConfig } from '../config.ts'

/** Kafka's name for the topic that groups commit to. */
export const OFFSETS_TOPIC = '__consumer_offsets'

/**
 * A single coordinator serves all groups, so more than one partition would only cost files. A Kafka
 * broker that takes over the directory reads the count from the topic.
 */
export const OFFSETS_TOPIC_PARTITIONS = 1

/**
 * Lower limit for `maxMessageBytes` and `segmentBytes` of the topic, so that no commit is refused:
 * in a record, the longest group id takes 32 KiB, and metadata 4 KiB.
 */
export const LEAST_COMMIT_BYTES: number = 64 * 1024

/**
 * The topic is read from its start at every open, and its active segment is never compacted.
 * Kafka's segments of 100 MiB suit a server that starts once; here they would cost each open
 * seconds for a few offsets. A topic keeps the configuration it was created with, until `alter`
 * changes it.
 */
export const OFFSETS_TOPIC_CONFIG: TopicConfig = {
  cleanupPolicy: 'compact',
  segmentBytes: 4 * 1024 * 1024,
  compressionType: 'producer',
}
