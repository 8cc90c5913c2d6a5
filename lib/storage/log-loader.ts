import type { CorruptRecordError } from '../errors.ts'
import type { DirectoryEntry, FileSystem } from '../platform/file-system.ts'
import { DURABLE_END_FILE, DurableEndFile, type DurableEnd } from './durable-end.ts'
import { EpochDispute } from './epoch-dispute.ts'
import { findImpostor, impostorRefused } from './impostor.ts'
import { loadEpochs, refillEpochs } from './epoch-refill.ts'
import { LeaderEpochCache, MAX_EPOCH } from './leader-epoch-cache.ts'
import { EndFinder, missedFiles, type EndEvidence } from './log-end.ts'
import { takeInventory, type LogInventory } from './log-inventory.ts'
import type { LoadedLog, LoadOptions } from './loaded-log.ts'
import { segmentFileName } from './log-files.ts'
import { LogSegment } from './log-segment.ts'
import { LogSegments } from './log-segments.ts'
import { isNoRoom, type OwedRecovery } from './owed-recovery.ts'
import { ProducerState } from './producer-state.ts'
import { replayReader } from './replay-reader.ts'
import { SegmentRecordFile, type SegmentRecord } from './segment-record.ts'
import { removeDeleted } from './segment-recorder.ts'
import { completeSwaps, isSwapping } from './swap-files.ts'
import { TornFiles } from './torn-files.ts'
import { goBackTo, type Truncation } from './torn-tail.ts'
import { truncateTransactionIndex } from './transaction-index.ts'
import { renewEmptySegment, UnprovenTail } from './unproven-tail.ts'

