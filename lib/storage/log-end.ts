import type { CorruptRecordError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import type { EpochDispute } from './epoch-dispute.ts'
import { seemsForeign } from './foreign-segment.ts'
import { entryOf, isDenseOnRecord, isGapBetween, type LogInventory } from './log-inventory.ts'
import type { UnreadableSegment } from './loaded-log.ts'
import type { LogSegment } from './log-segment.ts'
import type { LogSegments } from './log-segments.ts'
import { readFailureReason } from './read-failure.ts'
import * as audit from './segment-audit.ts'
import type { RecoverChecks } from './segment-options.ts'
import type { SegmentRecord } from './segment-record.ts'
import type { ScanResult } from './segment-scan.ts'
import { cutTornTail, findDamage, type Truncation } from './torn-tail.ts'
import { UnprovenTail } from './unproven-tail.ts'

/** What is known about the end of a log before it is read. */
export interface EndEvidence {
  readonly fileSystem: FileSystem
  readonly dir: string
  readonly readOnly: boolean
  /** Whether the log was closed cleanly and not touched since. */
  readonly isClean: boolean
  /** Recovery point of the checkpoint alone. */
  readonly checkpointOffset: number
  /** Everything below this offset was durable, including its indexes. */
  readonly recoveryPoint: number
  /** Everything below this offset was durable, by the record or by the mark of a failed sync. */
  readonly durableOffset: number
  readonly logStartOffset: number
  readonly record: SegmentRecord | null
  /** Checks the epochs of batches; `null` if nothing is known about them. */
  readonly dispute: EpochDispute | null
}

/** Finds where a log ends, and repairs its end. To be used once. */
export class EndFinder {
  /** The truncations that were made. */
  readonly truncations: Truncation[] = []
  /** Whether a file was truncated, even if no record was lost by it. */
  hasCut = false
  /** Log files whose indexes were unusable. */
  readonly rebuiltIndexes: string[] = []
  /** Batches of which there is no proof that they were durable. */
  readonly tail: UnprovenTail = new UnprovenTail()
  /** Why nothing can be appended at the end that was found; `null` if the log is sound. */
  damage: CorruptRecordError | null = null
  /** Whether a batch with a producer id was read. */
  hasProducers = false
  readonly #evidence: EndEvidence

  constructor(evidence: EndEvidence) {
    this.#evidence = evidence
  }

  /**
   * Finds where the log ends: before the first segment that differs from the record or cannot be
   * read. If there is none, recovers the last segments.
   */
  find(
    segments: LogSegments,
    breach: audit.SegmentBreach | null = null,
    unreadable?: UnreadableSegment,
  ): Promise<number> {
    const breachOffset = breach?.entry.baseOffset ?? Infinity
    if (unreadable !== undefined && unreadable.baseOffset <= breachOffset) {
      return this.#endBefore(unreadable, segments)
    }
    return breach === null ? this.#findLast(segments) : this.#findBefore(breach, segments)
  }

  /** Ends the log where its files differ from the record. */
  async #findBefore(breach: audit.SegmentBreach, segments: LogSegments): Promise<number> {
    const { dir, durableOffset, recoveryPoint } = this.#evidence
    const { entry, path } = breach
    const isKept = ({ baseOffset }: LogSegment): boolean =>
      baseOffset < entry.baseOffset || (path !== null && baseOffset === entry.baseOffset)
    await segments.replace(segments.all.filter(isKept))
    const { active: last } = segments
    let endOffset = entry.baseOffset
    let place = breach
    if (last !== undefined && path !== null) {
      const fileSizeBytes = Math.min(last.sizeBytes, entry.sizeBytes)
      const scan = await this.#recover(segments, last, fileSizeBytes, recoveryPoint)
      const { reason, position, nextOffset } = scan
      endOffset = Math.min(nextOffset, entry.nextOffset)
      if (reason !== null) place = { ...breach, path: last.path, reason, position }
    }
    if (last !== undefined) last.nextOffset = endOffset
    this.damage = audit.breachError(dir, place, endOffset, durableOffset)
    return endOffset
  }

  /** Everything before a segment was durable before the segment was created. */
  async #endBefore(
    { baseOffset, path, position, error }: UnreadableSegment,
    segments: LogSegments,
  ): Promise<number> {
    const { dir, isClean, durableOffset, logStartOffset } = this.#evidence
    await segments.replace(segments.all.filter((segment) => segment.baseOffset < baseOffset))
    const { active: last } = segments
    if (last !== undefined) last.nextOffset = baseOffset
    const endOffset = Math.max(baseOffset, logStartOffset)
    const breach = { path, position, reason: readFailureReason(error), cause: error }
    // Without a clean shutdown there may be more records than are on record.
    this.damage = audit.breachError(dir, breach, endOffset, isClean ? durableOffset : 0)
    return endOffset
  }

  /** Recovers the last segments; returns the log end offset. */
  async #findLast(segments: LogSegments): Promise<number> {
    const { dir, durableOffset, logStartOffset } = this.#evidence
    const last = segments.active
    if (last === undefined) {
      this.damage = audit.nothingLeft(dir, logStartOffset, durableOffset)
      return logStartOffset
    }
    const suspects = this.#newFromBroker(segments)
    if (suspects.length > 0) {
      const endOffset = await this.#endBeforeForeign(segments, suspects)
      if (endOffset !== null) return endOffset
    }
    if (this.#evidence.isClean) {
      const fileSizeBytes = last.sizeBytes
      const result = await this.#recover(segments, last, fileSizeBytes, Number.MAX_SAFE_INTEGER)
      if (result.reason === null) return this.#checkEnd(last, result)
      // A clean shutdown leaves no such bytes. Check everything, as after a crash.
      last.sizeBytes = fileSizeBytes
    }
    return this.#checkFromRecoveryPoint(segments)
  }

  /**
   * Segments that a broker has left and that are still unchecked. Segments on record were checked
   * before, or written by this library.
   */
  #newFromBroker({ all }: LogSegments): LogSegment[] {
    const { record, logStartOffset } = this.#evidence
    return all.filter((segment, slot) => {
      const isDeleted = (all[slot + 1]?.baseOffset ?? Infinity) <= logStartOffset
      // Without that promise it is checked from its beginning anyway.
      if (isDeleted || !isIndexPromised(segment, this.#evidence)) return false
      return entryOf(record, segment.baseOffset) === null
    })
  }

  /**
   * Ends the log before the first data that this library cannot read, wherever it is. The end alone
   * would not show it, and appends would continue after it.
   *
   * @returns `null` if the log holds no such data.
   */
  async #endBeforeForeign(
    segments: LogSegments,
    suspects: readonly LogSegment[],
  ): Promise<number | null> {
    const { all } = segments
    for (const segment of suspects) {
      if (!(await seemsForeign(this.#evidence.fileSystem, segment))) continue
      const { sizeBytes: fileSizeBytes } = segment
      const { nextOffset } = await this.#check(segments, segment, 0)
      if (this.damage !== null) return nextOffset
      segment.sizeBytes = fileSizeBytes
      const next = all[all.indexOf(segment) + 1]
      if (next !== undefined) endAt(segment, next)
    }
    return null
  }

  async #checkFromRecoveryPoint(segments: LogSegments): Promise<number> {
    const { fileSystem, readOnly, record, recoveryPoint } = this.#evidence
    const { all } = segments
    let logEndOffset = 0
    for (let slot = Math.max(0, segments.floorSlot(recoveryPoint)); slot < all.length; slot += 1) {
      const segment = all[slot]
      if (segment === undefined) break
      const { sizeBytes: fileSizeBytes } = segment
      const result = await this.#check(segments, segment, recoveryPoint)
      const next = all[slot + 1]
      const { reason } = result
      logEndOffset = result.nextOffset
      if (this.damage !== null) return logEndOffset
      if (reason !== null && !readOnly) {
        const tail = await cutTornTail(fileSystem, segment, fileSizeBytes, reason)
        this.hasCut = true
        if (tail !== null) this.truncations.push(tail)
      }
      if (next === undefined) {
        this.#checkEnd(segment, result)
      } else if (isGapBetween(record, segment, next, next === all.at(-1))) {
        this.damage = audit.gapBehind(segment, logEndOffset, next.baseOffset)
        await segments.replace(all.slice(0, slot + 1))
        return logEndOffset
      } else if (next.baseOffset < logEndOffset) {
        const { dir } = this.#evidence
        this.damage = audit.breachError(dir, audit.overlapOf(next, logEndOffset), logEndOffset, 0)
        await segments.replace(all.slice(0, slot + 1))
        return logEndOffset
      } else {
        endAt(segment, next)
      }
    }
    return logEndOffset
  }

  /** Checks a segment beyond its trusted part. If it is damaged, the log ends before the damage. */
  async #check(
    segments: LogSegments,
    segment: LogSegment,
    trustedOffset: number,
  ): Promise<ScanResult> {
    const { fileSystem, durableOffset } = this.#evidence
    const { all } = segments
    const { sizeBytes: fileSizeBytes } = segment
    const result = await this.#recover(segments, segment, fileSizeBytes, trustedOffset)
    if (result.reason === null) return result
    const behind = all.indexOf(segment) + 1
    const nextBaseOffset = all[behind]?.baseOffset ?? null
    const evidence = { fileSizeBytes, durableOffset, nextBaseOffset }
    this.damage = await findDamage(fileSystem, segment, result, evidence)
    if (this.damage !== null) await segments.replace(all.slice(0, behind))
    return result
  }

  async #recover(
    { all }: LogSegments,
    segment: LogSegment,
    fileSizeBytes: number,
    trustedOffset: number,
  ): Promise<ScanResult> {
    const { dispute } = this.#evidence
    const checks = this.#checksOf(segment)
    let result = await segment.recover(fileSizeBytes, trustedOffset, checks)
    // Before truncating, or reporting damage for which the epoch checkpoint is to blame.
    if ((await dispute?.settle(all)) === true) {
      result = await segment.recover(fileSizeBytes, trustedOffset, checks)
    }
    if (result.wasRebuilt) this.#noteRebuilt(segment)
    return result
  }

  #checksOf(segment: LogSegment): RecoverChecks {
    const { dispute, durableOffset, record } = this.#evidence
    const isDense = isDenseOnRecord(record, segment.baseOffset)
    return {
      isDense,
      objection: (batch) => (isDense && dispute !== null ? dispute.objectionTo(batch) : null),
      onBatch: (batch, position) => {
        this.hasProducers ||= batch.producerId >= 0
        if (batch.nextOffset > durableOffset) this.tail.note(segment, batch, position)
      },
    }
  }

  #noteRebuilt(segment: LogSegment): void {
    if (isIndexPromised(segment, this.#evidence)) this.rebuiltIndexes.push(segment.path)
  }

  /** A log that does not end where it is known to have ended is damaged. */
  #checkEnd(last: LogSegment, result: ScanResult): number {
    const { isClean, checkpointOffset, durableOffset: durableEnd, logStartOffset } = this.#evidence
    const { nextOffset, position } = result
    const leastEnd = isClean ? Math.max(durableEnd, logStartOffset) : durableEnd
    // Without a clean shutdown, deleted records may be missing at the end too.
    const isShort = nextOffset < leastEnd && (isClean || durableEnd > logStartOffset)
    // Batches beyond the end on record are a broker's, if the checkpoint includes them.
    const isLong =
      isClean && durableEnd > 0 && nextOffset > durableEnd && nextOffset !== checkpointOffset
    if (isShort || isLong) {
      this.damage = audit.endsElsewhere(last.path, position, nextOffset, leastEnd)
    }
    if (!isLong) return nextOffset
    last.nextOffset = durableEnd
    return durableEnd
  }
}

/** Extends a segment that was read to its end up to the start of the next one. */
function endAt(segment: LogSegment, next: LogSegment): void {
  segment.nextOffset = next.baseOffset
  segment.indexes.addFinalTimeEntry()
}

type Promised = Pick<EndEvidence, 'isClean' | 'recoveryPoint'>

/**
 * Files that are rebuilt because they are missing or unusable but should exist; for indexes, the
 * path of their log file.
 */
export function missedFiles(
  { unindexed, isRecordDamaged }: LogInventory,
  recordPath: string,
  promised: Promised,
): string[] {
  const segments = [...unindexed].filter((segment) => isIndexPromised(segment, promised))
  const paths = segments.map(({ path }) => path)
  return isRecordDamaged ? [...paths, recordPath] : paths
}

/** Without a clean shutdown, indexes are only promised for segments below the recovery point. */
function isIndexPromised(segment: LogSegment, { isClean, recoveryPoint }: Promised): boolean {
  return segment.sizeBytes > 0 && (isClean || segment.baseOffset < recoveryPoint)
}
