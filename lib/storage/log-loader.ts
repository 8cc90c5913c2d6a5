import type { CorruptRecordError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { DurableEndFile, type DurableEnd } from './durable-end.ts'
import { findImpostor, impostorRefused } from './impostor.ts'
import { loadEpochs, refillEpochs } from './epoch-refill.ts'
import { LeaderEpochCache, MAX_EPOCH, objectionTo } from './leader-epoch-cache.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { isDenseOnRecord, isGapBetween, takeInventory, type LogInventory } from './log-inventory.ts'
import type { LoadedLog, LoadOptions } from './loaded-log.ts'
import { LogSegment } from './log-segment.ts'
import { LogSegments } from './log-segments.ts'
import { ProducerState } from './producer-state.ts'
import * as audit from './segment-audit.ts'
import { SegmentRecordFile, type SegmentRecord } from './segment-record.ts'
import { removeDeleted } from './segment-recorder.ts'
import type { ScanResult } from './segment-scan.ts'
import { completeSwaps } from './swap-files.ts'
import { cutTornTail, findDamage, goBackTo, type Truncation } from './torn-tail.ts'
import { renewEmptySegment, UnprovenTail } from './unproven-tail.ts'

/**
 * Opens the files of one partition's directory.
 *
 * After an orderly close the indexes are trusted. Otherwise every batch from the recovery point on
 * is checked. Bad bytes at the end are a torn tail when nothing says that they were durable: they
 * are kept aside, cut, and reported. Bad bytes that had been durable are damage: nothing is
 * changed, and the log ends, read-only, before them.
 *
 * Where a sync has failed before, the page cache cannot be believed: what lies behind the durable
 * end that was marked then is cut, valid or not. Where there is no mark, because it could not be
 * left, what nothing proves to have been durable is written again before it is synced.
 *
 * Interrupted at any point, the next call comes to the same result.
 */
export class LogLoader {
  readonly #options: LoadOptions
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #epochs: LeaderEpochCache
  readonly #producers: ProducerState
  readonly #recordFile: SegmentRecordFile
  readonly #truncations: Truncation[] = []
  readonly #rebuiltIndexes: Set<string> = new Set<string>()
  readonly #mark: DurableEndFile
  readonly #tail = new UnprovenTail()
  /** Where a sync has failed; `null` where none has since the log was last opened. */
  #failedAt: DurableEnd | null = null
  #record: SegmentRecord | null = null
  #logStartOffset: number
  #recoveryPoint: number
  #durableEnd: number
  #objection: ((batch: RecordBatch) => string | null) | undefined
  #damage: CorruptRecordError | null = null
  #hasProducers = false
  #areEpochsKnown = false

  constructor(options: LoadOptions) {
    this.#options = options
    this.#fileSystem = options.fileSystem
    this.#dir = options.dir
    this.#epochs = new LeaderEpochCache(options.fileSystem, options.dir)
    this.#producers = new ProducerState(options.fileSystem, options.dir)
    this.#mark = new DurableEndFile(options.fileSystem, options.dir)
    this.#recordFile = new SegmentRecordFile(options.fileSystem, options.dir)
    this.#logStartOffset = options.logStartOffset
    this.#recoveryPoint = options.recoveryPoint
    this.#durableEnd = options.recoveryPoint
  }

  /** Does the work described above. Files are left open only where the result holds them. */
  async load(): Promise<LoadedLog> {
    const loss = this.#options.loss ?? (await findImpostor(this.#fileSystem, this.#dir))
    if (loss !== null) return this.#lost(loss)
    try {
      return await this.#loadFiles()
    } catch (error) {
      const refused = impostorRefused(error)
      if (refused === null) throw error
      return this.#lost(refused)
    }
  }

  async #loadFiles(): Promise<LoadedLog> {
    if (!this.#options.readOnly) await completeSwaps(this.#fileSystem, this.#dir)
    this.#areEpochsKnown = await loadEpochs(this.#epochs)
    const inventory = await takeInventory(this.#options, this.#recordFile)
    this.#consult(inventory)
    const { breach } = inventory
    const segments = new LogSegments(this.#fileSystem, this.#dir, inventory.segments)
    try {
      // A log whose files are not those on record is damaged, and nothing of it is changed.
      if (breach === null && !this.#isClean && !this.#options.readOnly) {
        await renewEmptySegment(this.#fileSystem, segments, this.#record)
      }
      if (breach === null) await this.#goBack(segments)
      const logEndOffset =
        breach === null ? await this.#findEnd(segments) : await this.#endBefore(breach, segments)
      return await this.#finish(segments, logEndOffset)
    } catch (error) {
      await segments.close()
      throw error
    }
  }

  /** Rises whenever it cannot be excluded that records have been lost that somebody has seen. */
  #leaderEpoch(): number {
    const { readOnly } = this.#options
    const { latestEpoch } = this.#epochs
    const isContinued = readOnly || (this.#isClean && this.#areEpochsKnown) || latestEpoch < 0
    const epoch = Math.max(0, latestEpoch) + (isContinued ? 0 : 1)
    return Math.min(Math.max(epoch, (this.#failedAt?.leaderEpoch ?? -1) + 1), MAX_EPOCH)
  }

  get #isClean(): boolean {
    return this.#options.isClean && this.#failedAt === null
  }

  /** Everything below this offset was durable. */
  get #durableOffset(): number {
    return Math.max(this.#durableEnd, this.#failedAt?.offset ?? 0)
  }

  /** To the durable end that a failed sync has left a mark of. */
  async #goBack(segments: LogSegments): Promise<void> {
    const end = await this.#mark.readUnlessObeyed(this.#epochs.latestEpoch, this.#durableEnd)
    if (end === null) return
    this.#failedAt = end
    const { readOnly } = this.#options
    const cut = await goBackTo(this.#fileSystem, segments, end, readOnly)
    if (cut !== null) this.#truncations.push(cut)
  }

  #consult(inventory: LogInventory): void {
    const { record, isRecordDamaged, logStartOffset, unindexed } = inventory
    this.#record = record
    this.#logStartOffset = logStartOffset
    for (const segment of unindexed) this.#noteRebuilt(segment)
    if (isRecordDamaged) this.#rebuiltIndexes.add(this.#recordFile.path)
    if (!this.#isClean) this.#recordFile.distrust()
    if (record === null) return
    // Written before the checkpoint and with a checksum, so the checkpoint cannot know more.
    this.#durableEnd = record.segments.at(-1)?.nextOffset ?? 0
    this.#recoveryPoint = Math.min(this.#recoveryPoint, this.#durableEnd)
    this.#objection = objectionTo(this.#epochs)
  }

  /** Ends the log where its files are no longer those on record. */
  async #endBefore(breach: audit.SegmentBreach, segments: LogSegments): Promise<number> {
    const { entry, path } = breach
    const isKept = ({ baseOffset }: LogSegment): boolean =>
      baseOffset < entry.baseOffset || (path !== null && baseOffset === entry.baseOffset)
    await segments.replace(segments.all.filter(isKept))
    const { active: last } = segments
    let endOffset = entry.baseOffset
    let place = breach
    if (last !== undefined && path !== null) {
      const fileSizeBytes = Math.min(last.sizeBytes, entry.sizeBytes)
      const scan = await this.#recover(last, fileSizeBytes, this.#recoveryPoint)
      const { reason, position, nextOffset } = scan
      endOffset = Math.min(nextOffset, entry.nextOffset)
      if (reason !== null) place = { ...breach, reason, position }
    }
    if (last !== undefined) last.nextOffset = endOffset
    this.#damage = audit.breachError(this.#dir, place, endOffset, this.#durableEnd)
    return endOffset
  }

  /** Brings the last segments in order; returns the log end offset. */
  async #findEnd(segments: LogSegments): Promise<number> {
    const [recoveryPoint, logStartOffset] = [this.#durableOffset, this.#logStartOffset]
    const last = segments.active
    if (last === undefined) {
      this.#damage = audit.nothingLeft(this.#dir, logStartOffset, recoveryPoint)
      return logStartOffset
    }
    if (this.#isClean) {
      const fileSizeBytes = last.sizeBytes
      const result = await this.#recover(last, fileSizeBytes, Number.MAX_SAFE_INTEGER)
      if (result.reason === null) return this.#checkEnd(last, result)
      // An orderly close leaves no such bytes. Everything is checked, as after a crash.
      last.sizeBytes = fileSizeBytes
    }
    return this.#checkFromRecoveryPoint(segments)
  }

  async #checkFromRecoveryPoint(segments: LogSegments): Promise<number> {
    const recoveryPoint = this.#recoveryPoint
    const { all } = segments
    let logEndOffset = 0
    for (let slot = Math.max(0, segments.floorSlot(recoveryPoint)); slot < all.length; slot += 1) {
      const segment = all[slot]
      if (segment === undefined) break
      const { sizeBytes: fileSizeBytes } = segment
      const result = await this.#recover(segment, fileSizeBytes, recoveryPoint)
      logEndOffset = result.nextOffset
      const next = all[slot + 1]
      if (result.reason !== null) {
        const durableOffset = this.#durableOffset
        const evidence = { fileSizeBytes, durableOffset, nextBaseOffset: next?.baseOffset ?? null }
        this.#damage = await findDamage(this.#fileSystem, segment, result, evidence)
        if (this.#damage !== null) {
          await segments.replace(all.slice(0, slot + 1))
          return logEndOffset
        }
        if (!this.#options.readOnly) {
          const { reason } = result
          const tail = await cutTornTail(this.#fileSystem, segment, fileSizeBytes, reason)
          this.#truncations.push(tail)
        }
      }
      if (next === undefined) {
        this.#checkEnd(segment, result)
      } else if (isGapBetween(this.#record, segment, next, next === all.at(-1))) {
        this.#damage = audit.gapBehind(segment, logEndOffset, next.baseOffset)
        await segments.replace(all.slice(0, slot + 1))
        return logEndOffset
      } else {
        segment.nextOffset = next.baseOffset
        segment.indexes.addFinalTimeEntry()
      }
    }
    return logEndOffset
  }

  async #recover(
    segment: LogSegment,
    fileSizeBytes: number,
    trustedOffset: number,
  ): Promise<ScanResult> {
    const isDense = isDenseOnRecord(this.#record, segment.baseOffset)
    const result = await segment.recover(fileSizeBytes, trustedOffset, {
      isDense,
      objection: isDense ? this.#objection : undefined,
      onBatch: (batch, position) => {
        this.#hasProducers ||= batch.producerId >= 0
        if (batch.nextOffset > this.#durableOffset) this.#tail.note(segment, batch, position)
      },
    })
    if (result.wasRebuilt) this.#noteRebuilt(segment)
    return result
  }

  /** Above the recovery point no index is promised, so none is missed there. */
  #noteRebuilt(segment: LogSegment): void {
    const isPromised = this.#isClean || segment.baseOffset < this.#recoveryPoint
    if (isPromised && segment.sizeBytes > 0) this.#rebuiltIndexes.add(segment.path)
  }

  /** A log that does not end where it was known to is not the one it was. */
  #checkEnd(last: LogSegment, result: ScanResult): number {
    const { recoveryPoint } = this.#options
    const isClean = this.#isClean
    const { nextOffset, position } = result
    const [durableEnd, logStartOffset] = [this.#durableOffset, this.#logStartOffset]
    const leastEnd = isClean ? Math.max(durableEnd, logStartOffset) : durableEnd
    // Without an order to the close, records that were deleted may be missing at the end too.
    const isShort = nextOffset < leastEnd && (isClean || durableEnd > logStartOffset)
    // What lies behind the end on record is a broker's, if the checkpoint knows of it.
    const isLong =
      isClean && durableEnd > 0 && nextOffset > durableEnd && nextOffset !== recoveryPoint
    if (isShort || isLong) {
      this.#damage = audit.endsElsewhere(last.path, position, nextOffset, leastEnd)
    }
    if (!isLong) return nextOffset
    last.nextOffset = durableEnd
    return durableEnd
  }

  async #finish(segments: LogSegments, foundEnd: number): Promise<LoadedLog> {
    let logEndOffset = foundEnd
    const { readOnly } = this.#options
    const isSound = this.#damage === null
    const logStartOffset = Math.max(this.#logStartOffset, segments.all[0]?.baseOffset ?? 0)
    if (logEndOffset < logStartOffset) {
      // Everything in the files was deleted before, so nothing of it is missed, nor shown again where
      // what should follow is damaged.
      logEndOffset = logStartOffset
      if (isSound) await (readOnly ? segments.replace([]) : segments.removeAll())
    }
    if (!this.#areEpochsKnown) {
      await refillEpochs(this.#epochs, segments, { logStartOffset, logEndOffset })
    }
    // In this order the next open finds nothing to change, also where every record is deleted.
    this.#epochs.truncateFromStart(logStartOffset)
    this.#epochs.truncateFromEnd(logEndOffset)
    if (!readOnly && isSound) {
      if (segments.active === undefined) {
        const segment = await LogSegment.create(logEndOffset, this.#options)
        await segments.add(segment)
        await this.#makeDurable(segments)
      } else if (!this.#isClean) {
        await this.#makeDurable(segments)
      }
      await this.#mark.remove()
      segments.active?.noteDurable()
      await removeDeleted(segments, logStartOffset, this.#recordFile)
      await this.#loadProducers(segments, logEndOffset)
    }
    for (const segment of segments.all.slice(0, -1)) await segment.park()
    return this.#loaded(segments, { logStartOffset, logEndOffset })
  }

  /** A log of which nothing can be read. */
  #lost(damage: CorruptRecordError): LoadedLog {
    const { logStartOffset } = this.#options
    this.#damage = damage
    return this.#loaded(new LogSegments(this.#fileSystem, this.#dir, []), {
      logStartOffset,
      logEndOffset: logStartOffset,
    })
  }

  #loaded(
    segments: LogSegments,
    ends: { logStartOffset: number; logEndOffset: number },
  ): LoadedLog {
    return {
      segments,
      ...ends,
      epochs: this.#epochs,
      leaderEpoch: this.#leaderEpoch(),
      isClean: this.#isClean,
      producers: this.#producers,
      recordFile: this.#recordFile,
      recovery: {
        truncations: this.#truncations,
        rebuiltIndexes: [...this.#rebuiltIndexes],
        damage: this.#damage,
      },
    }
  }

  /** What was found may so far be in the page cache only, and readers are told of durable records. */
  async #makeDurable(segments: LogSegments): Promise<void> {
    await this.#tail.writeAgain(segments)
    await segments.flushFrom(this.#recoveryPoint)
    await this.#epochs.write()
    await this.#fileSystem.syncDirectory(this.#dir)
  }

  async #loadProducers(segments: LogSegments, logEndOffset: number): Promise<void> {
    const snapshotOffset = await this.#producers.load(logEndOffset)
    if (this.#producers.entries.length > 0 || this.#hasProducers) {
      await this.#producers.replay(snapshotOffset, segments.readerUpTo(logEndOffset))
    }
    await this.#producers.keepSnapshots([...segments.baseOffsets, logEndOffset])
  }
}
