import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { CheckpointFile } from './checkpoint-file.ts'

/** A leader epoch and the offset of its first record. */
export interface EpochEntry {
  readonly epoch: number
  readonly startOffset: number
}

/** Epochs are an int32 in a batch's header. */
export const MAX_EPOCH = 0x7fff_ffff

/** Name of the file in a partition's directory. */
export const LEADER_EPOCH_FILE = 'leader-epoch-checkpoint'

/**
 * Maps offsets to the leader epochs that wrote them (KIP-101), stored in `leader-epoch-checkpoint`.
 *
 * Entries rise strictly in epoch and start offset. Changes are made in memory and become durable
 * with {@link LeaderEpochCache.write}. Calls must not overlap.
 */
export class LeaderEpochCache {
  readonly #file: CheckpointFile
  #entries: EpochEntry[] = []
  /** What the file says and the batches contradict; `null` if they do not. */
  #overruled: readonly EpochEntry[] | null = null
  #isDirty = false

  constructor(fileSystem: FileSystem, dir: string) {
    this.#file = new CheckpointFile(fileSystem, join(dir, LEADER_EPOCH_FILE), 2)
  }

  get path(): string {
    return this.#file.path
  }

  get entries(): readonly EpochEntry[] {
    return this.#entries
  }

  /** The epoch of the newest entry; -1 if there is none. */
  get latestEpoch(): number {
    return this.#entries.at(-1)?.epoch ?? -1
  }

  /**
   * Reads the file.
   *
   * @throws {@link CorruptRecordError} if it is damaged; then the cache is empty.
   */
  async load(): Promise<void> {
    this.#entries = []
    this.#overruled = null
    this.#isDirty = false
    this.#entries = await this.#read()
  }

  /**
   * Reads the file again, which another process may have replaced. If that fails, or the file is
   * damaged or still the one that was overruled, the cache is unchanged.
   *
   * @returns start offset of the first later epoch; `null` if there is none.
   */
  async reload(): Promise<number | null> {
    const { latestEpoch } = this
    try {
      const entries = await this.#read()
      if (this.#overruled === null || !isSame(entries, this.#overruled)) {
        this.#entries = entries
        this.#overruled = null
      }
    } catch (error) {
      // Its owner refills it when it opens the log next.
      if (!(error instanceof CorruptRecordError)) throw error
    }
    return this.endOffsetFor(latestEpoch)
  }

  async #read(): Promise<EpochEntry[]> {
    const entries: EpochEntry[] = []
    for (const fields of await this.#file.read()) {
      const entry = {
        epoch: this.#file.wholeNumber(fields[0]),
        startOffset: this.#file.wholeNumber(fields[1]),
      }
      const last = entries.at(-1) ?? { epoch: -1, startOffset: -1 }
      if (entry.epoch <= last.epoch || entry.startOffset <= last.startOffset) {
        throw this.#file.corrupt(
          `line '${fields.join(' ')}' does not increase over the previous line`,
        )
      }
      if (entry.epoch > MAX_EPOCH) throw this.#file.corrupt(`epoch ${entry.epoch} is not an int32`)
      entries.push(entry)
    }
    return entries
  }

  /** Drops all entries, which are those of the file: batches contradict them. */
  overrule(): void {
    this.#overruled = this.#entries
    this.#entries = []
    this.#isDirty = true
  }

  /** Notes that records from `startOffset` on belong to `epoch`, unless that is known. */
  assign(epoch: number, startOffset: number): void {
    if (epoch < 0) return
    const known = this.#entries[this.#slotOf('epoch', epoch)]
    if (known?.epoch === epoch && known.startOffset <= startOffset) return
    // A log may hold as many epochs as batches, so nothing is copied for each of them.
    const entries = this.#entries
    for (;;) {
      const last = entries.at(-1)
      if (last === undefined || (last.epoch < epoch && last.startOffset < startOffset)) break
      entries.pop()
    }
    entries.push({ epoch, startOffset })
    this.#isDirty = true
  }

  /** The epoch that wrote `offset`; -1 if unknown. */
  epochOf(offset: number): number {
    return this.#entries[this.#slotOf('startOffset', offset)]?.epoch ?? -1
  }

  /** The last slot whose field is at most `value`; -1 for none. Both fields rise. */
  #slotOf(field: keyof EpochEntry, value: number): number {
    let low = 0
    let high = this.#entries.length - 1
    while (low <= high) {
      const middle = (low + high) >>> 1
      if ((this.#entries[middle]?.[field] ?? 0) <= value) low = middle + 1
      else high = middle - 1
    }
    return high
  }

  /**
   * End of the records of `epoch` and all earlier ones, exclusive: what Kafka's followers request
   * after a change of leaders (KIP-320). `null` if no later epoch has begun, so that it is the log
   * end offset.
   */
  endOffsetFor(epoch: number): number | null {
    // Called for each read at the end of the log.
    if (epoch >= this.latestEpoch) return null
    return this.#entries[this.#slotOf('epoch', epoch) + 1]?.startOffset ?? null
  }

  /**
   * Drops the entries above `endOffset`. The latest epoch is kept, from `endOffset` on: a reader
   * may have seen its records before they were lost, so the epoch must not be reused.
   */
  truncateFromEnd(endOffset: number): void {
    const latest = this.#entries.at(-1)
    if (latest === undefined || latest.startOffset <= endOffset) return
    const kept = this.#entries.filter((entry) => entry.startOffset < endOffset)
    this.#entries = [...kept, { epoch: latest.epoch, startOffset: endOffset }]
    this.#isDirty = true
  }

  /** Drops entries that end below `startOffset`. The entry that covers it now starts there. */
  truncateFromStart(startOffset: number): void {
    const covering = this.#entries.findLast((entry) => entry.startOffset <= startOffset)
    if (covering === undefined) return
    if (covering === this.#entries[0] && covering.startOffset === startOffset) return
    this.#entries = [
      { epoch: covering.epoch, startOffset },
      ...this.#entries.filter((entry) => entry.startOffset > startOffset),
    ]
    this.#isDirty = true
  }

  /** Whether anything has changed since the file was read or written. */
  get isDirty(): boolean {
    return this.#isDirty
  }

  /** Writes the file if anything has changed since it was read or written. */
  async write(): Promise<void> {
    if (!this.#isDirty) return
    await this.#file.write(this.#entries.map((entry) => [entry.epoch, entry.startOffset]))
    this.#isDirty = false
  }
}

function isSame(left: readonly EpochEntry[], right: readonly EpochEntry[]): boolean {
  return (
    left.length === right.length &&
    left.every(({ epoch, startOffset }, slot) => {
      const other = right[slot]
      return epoch === other?.epoch && startOffset === other.startOffset
    })
  )
}
