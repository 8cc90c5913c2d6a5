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
 * Which leader epoch wrote which offsets (KIP-101), kept in `leader-epoch-checkpoint`.
 *
 * Entries rise strictly in epoch and start offset. Changes are made in memory and become durable
 * with {@link LeaderEpochCache.write}. Calls of one cache must not overlap.
 */
export class LeaderEpochCache {
  readonly #file: CheckpointFile
  #entries: EpochEntry[] = []
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

  /** The epoch of the newest entry, -1 while there is none. */
  get latestEpoch(): number {
    return this.#entries.at(-1)?.epoch ?? -1
  }

  /**
   * Reads the file.
   *
   * @throws {@link CorruptRecordError} when it is damaged; the cache is empty then.
   */
  async load(): Promise<void> {
    this.#entries = []
    this.#isDirty = false
    this.#entries = await this.#read()
  }

  /**
   * Reads the file again, which another process may have replaced. When that fails, or the file is
   * damaged, the cache is as before.
   *
   * @returns where a later epoch than before has begun, `null` when none has.
   */
  async reload(): Promise<number | null> {
    const { latestEpoch } = this
    try {
      this.#entries = await this.#read()
    } catch (error) {
      // Its owner fills it again when it opens the log next.
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
        throw this.#file.corrupt(`line '${fields.join(' ')}' does not rise above the one before`)
      }
      if (entry.epoch > MAX_EPOCH) throw this.#file.corrupt(`epoch ${entry.epoch} is no int32`)
      entries.push(entry)
    }
    return entries
  }

  /** Forgets which epoch wrote what. */
  clear(): void {
    this.#entries = []
    this.#isDirty = true
  }

  /** Notes that records from `startOffset` on belong to `epoch`, if that is news. */
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

  /** The epoch that wrote `offset`, -1 when it is not known. */
  epochOf(offset: number): number {
    return this.#entries[this.#slotOf('startOffset', offset)]?.epoch ?? -1
  }

  /** The last slot whose field is at or below `value`, -1 for none. Both fields rise. */
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
   * Where the records of `epoch` and all epochs before it end, exclusive: what Kafka's followers ask
   * for after a change of leaders (KIP-320). `null` when no later epoch has begun: the end of the log.
   */
  endOffsetFor(epoch: number): number | null {
    // Who reads at the end of the log asks for each read.
    if (epoch >= this.latestEpoch) return null
    return this.#entries[this.#slotOf('epoch', epoch) + 1]?.startOffset ?? null
  }

  /**
   * Forgets which epochs wrote what lies above `endOffset`. That the latest epoch has been in use
   * stays known, from `endOffset` on: somebody may have seen its records before they were lost, so
   * it must not be given to others.
   */
  truncateFromEnd(endOffset: number): void {
    const latest = this.#entries.at(-1)
    if (latest === undefined || latest.startOffset <= endOffset) return
    const kept = this.#entries.filter((entry) => entry.startOffset < endOffset)
    this.#entries = [...kept, { epoch: latest.epoch, startOffset: endOffset }]
    this.#isDirty = true
  }

  /** Forgets what ends below `startOffset`; the epoch that covers it starts there now. */
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

/**
 * Tells of offsets, each at or above the one before, which epoch wrote them; `null` where nobody knows.
 * Asked for all batches of a log it goes through the entries once.
 */
export function epochsBy(entries: readonly EpochEntry[]): (offset: number) => number | null {
  let slot = 0
  return (offset) => {
    while ((entries[slot + 1]?.startOffset ?? Infinity) <= offset) slot += 1
    const known = entries[slot]
    return known === undefined || known.startOffset > offset ? null : known.epoch
  }
}
