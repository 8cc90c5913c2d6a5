import { promptIo } from '../platform/prompt-io.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { Partition } from './partition.ts'

/** Which records of consecutive batches are wanted. */
export interface DecodedRange {
  /** Records below it are skipped. */
  readonly fromOffset: number
  /** At least 1. */
  readonly maxRecords: number
}

/**
 * Adds up to `maxRecords` records of `batches` to `records`, which may already hold others.
 * Synchronous unless a batch is compressed or the time of one turn of the event loop is used up.
 */
export function decodeAll(
  batches: readonly RecordBatch[],
  partition: Partition,
  range: DecodedRange,
  records: StoredRecord[],
): StoredRecord[] | Promise<StoredRecord[]> {
  if (batches.length !== 1) return decodeEach(batches, partition, range, records)
  // At the end of a log this is the usual case, and needs none of the function with closures.
  const { fromOffset, maxRecords } = range
  const options = { fromOffset, maxRecords, into: records }
  return decodeRecords(batches[0] as RecordBatch, partition.log, options)
}

/**
 * {@link decodeAll}, but an error after the first records is left to the read that starts there.
 *
 * @returns whether there was none.
 */
export function decodeSound(
  batches: readonly RecordBatch[],
  partition: Partition,
  range: DecodedRange,
  records: StoredRecord[],
): boolean | Promise<boolean> {
  const leave = (error: unknown): false => {
    if (records.length === 0) throw error
    return false
  }
  try {
    const decoding = decodeAll(batches, partition, range, records)
    return Array.isArray(decoding) || decoding.then(() => true, leave)
  } catch (error) {
    return leave(error)
  }
}

/** {@link decodeAll} for any number of batches. */
function decodeEach(
  batches: readonly RecordBatch[],
  partition: Partition,
  { fromOffset, maxRecords }: DecodedRange,
  records: StoredRecord[],
): StoredRecord[] | Promise<StoredRecord[]> {
  const mostRecords = records.length + maxRecords
  const goOn = (slot: number): StoredRecord[] | Promise<StoredRecord[]> => {
    const restRecords = mostRecords - records.length
    if (restRecords <= 0) return records
    const range = { fromOffset, maxRecords: restRecords }
    return decodeAll(batches.slice(slot), partition, range, records)
  }
  for (const [slot, batch] of batches.entries()) {
    const turn = slot > 0 ? promptIo.turnIfDue() : null
    if (turn !== null) return turn.then(() => goOn(slot))
    const options = { fromOffset, maxRecords: mostRecords - records.length, into: records }
    const decoding = decodeRecords(batch, partition.log, options)
    if (!Array.isArray(decoding)) return decoding.then(() => goOn(slot + 1))
    if (records.length >= mostRecords) break
  }
  return records
}
