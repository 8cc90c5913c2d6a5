/**
 * An embedded, in-process log for Node.js: Apache Kafka's model on Kafka's file format.
 *
 * Start with {@link Broker.open}.
 *
 * @module
 */
export { Broker } from './broker.ts'
export type { BrokerOptions, CreateTopicOptions } from './broker/broker-options.ts'
export type { Acks } from './broker/pending-append.ts'
export type { PartitionAssignmentStrategy } from './broker/assignors/assignor.ts'
export type {
  BrokerDescription,
  DamagedPartition,
  FailedSync,
  LeaderDescription,
  PartitionDescription,
  RecoveryReport,
  TopicDescription,
} from './broker/broker-description.ts'
export type { CompactionEvent } from './broker/compaction-events.ts'
export type { CompactionFigures } from './broker/log-cleaner-manager.ts'
export type { GroupState, MemberDescription } from './broker/consumer-group.ts'
export type { GroupDescription } from './broker/group-coordinator.ts'
export type { OffsetAndMetadata, OffsetCommit } from './broker/offset-and-metadata.ts'
export type { ClampedOffset, CommittedOffset } from './broker/offset-store.ts'
export type { AppendOptions } from './broker/append-options.ts'
export type { LockLost } from './broker/lock-loss.ts'
export { Partition } from './broker/partition.ts'
export type { FetchOptions, ReadOptions } from './broker/partition-reads.ts'
export type {
  ForwardRecordsOptions,
  RecordsOptions,
  ReverseRecordsOptions,
} from './broker/partition-records.ts'
export type { ReadLastOptions } from './broker/read-last.ts'
export type { DeletedRecords } from './broker/record-deletion.ts'
export type { SlowSync } from './broker/slow-sync.ts'
export type { TopicPartition } from './broker/topic-partition.ts'
export { Topic } from './broker/topic.ts'
export { Consumer } from './client/consumer.ts'
export type { PollOptions } from './client/consumer-arguments.ts'
export type { AutoOffsetReset, ConsumerOptions, OffsetReset } from './client/consumer-options.ts'
export type { ConsumerRecord } from './client/consumer-record.ts'
export type { OffsetAndTimestamp, PartitionOffset, TimestampQuery } from './client/offset-lookup.ts'
export type { Lag } from './client/partition-controls.ts'
export {
  defaultPartitioner,
  random,
  roundRobin,
  type DefaultPartitionerOptions,
  type Partitioner,
  type PartitionerRecord,
  type RandomPartitionerOptions,
} from './client/partitioner.ts'
export { Producer } from './client/producer.ts'
export type { CloseOptions, ProducerOptions } from './client/producer-options.ts'
export type { ProducerRecord } from './client/producer-record.ts'
export type { RebalanceListener } from './client/rebalance-listener.ts'
export type { RecordMetadata, SendCallback } from './client/send-completion.ts'
export {
  bytes,
  json,
  string,
  type Deserializer,
  type Serde,
  type Serializer,
} from './client/serde.ts'
export type { ResolvedTopicConfig, TopicCompressionType, TopicConfig } from './config.ts'
export * from './errors.ts'
export type { Clock, Timer } from './platform/clock.ts'
export type {
  DirectoryEntry,
  DirectoryLock,
  File,
  FileStat,
  FileSystem,
  LockHolder,
  OpenMode,
} from './platform/file-system.ts'
export type { Random } from './platform/random.ts'
export type { StoredRecord } from './record/decode.ts'
export { COMPRESSION_TYPES, type CompressionType } from './record/compression.ts'
export type { RecordHeader } from './record/record-batch-builder.ts'
export type { AppendRecord, Bytes, HeadersInit } from './storage/append-record.ts'
export type { AppendResult } from './storage/append-record.ts'
export type { CompactionReport } from './storage/log-cleaner.ts'
export type { LogRecovery, Truncation } from './storage/loaded-log.ts'
export type { LostRange, SalvageReport } from './storage/log-salvage.ts'
export type { FreedSpace } from './storage/log-retention.ts'
export type { LogState } from './storage/log-state.ts'
export type { LogOptions, LogSegmentInfo } from './storage/log-options.ts'
export { Log } from './storage/log.ts'
