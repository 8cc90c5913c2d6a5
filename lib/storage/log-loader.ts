import { CorruptRecordError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { DurableEndFile, type DurableEnd } from './durable-end.ts'
import { findImpostor, impostorRefused } from './impostor.ts'
import { refillEpochs } from './epoch-refill.ts'
import { LeaderEpochCache, MAX_EPOCH } from './leader-epoch-cache.ts'
import { segmentFileName, type SegmentFileKind } from './log-files.ts'
import { LogSegment, type SegmentOptions } from './log-segment.ts'
import { LogSegments } from './log-segments.ts'
import { ProducerState } from './producer-state.ts'
import type { ScanResult } from './segment-scan.ts'
import { completeSwaps, findLogFiles } from './swap-files.ts'
import { cutTornTail, findDamage, goBackTo, type Truncation } from './torn-tail.ts'

export type { Truncation } from './torn-tail.ts'

/** What opening one log found and did. */
export interface LogRecovery {
  readonly truncations: readonly Truncation[]
  /** Log files whose indexes were missing or unusable. */
  readonly rebuiltIndexes: readonly string[]
  /** Why the log is open for reading only; `null` when it is sound. */
  readonly damage: CorruptRecordError | null
}

/** What is known of a log before it is opened. */
export interface LoadOptions extends SegmentOptions {
  /** Whether the log was closed in order: nothing but its last bytes is looked at then. */
  readonly isClean: boolean
  /** Everything below this offset was durable, and its indexes were. */
  readonly recoveryPoint: number
  /** Offset that the records were deleted up to, exclusive. */
  readonly logStartOffset: number
  /** Why nothing of the log can be found where it was. Nothing is looked for then. */
  readonly loss?: CorruptRecordError | undefined
}

/** A log as it was found. */
export interface LoadedLog {
  readonly segments: LogSegments
  readonly logStartOffset: number
  readonly logEndOffset: number
  readonly epochs: LeaderEpochCache
  /** What is appended from now on belongs to it. */
  readonly leaderEpoch: number
  readonly producers: ProducerState
  readonly recovery: LogRecovery
  /** Whether nothing but an orderly close had been done to it. */
  readonly isClean: boolean
}

/**
 * Opens the files of one partition's directory.
 *
 * After an orderly close the indexes are trusted. Otherwise every batch from the recovery point on
 * is checked. Bad bytes at the end are a torn tail when nothing says that they were durable: they
 * are kept aside, cut, and reported. Bad bytes that had been durable are damage: nothing is
 * changed, and the log ends, read-only, before them.
 *
 * Where a sync has failed before, the page cache cannot be believed: what lies behind the durable
 * end that was marked then is cut, valid or not.
 *
 * Interrupted at any point, the next call comes to the same result.
 */
export class LogLoader {
  readonly #options: LoadOptions
  readonly #fileSystem: FileSystem
  readonly #dir: string
  readonly #epochs: LeaderEpochCache
  readonly #producers: ProducerState
  readonly #truncations: Truncation[] = []
  readonly #rebuiltIndexes: Set<string> = new Set<string>()
  readonly #mark: DurableEndFile
  /** Where a sync has failed; `null` where none has since the log was last opened. */
  #failedAt: DurableEnd | null = null
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
    await this.#loadEpochs()
    const found = await this.#listSegments()
    const segments = new LogSegments(this.#fileSystem, this.#dir, found)
    try {
      await this.#goBack(segments)
      const logEndOffset = await this.#findEnd(segments)
      return await this.#finish(segments, logEndOffset)
    } catch (error) {
      await segments.close()
      throw error
    }
  }

  async #loadEpochs(): Promise<void> {
    try {
      await this.#epochs.load()
    } catch (error) {
      // The batches carry their epochs, so the cache can be filled again.
      if (!(error instanceof CorruptRecordError)) throw error
    }
    this.#areEpochsKnown = this.#epochs.entries.length > 0
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
    return Math.max(this.#options.recoveryPoint, this.#failedAt?.offset ?? 0)
  }

  /** To the durable end that a failed sync has left a mark of. */
  async #goBack(segments: LogSegments): Promise<void> {
    const { recoveryPoint, readOnly } = this.#options
    const end = await this.#mark.read()
    // A power loss may bring a mark back that was obeyed before. What was appended since has a
    // later epoch, and must not be cut.
    if (end === null || end.leaderEpoch < this.#epochs.latestEpoch || end.offset < recoveryPoint) {
      return
    }
    this.#failedAt = end
    const cut = await goBackTo(this.#fileSystem, segments, end, readOnly)
    if (cut !== null) this.#truncations.push(cut)
  }

  async #listSegments(): Promise<LogSegment[]> {
    const files = await findLogFiles(this.#fileSystem, this.#dir)
    const names = new Set(files.map(({ offset, kind }) => segmentFileName(offset, kind)))
    const has = (offset: number, kind: SegmentFileKind): boolean =>
      names.has(segmentFileName(offset, kind))
    const segments: LogSegment[] = []
    for (const { kind, offset, suffix, path } of files) {
      if (kind === 'log') {
        segments.push(new LogSegment(offset, this.#options, suffix))
      } else if (kind !== 'snapshot' && !has(offset, 'log')) {
        if (!this.#options.readOnly) await this.#fileSystem.unlink(path)
      }
    }
    for (const [slot, segment] of segments.entries()) {
      const { baseOffset, path } = segment
      segment.sizeBytes = (await this.#fileSystem.stat(path))?.sizeBytes ?? 0
      segment.nextOffset = segments[slot + 1]?.baseOffset ?? baseOffset
      const isIndexed = has(baseOffset, 'index') && has(baseOffset, 'timeindex')
      if (!isIndexed) this.#noteRebuilt(segment)
    }
    return segments
  }

  /** Brings the last segments in order; returns the log end offset. */
  async #findEnd(segments: LogSegments): Promise<number> {
    const { logStartOffset } = this.#options
    const recoveryPoint = this.#durableOffset
    const last = segments.active
    if (last === undefined) {
      if (recoveryPoint > logStartOffset) {
        this.#damage = new CorruptRecordError(
          `there is no segment, records up to ${recoveryPoint} were durable`,
          {
            path: this.#dir,
            position: 0,
            firstOffset: logStartOffset,
            lastOffset: recoveryPoint - 1,
          },
        )
      }
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
    const { recoveryPoint, readOnly } = this.#options
    const { all } = segments
    let logEndOffset = 0
    for (let slot = Math.max(0, segments.floorSlot(recoveryPoint)); slot < all.length; slot += 1) {
      const segment = all[slot]
      if (segment === undefined) break
      const fileSizeBytes = segment.sizeBytes
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
        if (!readOnly) {
          const { reason } = result
          const tail = await cutTornTail(this.#fileSystem, segment, fileSizeBytes, reason)
          this.#truncations.push(tail)
        }
      }
      if (next === undefined) {
        this.#checkEnd(segment, result)
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
    const result = await segment.recover(fileSizeBytes, trustedOffset, (batch) => {
      this.#hasProducers ||= batch.producerId >= 0
    })
    if (result.wasRebuilt) this.#noteRebuilt(segment)
    return result
  }

  /** Above the recovery point no index is promised, so none is missed there. */
  #noteRebuilt(segment: LogSegment): void {
    const { recoveryPoint } = this.#options
    const isPromised = this.#isClean || segment.baseOffset < recoveryPoint
    if (isPromised && segment.sizeBytes > 0) this.#rebuiltIndexes.add(segment.path)
  }

  /** A log that does not end where it was known to is not the one it was. */
  #checkEnd(last: LogSegment, result: ScanResult): number {
    const { logStartOffset } = this.#options
    const recoveryPoint = this.#durableOffset
    const isClean = this.#isClean
    const { nextOffset, position } = result
    const leastEnd = isClean ? Math.max(recoveryPoint, logStartOffset) : recoveryPoint
    // Without an order to the close, records that were deleted may be missing at the end too.
    const isShort = nextOffset < leastEnd && (isClean || recoveryPoint > logStartOffset)
    const isLong = isClean && recoveryPoint > 0 && nextOffset > recoveryPoint
    if (isShort || isLong) {
      this.#damage = new CorruptRecordError(
        `the log ends at offset ${nextOffset}, not at ${leastEnd} where it did`,
        { path: last.path, position, firstOffset: Math.min(nextOffset, leastEnd) },
      )
    }
    if (!isLong) return nextOffset
    last.nextOffset = recoveryPoint
    return recoveryPoint
  }

  async #finish(segments: LogSegments, foundEnd: number): Promise<LoadedLog> {
    let logEndOffset = foundEnd
    const { readOnly } = this.#options
    const isSound = this.#damage === null
    let logStartOffset = Math.max(this.#options.logStartOffset, segments.all[0]?.baseOffset ?? 0)
    if (logEndOffset < logStartOffset) {
      if (!isSound) logStartOffset = segments.all[0]?.baseOffset ?? logEndOffset
      else {
        // Everything in the files was deleted before, so nothing of it is missed.
        logEndOffset = logStartOffset
        await (readOnly ? segments.replace([]) : segments.removeAll())
      }
    }
    if (!this.#areEpochsKnown) {
      await refillEpochs(this.#epochs, segments, { logStartOffset, logEndOffset })
    }
    // In this order the next open finds nothing to change, also where every record is deleted.
    this.#epochs.truncateFromStart(logStartOffset)
    this.#epochs.truncateFromEnd(logEndOffset)
    if (!readOnly && isSound) {
      await segments.removeBelow(logStartOffset)
      if (segments.active === undefined) {
        const segment = await LogSegment.create(logEndOffset, this.#options)
        await segments.add(segment)
        await this.#makeDurable(segments)
      } else if (!this.#isClean) {
        await this.#makeDurable(segments)
      }
      await this.#mark.remove()
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
      recovery: {
        truncations: this.#truncations,
        rebuiltIndexes: [...this.#rebuiltIndexes],
        damage: this.#damage,
      },
    }
  }

  /** What was found may so far be in the page cache only, and readers are told of durable records. */
  async #makeDurable(segments: LogSegments): Promise<void> {
    const { all } = segments
    for (const segment of all.slice(Math.max(0, segments.floorSlot(this.#options.recoveryPoint)))) {
      await segment.flush()
    }
    await this.#epochs.write()
    await this.#fileSystem.syncDirectory(this.#dir)
  }

  async #loadProducers(segments: LogSegments, logEndOffset: number): Promise<void> {
    const snapshotOffset = await this.#producers.load(logEndOffset)
    const isKnown = this.#producers.entries.length === 0 && !this.#hasProducers
    if (!isKnown) {
      const limits = { maxBytes: 1024 * 1024, endOffset: logEndOffset }
      await this.#producers.replay(snapshotOffset, (offset) => segments.read(offset, limits))
    }
    const bases = new Set(segments.all.map((segment) => segment.baseOffset))
    await this.#producers.removeSnapshots((offset) => bases.has(offset) || offset === logEndOffset)
  }
}
