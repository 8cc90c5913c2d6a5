import { MAX_PARTITIONS } from '../broker/topic.ts'
import { checkWholeNumber, describeValue } from '../checks.ts'
import type { RecordHeader } from '../record/record-batch-builder.ts'
import { isRecordField, refuseField, type HeadersInit } from '../storage/append-record.ts'

/** A record as an application sends it. Nothing in it may change until the send has settled. */
export interface ProducerRecord<K = string | Uint8Array, V = string | Uint8Array> {
  readonly topic: string
  /** From 0, below the topic's number of partitions. @defaultValue chosen by the partitioner */
  readonly partition?: number | undefined
  /** Absent means `null`: no key. */
  readonly key?: K | null | undefined
  /** `null` stores no value: in a compacted topic, a tombstone. */
  readonly value: V | null
  readonly headers?: HeadersInit | undefined
  /**
   * Milliseconds since the epoch, at least 0. -1, the timestamp that records without one are read
   * with, counts as absent.
   *
   * @defaultValue now
   */
  readonly timestamp?: number | undefined
}

const FIELDS = [
  'topic',
  'partition',
  'key',
  'value',
  'headers',
  'timestamp',
] satisfies (keyof ProducerRecord)[]

/** A serialized record on its way to a batch. */
export interface SerializedRecord {
  readonly topic: string
  /** `undefined` leaves the choice to the partitioner. */
  readonly partition: number | undefined
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly RecordHeader[]
  readonly timestamp: number
  /** Whether the application has set the timestamp: timestamp limits apply only then. */
  readonly bringsTimestamp: boolean
  /** Its index in the call that sent it, from 0. */
  readonly slot: number
}

/**
 * Refuses values that are not records, and records with unknown fields.
 *
 * @returns the record's topic
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
 * Checks a record's partition without its topic, as far as possible: a record that no topic can
 * accept must not create one.
 *
 * @returns `undefined` if the record names no partition
 * @throws TypeError or RangeError when it is not a valid partition number
 */
export function checkPartition(partition: number | null | undefined): number | undefined {
  if (partition === undefined || partition === null) return undefined
  return checkWholeNumber('partition', partition, 0, MAX_PARTITIONS - 1)
}
