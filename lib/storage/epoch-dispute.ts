import type { FileSystem } from '../platform/file-system.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { EpochEntry, LeaderEpochCache } from './leader-epoch-cache.ts'
import { entryOf, isDenseOnRecord } from './log-inventory.ts'
import type { LogSegment } from './log-segment.ts'
import type { SegmentEntry, SegmentRecord } from './segment-record.ts'
import { scanBatches } from './segment-scan.ts'
import { SegmentSum } from './segment-sum.ts'

/** What a dispute about epochs is settled by. */
export interface DisputeEvidence {
  readonly fileSystem: FileSystem
  readonly record: SegmentRecord
  readonly logStartOffset: number
}

/**
 * A batch and the checkpoint of epochs that name different epochs: which of the two has rotted.
 *
 * An epoch is in the checkpoint before its first batch is written, and neither there nor in a batch
 * does a checksum of its own cover it. So the whole log is read. Where it is as on record, epochs and
 * all, and the epochs of the batches rise, the checkpoint is wrong. Batches that are not on record
 * yet are believed only if one rotten digit of the checkpoint explains all that differs.
 */
export class EpochDispute {
  readonly #evidence: DisputeEvidence
  readonly #known: readonly EpochEntry[]
  #isRaised = false
  #isCheckpointWrong: boolean | null = null

  constructor(epochs: LeaderEpochCache, evidence: DisputeEvidence) {
    this.#known = [...epochs.entries]
    this.#evidence = evidence
  }

  /** Whether it was settled, against the checkpoint. */
  get isCheckpointWrong(): boolean {
    return this.#isCheckpointWrong === true
  }

  /** Why a batch contradicts the checkpoint; `null` when it does not, or is the one that is believed. */
  objectionTo(batch: RecordBatch): string | null {
    const epoch = this.#isCheckpointWrong === true ? null : this.#contradiction(batch)
    if (epoch === null) return null
    this.#isRaised = true
    return `its leader epoch is ${batch.partitionLeaderEpoch}, not ${epoch}`
  }

  /** @returns whether the batches objected to are sound after all, and to be taken in once more. */
  async settle(segments: readonly LogSegment[]): Promise<boolean> {
    if (!this.#isRaised || this.#isCheckpointWrong !== null) return false
    this.#isCheckpointWrong = await this.#ask(segments)
    return this.#isCheckpointWrong
  }

  /** The epoch that the checkpoint says a batch should have; `null` when it has that, or none is said. */
  #contradiction({ baseOffset, partitionLeaderEpoch }: RecordBatch): number | null {
    const epoch = this.#known.findLast((entry) => entry.startOffset <= baseOffset)?.epoch
    return epoch === undefined || epoch === partitionLeaderEpoch ? null : epoch
  }

  async #ask(segments: readonly LogSegment[]): Promise<boolean> {
    const { record, logStartOffset } = this.#evidence
    const found: EpochEntry[] = []
    const seen = { latest: -1, isRising: true, isProven: false }
    let endOffset = logStartOffset
    for (const [slot, segment] of segments.entries()) {
      const next = segments[slot + 1]
      const onRecord = sumOnRecord(record, segment)
      const scan = await this.#scan(segment, onRecord, (batch, position) => {
        const { baseOffset, partitionLeaderEpoch: epoch } = batch
        if (epoch > seen.latest) found.push({ epoch, startOffset: baseOffset })
        seen.isRising &&= epoch >= seen.latest
        seen.latest = epoch
        seen.isProven ||= position < onRecord.sizeBytes && this.#contradiction(batch) !== null
      })
      // Behind the end of the log there may be a torn tail.
      if (!seen.isRising || !scan.isAsOnRecord || (!scan.isWhole && next !== undefined))
        return false
      endOffset = scan.nextOffset
    }
    const range = { logStartOffset, endOffset }
    return seen.isProven || isOneDigitOff(this.#known, found, range)
  }

  /** Reads a log file from its start as far as its batches are sound. */
  async #scan(
    { baseOffset, path }: LogSegment,
    onRecord: SumOnRecord,
    onBatch: (batch: RecordBatch, position: number) => void,
  ): Promise<{ nextOffset: number; isWhole: boolean; isAsOnRecord: boolean }> {
    const { fileSystem, record } = this.#evidence
    const sum = new SegmentSum(baseOffset)
    let isAsOnRecord = onRecord.sizeBytes === 0
    const file = await fileSystem.open(path, 'read')
    try {
      const end = (await file.stat()).sizeBytes
      const gaps = isDenseOnRecord(record, baseOffset) ? 'none' : 'any'
      const range = { position: 0, end, baseOffset, nextOffset: baseOffset, gaps } as const
      const { nextOffset, reason } = await scanBatches(file, range, (batch, position) => {
        onBatch(batch, position)
        sum.note(batch, position)
        const { sizeBytes, crc } = sum.state
        if (sizeBytes === onRecord.sizeBytes) isAsOnRecord = crc === onRecord.crc
      })
      return { nextOffset, isWhole: reason === null, isAsOnRecord }
    } finally {
      await file.close()
    }
  }
}

type SumOnRecord = Pick<SegmentEntry, 'sizeBytes' | 'crc'>

/** How much of a segment there is a checksum of that covers its epochs too. */
function sumOnRecord(record: SegmentRecord, { baseOffset }: LogSegment): SumOnRecord {
  const { sizeBytes = 0, crc = null } = entryOf(record, baseOffset) ?? {}
  return crc === null ? { sizeBytes: 0, crc } : { sizeBytes, crc }
}

/** Whether one digit that has rotted makes of the epochs that were found those of the checkpoint. */
function isOneDigitOff(
  checkpoint: readonly EpochEntry[],
  found: readonly EpochEntry[],
  { logStartOffset, endOffset }: { logStartOffset: number; endOffset: number },
): boolean {
  const known = from(checkpoint, logStartOffset)
  const expected = from(found, logStartOffset)
  // The latest epoch may have no records, and begins where the log ended then.
  for (const { epoch, startOffset } of known.slice(expected.length)) {
    expected.push({ epoch, startOffset: Math.max(endOffset, startOffset) })
  }
  return countDifferences(textOf(known), textOf(expected)) === 1
}

/** The epochs of the records from an offset on. */
function from(entries: readonly EpochEntry[], offset: number): EpochEntry[] {
  return entries
    .filter((_, slot) => (entries[slot + 1]?.startOffset ?? Infinity) > offset)
    .map(({ epoch, startOffset }) => ({ epoch, startOffset: Math.max(startOffset, offset) }))
}

function textOf(entries: readonly EpochEntry[]): string {
  return entries.map(({ epoch, startOffset }) => `${epoch} ${startOffset}`).join('\n')
}

function countDifferences(left: string, right: string): number {
  if (left.length !== right.length) return Infinity
  let count = 0
  for (let at = 0; at < left.length; at += 1) if (left[at] !== right[at]) count += 1
  return count
}
