import { MAX_PARTITIONS } from '../broker/topic.ts'
import { checkWholeNumber, describeValue } from '../checks.ts'
import type { RecordHeader } from '../record/record-batch-builder.ts'
import { isRecordField, refuseField, type HeadersInit } from '../storage/append-record.ts'

/** What an application hands to a producer. Nothing of it may change until the send has settled. */
export interface ProducerRecord<K = string | Uint8Array, V = string | Uint8Array> {
  readonly topic: string
  /** From 0, below the topic's number of partitions. @defaultValue what the partitioner says */
  readonly partition?: number
  /** Absent is null: no key. */
  readonly key?: K | null
  /** `null` stores no value: in a compacted topic, a tombstone. */
  readonly value: V | null
  readonly headers?: HeadersInit
  /**
   * Milliseconds since the epoch, at least 0; -1, which a record without a timestamp is read with,
   * counts as absent.
   *
   * @defaultValue now
   */
  readonly timestamp?: number
}

const FIELDS = [
  'topic',
  'partition',
  'key',
  'value',
  'headers',
  'timestamp',
] satisfies (keyof ProducerRecord)[]

/** A record in the form in which it is stored, on its way to a batch. */
export interface SerializedRecord {
  readonly topic: string
  /** `undefined` leaves it to the partitioner. */
  readonly partition: number | undefined
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly RecordHeader[]
  readonly timestamp: number
  /** Whether the application has given it: limits are for these alone. */
  readonly bringsTimestamp: boolean
  /** Its number in the call that it was sent by, counted from 0. */
  readonly slot: number
}

/**
 * Refuses what is not a record at all, or has a field that nobody reads, and gives its topic.
 *
 * @throws TypeError naming what is wrong
 */
export function checkTopicOf(record: unknown): string {
  if (typeof record !== 'object' || record === null) {
    throw new TypeError(`a record must be an object, got ${describeValue(record)}`)
  }
  if (Array.isArray(record)) {
    throw new TypeError('a record must be an object, got an array: sendBatch() takes several')
  }
  const topic: unknown = 'topic' in record ? record.topic : undefined
  if (typeof topic !== 'string') {
    throw new TypeError(`topic must be a string, got ${describeValue(topic)}`)
  }
  for (const field in record) {
    if (field === 'topic' || field === 'partition' || isRecordField(field)) continue
    refuseField(record, field, FIELDS)
  }
  return topic
}

/**
 * Checks the partition that a record names, as far as that can be told without its topic: a record that no
 * topic can take must not have one created.
 *
 * @returns `undefined` where it names none
 * @throws TypeError or RangeError when it is no number that a partition can have
 */
export function checkPartition(partition: number | null | undefined): number | undefined {
  if (partition === undefined || partition === null) return undefined
  return checkWholeNumber('partition', partition, 0, MAX_PARTITIONS - 1)
}
