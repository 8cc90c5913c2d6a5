import { checkOptions, checkWholeNumber, wholeNumber, type Checks } from '../checks.ts'
import { OffsetOutOfRangeError } from '../errors.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import { PIECE_BYTES } from './backward-source.ts'
import { refuseUnknownEnd } from './iteration-place.ts'
import type { Partition } from './partition.ts'

/** Options of {@link Partition.readLast}. */
export interface ReadLastOptions {
  /**
   * Maximum stored size of what is read, in bytes, at least 1; the last batch is read however
   * large.
   * @defaultValue none
   */
  readonly maxBytes?: number | undefined
}

const READ_LAST_OPTIONS: Checks<ReadLastOptions> = { maxBytes: wholeNumber(1) }

/**
 * The last `count` records below the high watermark in offset order, or all if there are fewer; see
 * `Partition.readLast`. If another process appends, the log is refreshed first.
 */
export async function readLast(
  partition: Partition,
  count: number,
  options: ReadLastOptions,
): Promise<StoredRecord[]> {
  partition.ensureOpen()
  const looking = partition.lookBehind(Infinity)
  if (looking !== null) await looking
  checkWholeNumber('count', count, 0, Number.MAX_SAFE_INTEGER)
  const checked = checkOptions('readLast options', options, READ_LAST_OPTIONS)
  const { maxBytes = Number.MAX_SAFE_INTEGER } = checked
  const { reader } = partition.log
  for (;;) {
    const { generation } = reader
    try {
      const records = await lastRecords(partition, count, maxBytes)
      // After a truncation, records from before and after it must not be mixed.
      if (generation === reader.generation) return records
    } catch (error) {
      // The start or the end of the log has changed.
      if (!(error instanceof OffsetOutOfRangeError)) throw error
    }
  }
}

async function lastRecords(
  partition: Partition,
  count: number,
  maxBytes: number,
): Promise<StoredRecord[]> {
  const records: StoredRecord[] = []
  let restBytes = maxBytes
  // Even if there is nothing to read: a caller that polls in a loop is waiting for someone else.
  const firstTurn = promptIo.turnIfDue()
  if (firstTurn !== null) await firstTurn
  let end = partition.highWatermark
  const refusal = count > 0 ? refuseUnknownEnd(partition, end) : null
  if (refusal !== null) await refusal
  while (records.length < count && end > partition.logStartOffset) {
    // Batches may hold no records for readers: only markers, or what compaction left of them.
    if (restBytes <= 0 && records.length > 0) break
    const turn = promptIo.turnIfDue()
    if (turn !== null) await turn
    const limits = { fromOffset: 0, maxBytes: Math.min(Math.max(restBytes, 1), PIECE_BYTES) }
    const batches = await partition.readBatchesBefore(end, limits)
    if (batches.length === 0) break
    for (const batch of batches.toReversed()) {
      restBytes -= batch.sizeBytes
      if (records.length >= count || (restBytes < 0 && records.length > 0)) break
      const decoding = decodeRecords(batch, partition.log, { fromOffset: partition.logStartOffset })
      const decoded = Array.isArray(decoding) ? decoding : await decoding
      for (const record of decoded.reverse()) {
        if (records.length < count && record.offset < end) records.push(record)
      }
    }
    end = batches[0]?.baseOffset ?? end
  }
  return records.reverse()
}
