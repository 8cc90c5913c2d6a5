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

/** More than a million producers. */
const MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024
/** What {@link replaceFile} has left of a snapshot. */
const HALF_WRITTEN = /^\d{20}\.snapshot\.tmp$/

/**
 * The last batch of every producer with an id, as a Kafka broker would remember it, so that one
 * can take the directory over. Written as `NNN.snapshot`, where NNN is the offset behind the last
 * one covered: at every roll, and when the log is closed.
 *
 * Calls of one object must not overlap.
 */
export class ProducerState {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  #producers = new Map<number, ProducerStateEntry>()
  #isStale = false
  /** The snapshot that was read or written last. */
  #snapshot: { readonly path: string; readonly content: Buffer } | null = null
  /** Whether a sync covers it. */
  #isSnapshotSynced = false

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.#dir = dir
  }

  /** Whether what is in memory may cover more than the log, until it is refreshed. */
  get isStale(): boolean {
    return this.#isStale
  }

  get entries(): ProducerStateEntry[] {
    return [...this.#producers.values()]
  }

  /** Takes note of a batch that is in the log. Batches without a producer id leave no trace. */
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
   * Takes note of all batches from `fromOffset` on.
   *
   * @param read returns batches from an offset on, none at the end.
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

  /** Notes that the log was cut, so that what is known may not be in it any more. */
  markStale(): void {
    this.#isStale ||= this.#producers.size > 0
  }

  /**
   * Where the state is stale: takes it from the newest snapshot at or below `endOffset` and from the
   * batches behind it, and removes snapshots that cover more. What fails is begun anew by the next call.
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
   * Replaces the state by the newest readable snapshot at or below `endOffset`.
   *
   * @param names those in the log's directory. @defaultValue looks for them
   * @returns the offset it covers up to, exclusive; -1 when there is none, and the state is empty.
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
        // The state is rebuilt from an older snapshot and the log behind it.
        if (!(error instanceof CorruptRecordError)) throw error
      }
    }
    return -1
  }

  /** The snapshot that was read is known to be covered by a sync. */
  noteSnapshotSynced(): void {
    this.#isSnapshotSynced = true
  }

  /**
   * Writes `NNN.snapshot` for `offset`; durable when it resolves.
   *
   * @returns false when it is there as it is to be, so that nothing was written, nor any name synced.
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
   * Unlinks every snapshot whose offset is not wanted, and what a crash has left of one that was being
   * written; for good when it resolves.
   *
   * @param names those in the log's directory. @defaultValue looks for them
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
   * Unlinks the snapshots at these offsets as far as that goes: the next open unlinks what stays, and what
   * a power loss brings back.
   */
  async dropSnapshots(offsets: readonly number[]): Promise<void> {
    for (const offset of offsets) {
      const path = segmentFilePath(this.#dir, offset, 'snapshot')
      // Not each roll has left one.
      await this.#unlink(path).catch(() => undefined)
    }
  }

  /** Unlinks every snapshot but those at `offsets`; see {@link ProducerState.removeSnapshots}. */
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
      // There may be tens of thousands of other names.
      if (!entry.name.endsWith('.snapshot')) continue
      const name = parseSegmentFileName(entry.name)
      if (name !== null) offsets.push(name.offset)
    }
    return offsets
  }
}

/** -1 also for a number that cannot be held. */
function producerIdOf(batch: RecordBatch): number {
  try {
    return batch.producerId
  } catch (error) {
    // Nobody here has written it, and it must not keep a log from being opened.
    if (error instanceof CorruptRecordError) return -1
    throw error
  }
}

function nextTxnFirstOffset(batch: RecordBatch, openTxn: number): number {
  if (batch.isControl) return -1
  if (!batch.isTransactional) return openTxn
  return openTxn >= 0 ? openTxn : batch.baseOffset
}

/** A marker carries no sequence: what the producer sent before it in the same epoch stays known. */
function lastDataOf(
  before: ProducerStateEntry | undefined,
): Pick<ProducerStateEntry, 'lastSequence' | 'lastOffset' | 'offsetDelta'> {
  return {
    lastSequence: before?.lastSequence ?? -1,
    lastOffset: before?.lastOffset ?? -1,
    offsetDelta: before?.offsetDelta ?? 0,
  }
}

/** The epoch of the coordinator that wrote a marker; `null` where the batch is none. */
function coordinatorEpochOf(batch: RecordBatch): number | null {
  if (!batch.isControl) return null
  try {
    return readTransactionEnd(batch)?.coordinatorEpoch ?? null
  } catch (error) {
    // A marker of a form that is not known says nothing more than that the transaction has ended.
    if (error instanceof CorruptRecordError) return null
    throw error
  }
}
