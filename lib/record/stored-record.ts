import { NO_HEADERS, type RecordHeader } from './record-encoding.ts'

/** A record as the log holds it. */
export interface StoredRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Milliseconds since the epoch, -1 for none. */
  readonly timestamp: number
  /**
   * A view that keeps the bytes of the whole batch in memory, which other records share: a worker can be given
   * a copy of it, and its memory cannot be transferred. A byte stream takes it all the same: enqueue a copy there.
   */
  readonly key: Buffer | null
  /** A view like `key`; `null` is a tombstone in a compacted topic. */
  readonly value: Buffer | null
  readonly headers: readonly RecordHeader[]
}

/** Fits in an array of records; see {@link newRecords}. */
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
 * V8 takes an empty one for an array of small integers. The loop that reads records, compiled while it
 * filled one, would be thrown away at the next call, and compiled once more: a few per cent of
 * what it takes to read a million.
 */
export function newRecords(): StoredRecord[] {
  const records = [ANY_RECORD]
  records.length = 0
  return records
}
