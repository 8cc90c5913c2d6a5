import { NO_HEADERS, type RecordHeader } from './record-encoding.ts'

/** A record as the log stores it. */
export interface StoredRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Milliseconds since the epoch, -1 for none. */
  readonly timestamp: number
  /**
   * A view that keeps the bytes of the whole batch in memory, which other records share. A worker
   * can be sent a copy, but the memory cannot be transferred. A byte stream transfers it
   * regardless, so enqueue a copy there.
   */
  readonly key: Buffer | null
  /** A view like `key`; `null` is a tombstone in a compacted topic. */
  readonly value: Buffer | null
  readonly headers: readonly RecordHeader[]
}

/** The element that {@link newRecords} starts with. */
const ANY_RECORD: StoredRecord = {
  topic: '',
  partition: 0,
  offset: 0,
  timestamp: 0,
  key: null,
  value: null,
  headers: NO_HEADERS,
}

/**
 * An empty array for many records.
 *
 * V8 treats a new empty array as one of small integers. The loop that reads records, if compiled
 * while it fills such an array, would be discarded at the next call and compiled again: a few per
 * cent of the time to read a million records.
 */
export function newRecords(): StoredRecord[] {
  const records = [ANY_RECORD]
  records.length = 0
  return records
}
