import type { FileSystem } from '../platform/file-system.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { EpochEntry, LeaderEpochCache } from './leader-epoch-cache.ts'
import { entryOf, isDenseOnRecord } from './log-inventory.ts'
import type { LogSegment } from './log-segment.ts'
import type { SegmentEntry, SegmentRecord } from './segment-record.ts'
import { scanBatches } from './segment-scan.ts'
import { SegmentSum } from './segment-sum.ts'

/** The evidence that settles a dispute about epochs. */
export interface DisputeEvidence {
  readonly fileSystem: FileSystem
  readonly record: SegmentRecord
  readonly logStartOffset: number
}

/**
 * A batch and the epoch checkpoint contain different epochs: determines which of them is corrupted.
 *
 * An epoch is in the checkpoint before its first batch is written. Neither the checkpoint nor the
 * batch has a checksum that covers it. So the whole log is read. If it matches the recorded
 * checksums, which cover the epochs, and the epochs of the batches ascend, then the checkpoint is
 * wrong. Batches that are not on record yet are trusted only if a single corrupted digit of the
 * checkpoint explains all differences.
 */
export class EpochDispute {
  readonly #epochs: LeaderEpochCache
  readonly #evidence: DisputeEvidence
  #isRaised = false
  #isCheckpointWrong: boolean | null = null

  constructor(epochs: LeaderEpochCache, evidence: DisputeEvidence) {
    this.#epochs = epochs
    this.#evidence = evidence
  }

  /** Whether the dispute was settled against the checkpoint. */
  get isCheckpointWrong(): boolean {
    return this.#isCheckpointWrong === true
  }

  /** How a batch contradicts the checkpoint; `null` if it does not, or the checkpoint is wrong. */
  objectionTo(batch: RecordBatch): string | null {
    const epoch = this.#isCheckpointWrong === true ? null : this.#contradiction(batch)
    if (epoch === null) return null
    this.#isRaised = true
    return `its leader epoch is ${batch.partitionLeaderEpoch}, not ${epoch}`
  }

  /** @returns whether the rejected batches are sound after all and have to be read again. */
  async settle(segments: readonly LogSegment[]): Promise<boolean> {
    if (!this.#isRaised || this.#isCheckpointWrong !== null) return false
    this.#isCheckpointWrong = await this.#ask(segments)
    return this.#isCheckpointWrong
  }

  /** The epoch of a batch by the checkpoint; `null` if the batch agrees, or it is unknown. */
  #contradiction({ baseOffset, partitionLeaderEpoch }: RecordBatch): number | null {
    const epoch = this.#epochs.epochOf(baseOffset)
    return epoch < 0 || epoch === partitionLeaderEpoch ? null : epoch
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
      // The end of the log may have a torn tail.
      if (!seen.isRising || !scan.isAsOnRecord || (!scan.isWhole && next !== undefined))
        return false
      endOffset = scan.nextOffset
    }
    const range = { logStartOffset, endOffset }
    return seen.isProven || isOneDigitOff(this.#epochs.entries, found, range)
  }

  /** Reads a log file from its start up to the first bad batch. */
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

/** The part of a segment with a recorded checksum that covers its epochs. */
function sumOnRecord(record: SegmentRecord, { baseOffset }: LogSegment): SumOnRecord {
  const { sizeBytes = 0, crc = null } = entryOf(record, baseOffset) ?? {}
  return crc === null ? { sizeBytes: 0, crc } : { sizeBytes, crc }
}

/** Whether changing one digit turns the epochs found into those of the checkpoint. */
function isOneDigitOff(
  checkpoint: readonly EpochEntry[],
  found: readonly EpochEntry[],
  { logStartOffset, endOffset }: { logStartOffset: number; endOffset: number },
): boolean {
  const known = from(checkpoint, logStartOffset)
  const expected = from(found, logStartOffset)
  // The latest epoch may have no records; it begins at the log end offset of that time.
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
