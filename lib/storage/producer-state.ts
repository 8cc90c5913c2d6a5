import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, replaceFile } from '../platform/file-io.ts'
import type { DirectoryEntry, FileSystem } from '../platform/file-system.ts'
import { readTransactionEnd } from '../record/control-record.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { parseSegmentFileName, segmentFilePath } from './log-files.ts'
import {
  decodeProducerSnapshot,
  encodeProducerSnapshot,
  type ProducerStateEntry,
} from './producer-snapshot.ts'

/** Enough for more than a million producers. */
const MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024
/** Name of a temporary file that an interrupted {@link replaceFile} has left. */
const HALF_WRITTEN = /^\d{20}\.snapshot\.tmp$/

/**
 * The last batch of every producer with an id, as a Kafka broker would remember it, so that a
 * broker can take over the directory. Written as `NNN.snapshot`, where NNN is the offset after the
 * last one covered: at every roll, at a checkpoint, and when the log is closed.
 *
 * Calls on one object must not overlap.
 */
export class ProducerState {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  #producers = new Map<number, ProducerStateEntry>()
  #isStale = false
  /** The snapshot that was last read or written. */
  #snapshot: { readonly path: string; readonly content: Buffer } | null = null
  /** Whether a sync covers that snapshot. */
  #isSnapshotSynced = false

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.#dir = dir
  }

  /** Whether the state may cover more than the log, until it is refreshed. */
  get isStale(): boolean {
    return this.#isStale
  }

  get entries(): ProducerStateEntry[] {
    return [...this.#producers.values()]
  }

  /** Notes a batch that is in the log. Batches without a producer id are ignored. */
  update(batch: RecordBatch): void {
    const producerId = producerIdOf(batch)
    const { producerEpoch } = batch
    if (producerId < 0) return
    const before = this.#producers.get(producerId)
    const openTxn = before?.currentTxnFirstOffset ?? -1
    const common = {
      producerId,
      producerEpoch,
      timestamp: batch.maxTimestamp,
      coordinatorEpoch: coordinatorEpochOf(batch) ?? before?.coordinatorEpoch ?? -1,
      currentTxnFirstOffset: nextTxnFirstOffset(batch, openTxn),
    }
    this.#producers.set(
      producerId,
      batch.isControl
        ? { ...common, ...lastDataOf(before?.producerEpoch === producerEpoch ? before : undefined) }
        : {
            ...common,
            lastSequence: batch.lastSequence,
            lastOffset: batch.lastOffset,
            offsetDelta: batch.lastOffsetDelta,
          },
    )
  }

  /**
   * Notes all batches from `fromOffset` on.
   *
   * @param read returns batches from an offset on, or none at the end.
   */
  async replay(
    fromOffset: number,
    read: (offset: number) => Promise<readonly RecordBatch[]>,
  ): Promise<void> {
    let offset = Math.max(0, fromOffset)
    for (;;) {
      const batches = await read(offset)
      for (const batch of batches) {
        if (batch.baseOffset >= offset) this.update(batch)
      }
      const last = batches.at(-1)
      if (last === undefined) return
      offset = last.nextOffset
    }
  }

  /** Notes that the log was truncated, so that the state may include batches that are gone. */
  markStale(): void {
    this.#isStale ||= this.#producers.size > 0
  }

  /**
   * Refreshes a stale state: loads the newest snapshot at or below `endOffset`, replays the batches
   * after it, and removes snapshots that cover more. After a failure, the next call starts over.
   *
   * @param read as in {@link ProducerState.replay}
   */
  async refresh(
    endOffset: number,
    read: (offset: number) => Promise<readonly RecordBatch[]>,
  ): Promise<void> {
    if (!this.#isStale) return
    await this.removeSnapshots((offset) => offset <= endOffset)
    await this.replay(await this.load(endOffset), read)
    this.#isStale = false
  }

  /**
   * Replaces the state with the newest readable snapshot at or below `endOffset`.
   *
   * @param names entries of the log's directory. @defaultValue lists the directory
   * @returns the offset it covers up to, exclusive; -1 if there is none, and the state is empty.
   */
  async load(endOffset: number, names?: readonly DirectoryEntry[]): Promise<number> {
    this.#producers.clear()
    this.#snapshot = null
    this.#isSnapshotSynced = false
    for (const offset of (await this.#snapshotOffsets(names)).reverse()) {
      if (offset > endOffset) continue
      const path = segmentFilePath(this.#dir, offset, 'snapshot')
      try {
        const content = await readWholeFile(this.#fileSystem, path, MAX_SNAPSHOT_BYTES)
        if (content === null) continue
        const entries = decodeProducerSnapshot(content, path)
        this.#snapshot = { path, content }
        this.#producers = new Map(entries.map((entry) => [entry.producerId, entry]))
        return offset
      } catch (error) {
        // The state is rebuilt from an older snapshot and the batches after it.
        if (!(error instanceof CorruptRecordError)) throw error
      }
    }
    return -1
  }

  /** Marks the snapshot that was read as covered by a sync. */
  noteSnapshotSynced(): void {
    this.#isSnapshotSynced = true
  }

  /**
   * Writes `NNN.snapshot` for `offset`; durable when it resolves.
   *
   * @returns false if the same snapshot was there and synced: nothing was written, no name synced.
   */
  async takeSnapshot(offset: number): Promise<boolean> {
    const path = segmentFilePath(this.#dir, offset, 'snapshot')
    const content = encodeProducerSnapshot(this.entries)
    const known = this.#isSnapshotSynced ? this.#snapshot : null
    if (known?.path === path && known.content.equals(content)) return false
    this.#snapshot = null
    await replaceFile(this.#fileSystem, path, content)
    this.#snapshot = { path, content }
    this.#isSnapshotSynced = true
    return true
  }

  /**
   * Unlinks every snapshot whose offset is not wanted, and temporary files that a crash has left.
   * The removal is durable when it resolves.
   *
   * @param names entries of the log's directory. @defaultValue lists the directory
   */
  async removeSnapshots(
    isWanted: (offset: number) => boolean,
    names?: readonly DirectoryEntry[],
  ): Promise<void> {
    const entries = names ?? (await this.#fileSystem.list(this.#dir))
    const unwanted = (await this.#snapshotOffsets(entries))
      .filter((offset) => !isWanted(offset))
      .map((offset) => segmentFilePath(this.#dir, offset, 'snapshot'))
    const halfWritten = entries.filter(({ name }) => HALF_WRITTEN.test(name))
    for (const { name } of halfWritten) unwanted.push(join(this.#dir, name))
    for (const path of unwanted) await this.#unlink(path)
    if (unwanted.length > 0) await this.#fileSystem.syncDirectory(this.#dir)
  }

  /**
   * Unlinks the snapshots at these offsets and ignores failures. The next open unlinks those that
   * remain and those that a power loss brings back.
   */
  async dropSnapshots(offsets: readonly number[]): Promise<void> {
    for (const offset of offsets) {
      const path = segmentFilePath(this.#dir, offset, 'snapshot')
      // Not every roll has left a snapshot.
      await this.#unlink(path).catch(() => undefined)
    }
  }

  /** Unlinks all snapshots except those at `offsets`; see {@link ProducerState.removeSnapshots}. */
  keepSnapshots(offsets: readonly number[], names?: readonly DirectoryEntry[]): Promise<void> {
    const wanted = new Set(offsets)
    return this.removeSnapshots((offset) => wanted.has(offset), names)
  }

  #unlink(path: string): Promise<void> {
    if (this.#snapshot?.path === path) this.#snapshot = null
    return this.#fileSystem.unlink(path)
  }

  async #snapshotOffsets(names?: readonly DirectoryEntry[]): Promise<number[]> {
    const offsets: number[] = []
    for (const entry of names ?? (await this.#fileSystem.list(this.#dir))) {
      // The directory may hold tens of thousands of other names.
      if (!entry.name.endsWith('.snapshot')) continue
      const name = parseSegmentFileName(entry.name)
      if (name !== null) offsets.push(name.offset)
    }
    return offsets
  }
}

/** -1 also for an id that cannot be represented. */
function producerIdOf(batch: RecordBatch): number {
  try {
    return batch.producerId
  } catch (error) {
    // This library does not write such ids, and they must not prevent a log from being opened.
    if (error instanceof CorruptRecordError) return -1
    throw error
  }
}

function nextTxnFirstOffset(batch: RecordBatch, openTxn: number): number {
  if (batch.isControl) return -1
  if (!batch.isTransactional) return openTxn
  return openTxn >= 0 ? openTxn : batch.baseOffset
}

/** A marker has no sequence number: the last data batch of the same producer epoch stays known. */
function lastDataOf(
  before: ProducerStateEntry | undefined,
): Pick<ProducerStateEntry, 'lastSequence' | 'lastOffset' | 'offsetDelta'> {
  return {
    lastSequence: before?.lastSequence ?? -1,
    lastOffset: before?.lastOffset ?? -1,
    offsetDelta: before?.offsetDelta ?? 0,
  }
}

/** Coordinator epoch of a transaction marker; `null` for other batches and unknown formats. */
function coordinatorEpochOf(batch: RecordBatch): number | null {
  if (!batch.isControl) return null
  try {
    return readTransactionEnd(batch)?.coordinatorEpoch ?? null
  } catch (error) {
    // All that is known of a marker of an unknown format is that the transaction has ended.
    if (error instanceof CorruptRecordError) return null
    throw error
  }
}