/**
 * Opens the files of one partition's directory.
 *
 * After a clean shutdown the indexes are trusted. Otherwise every batch from the recovery point on
 * is checked. Bad bytes at the end are a torn tail if nothing shows that they were durable: they
 * are kept in a separate file, truncated and reported. Bad bytes that had been durable are damage:
 * nothing is changed, and the log ends, read-only, before them.
 *
 * After a failed sync the page cache cannot be trusted: everything beyond the marked durable end is
 * truncated, valid or not. If no mark could be left, everything that is not proven to have been
 * durable is written again before it is synced.
 *
 * After a clean shutdown as little as possible is done: one listing of the directory, the size of
 * each file, and the end of the last one. Of files left by a broker, a few bytes each are read,
 * once. If a call is interrupted at any point, the next one has the same result.
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
  #tail = new UnprovenTail()
  /** Mark of a failed sync; `null` if no sync has failed since the log was last opened. */
  #failedAt: DurableEnd | null = null
  #record: SegmentRecord | null = null
  #logStartOffset: number
  #recoveryPoint: number
  #durableEnd: number
  #dispute: EpochDispute | null = null
  #damage: CorruptRecordError | null = null
  #hasProducers = false
  /** Whether a file of a cleanly closed log was cut. Of other logs all is made durable anyway. */
  #hasCut = false
  /** The names in the directory. */
  #names: readonly DirectoryEntry[] = []
  #areEpochsKnown = false
  /** The first epoch of a new log. */
  #firstEpoch: number | null = null
  #owed: OwedRecovery | null = null

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

  /** Does the work described above. Files stay open only if the result holds them. */
  async load(): Promise<LoadedLog> {
    const { loss } = this.#options
    if (loss !== undefined) return this.#lost(loss)
    this.#names = await this.#list()
    const impostor = findImpostor(this.#names, this.#dir)
    if (impostor !== null) return this.#lost(impostor)
    try {
      return await this.#loadFiles()
    } catch (error) {
      const refused = impostorRefused(error)
      if (refused === null) throw error
      return this.#lost(refused)
    }
  }

  async #loadFiles(): Promise<LoadedLog> {
    const { readOnly } = this.#options
    // Needed at the end: an unreadable snapshot has to be detected before anything is changed.
    if (!readOnly && !this.#isClean) await this.#producers.load(Infinity, this.#names)
    if (!readOnly && isSwapping(this.#names)) {
      await completeSwaps(this.#fileSystem, this.#dir)
      this.#names = await this.#list()
    }
    const inventory = await takeInventory(this.#options, this.#recordFile, this.#names)
    // After the segments: a writer beside this reader stores an epoch before its first batch.
    // Batches that it adds before a preallocated end meanwhile may have a later epoch: see
    // loadFiles.
    this.#areEpochsKnown = await loadEpochs(this.#epochs)
    this.#consult(inventory)
    const { breach } = inventory
    const segments = new LogSegments(this.#fileSystem, this.#dir, inventory.segments)
    try {
      const { unreadable } = this.#options
      // If the files differ from the record, the log is damaged, and nothing of it is changed.
      if (breach === null && unreadable === undefined) await this.#goBack(segments)
      const end = new EndFinder(this.#evidence())
      const logEndOffset = await end.find(segments, breach, unreadable)
      this.#takeOver(end)
      return await this.#finish(segments, logEndOffset)
    } catch (error) {
      await segments.close()
      throw error
    }
  }

  /** Rises whenever records that a reader has seen may have been lost. */
  #leaderEpoch(): number {
    if (this.#firstEpoch !== null) return this.#firstEpoch
    const { readOnly } = this.#options
    const { latestEpoch } = this.#epochs
    const isContinued = readOnly || (this.#isClean && this.#areEpochsKnown) || latestEpoch < 0
    const epoch = Math.max(0, latestEpoch) + (isContinued ? 0 : 1)
    return Math.min(Math.max(epoch, (this.#failedAt?.leaderEpoch ?? -1) + 1), MAX_EPOCH)
  }

  get #isClean(): boolean {
    return this.#options.isClean && this.#failedAt === null
  }

  /** Goes back to the durable end in the mark of a failed sync. */
  async #goBack(segments: LogSegments): Promise<void> {
    if (!this.#mayBeMarked) return
    const end = await this.#mark.readUnlessObeyed(this.#epochs.latestEpoch, this.#durableEnd)
    if (end === null) return
    this.#failedAt = end
    const { readOnly } = this.#options
    const cut = await goBackTo(this.#fileSystem, segments, end, readOnly)
    if (cut !== null) this.#truncations.push(cut)
  }

  /** Whether there may be a mark of a failed sync. A writer may have left one by now. */
  get #mayBeMarked(): boolean {
    return this.#options.readOnly || this.#names.some(({ name }) => name === DURABLE_END_FILE)
  }

  #evidence(): EndEvidence {
    return {
      ...{ fileSystem: this.#fileSystem, dir: this.#dir, readOnly: this.#options.readOnly },
      isClean: this.#isClean,
      checkpointOffset: this.#options.recoveryPoint,
      recoveryPoint: this.#recoveryPoint,
      durableOffset: Math.max(this.#durableEnd, this.#failedAt?.offset ?? 0),
      logStartOffset: this.#logStartOffset,
      record: this.#record,
      dispute: this.#dispute,
    }
  }

  #takeOver(end: EndFinder): void {
    this.#truncations.push(...end.truncations)
    for (const path of end.rebuiltIndexes) this.#rebuiltIndexes.add(path)
    this.#tail = end.tail
    this.#damage = end.damage
    this.#hasProducers = end.hasProducers
    this.#hasCut = end.hasCut
  }

  #consult(inventory: LogInventory): void {
    const { record, logStartOffset } = inventory
    this.#record = record
    this.#logStartOffset = logStartOffset
    const promise = { isClean: this.#isClean, recoveryPoint: this.#recoveryPoint }
    const missed = missedFiles(inventory, this.#recordFile.path, promise)
    for (const path of missed) this.#rebuiltIndexes.add(path)
    if (!this.#isClean) this.#recordFile.distrust()
    if (record === null) return
    // It has a checksum and is written before the checkpoint, so the checkpoint cannot know more.
    this.#durableEnd = record.segments.at(-1)?.nextOffset ?? 0
    this.#recoveryPoint = Math.min(this.#recoveryPoint, this.#durableEnd)
    const fileSystem = this.#fileSystem
    this.#dispute = new EpochDispute(this.#epochs, { fileSystem, record, logStartOffset })
  }

  async #finish(segments: LogSegments, foundEnd: number): Promise<LoadedLog> {
    let logEndOffset = foundEnd
    const { readOnly } = this.#options
    segments.torn = TornFiles.find(this.#fileSystem, this.#dir, this.#names, this.#truncations)
    const isSound = this.#damage === null
    const logStartOffset = Math.max(this.#logStartOffset, segments.all[0]?.baseOffset ?? 0)
    if (logEndOffset < logStartOffset) {
      // Everything in the files was deleted before. So nothing of it is lost, and it is not shown
      // again if the segment that should follow is damaged.
      logEndOffset = logStartOffset
      // Durably: an open may have truncated a file and crashed before its sync. Bytes that reappear
      // in front of a new segment would be damage.
      if (isSound) await (readOnly ? segments.replace([]) : segments.removeAll())
    }
    if (!this.#areEpochsKnown || this.#dispute?.isCheckpointWrong === true) {
      await this.#refillEpochs(segments, { logStartOffset, logEndOffset })
    }
    // In this order the next open finds nothing to change, even if every record is deleted.
    this.#epochs.truncateFromStart(logStartOffset)
    this.#epochs.truncateFromEnd(logEndOffset)
    if (!readOnly && isSound) {
      const isNew = segments.active === undefined
      if (isNew) {
        await segments.add(await LogSegment.create(logEndOffset, this.#options))
        this.#beginFirstEpoch(logEndOffset)
      }
      const hasDeleted = segments.hasBelow(logStartOffset)
      await this.#settleOrOwe(segments, { logStartOffset, logEndOffset, isNew })
      // Files removed meanwhile must not be removed again.
      const names = this.#isClean && !hasDeleted ? this.#names : await this.#list()
      await this.#loadProducers(segments, logEndOffset, names)
    }
    await segments.park()
    return this.#loaded(segments, { logStartOffset, logEndOffset })
  }

  /** The first epoch is synced here anyway, so the first append need not write it. */
  #beginFirstEpoch(logEndOffset: number): void {
    if (this.#epochs.latestEpoch >= 0) return
    this.#firstEpoch = this.#leaderEpoch()
    this.#epochs.assign(this.#firstEpoch, logEndOffset)
  }

  /** A log opens even on a full disk: work for which there is no room is done later. */
  async #settleOrOwe(
    segments: LogSegments,
    found: { logStartOffset: number; logEndOffset: number; isNew: boolean },
  ): Promise<void> {
    const { logStartOffset, logEndOffset, isNew } = found
    const settle = (): Promise<void> => this.#settle(segments, logStartOffset, isNew)
    try {
      await settle()
    } catch (error) {
      if (!isNoRoom(error)) throw error
      const provenEnd = this.#tail.provenEnd(segments) ?? logEndOffset
      this.#owed = { durableEndOffset: Math.max(provenEnd, logStartOffset), settle }
    }
  }

  /** Makes the findings durable, then removes obsolete files. Can be repeated. */
  async #settle(segments: LogSegments, logStartOffset: number, isNew: boolean): Promise<void> {
    if (!isNew && !this.#isClean) await renewEmptySegment(this.#options, segments, this.#record)
    if (isNew || !this.#isClean || this.#hasCut) await this.#makeDurable(segments)
    if (this.#mayBeMarked) await this.#mark.remove()
    segments.active?.noteDurable()
    // A clean shutdown has synced them.
    if (this.#isClean) segments.active?.indexes.noteSynced()
    await removeDeleted(segments, logStartOffset, this.#recordFile)
  }

  async #refillEpochs(
    segments: LogSegments,
    range: { readonly logStartOffset: number; readonly logEndOffset: number },
  ): Promise<void> {
    const { latestEpoch, path } = this.#epochs
    const { logStartOffset, logEndOffset } = range
    if (this.#areEpochsKnown) this.#epochs.overrule()
    this.#areEpochsKnown = false
    if (logEndOffset > logStartOffset) this.#rebuiltIndexes.add(path)
    await refillEpochs(this.#epochs, segments, range)
    // It is unknown whether the latest epoch was in use, so it is not reused. A reader begins none.
    if (this.#options.readOnly) return
    if (latestEpoch > this.#epochs.latestEpoch) this.#epochs.assign(latestEpoch, logEndOffset)
  }

  /** A log of which nothing can be read. */
  #lost(damage: CorruptRecordError): LoadedLog {
    this.#damage = damage
    return this.unknown()
  }

  /** A log of which nothing is known yet. */
  unknown(): LoadedLog {
    const { logStartOffset } = this.#options
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
      epochs: this.#epochs,
      leaderEpoch: this.#leaderEpoch(),
      isClean: this.#isClean,
      owed: this.#owed,
      producers: this.#producers,
      recordFile: this.#recordFile,
      recovery: {
        truncations: this.#truncations,
        rebuiltIndexes: [...this.#rebuiltIndexes],
        failedSyncOffset: this.#failedAt?.offset ?? null,
        damage: this.#damage,
      },
      ...ends,
    }
  }

  /** The findings may only be in the page cache so far, and readers only see durable records. */
  async #makeDurable(segments: LogSegments): Promise<void> {
    await this.#tail.writeAgain(segments)
    await segments.flushFrom(this.#recoveryPoint)
    const { baseOffset = 0, nextOffset: offset = 0 } = segments.active ?? {}
    // Varve writes none, so that most directories have none to be opened.
    const transactions = segmentFileName(baseOffset, 'txnindex')
    if (this.#names.some(({ name }) => name === transactions)) {
      await truncateTransactionIndex(this.#fileSystem, this.#dir, { baseOffset, offset })
    }
    // This also makes the names in the directory durable.
    if (this.#epochs.isDirty) await this.#epochs.write()
    else await this.#fileSystem.syncDirectory(this.#dir)
  }

  #list(): Promise<DirectoryEntry[]> {
    return this.#fileSystem.list(this.#dir)
  }

  async #loadProducers(
    segments: LogSegments,
    logEndOffset: number,
    names: readonly DirectoryEntry[],
  ): Promise<void> {
    const snapshotOffset = await this.#producers.load(logEndOffset, names)
    if (this.#isClean) this.#producers.noteSnapshotSynced()
    if (this.#producers.entries.length > 0 || this.#hasProducers) {
      await this.#producers.replay(snapshotOffset, replayReader(segments, logEndOffset))
    }
    await this.#producers.keepSnapshots([...segments.baseOffsets, logEndOffset], names)
  }
}
