import { batchMemory } from '../record/batch-memory.ts'
import { decodeUncompressed, type BatchPlace } from '../record/decode.ts'
import { RecordBatchBuilder, type EncodableHeader } from '../record/record-batch-builder.ts'
import { batchesOf, type RecordBatch } from '../record/record-batch.ts'
import type { AppendResult } from '../storage/append-record.ts'
import { BATCH_TARGET_BYTES, type JoinableBatch } from '../storage/encode-records.ts'
import { rejecting, settledLater, settleOfLast, type Settle } from './settled-later.ts'

/**
 * When an append counts as done: with `0` when it is in memory, with `1` when it is written, with
 * `'all'` when consumers may see it. On a topic with `flushMessages: 1` that is when it is durable.
 */
export type Acks = 0 | 1 | 'all'

/** All values of {@link Acks}. */
export const ACKS: readonly Acks[] = [0, 1, 'all']

/** How batches are appended. */
export interface ChainedAppendOptions {
  readonly acks: Acks
  /** The append fails unless it gets this offset. */
  readonly expectedOffset?: number | undefined
  /**
   * Whether the append is in line: if the disk fails one of the appends in line, those after it are
   * not written. A producer keeps its own order instead.
   */
  readonly isInLine: boolean
  /** Whether there is a record without a key. @defaultValue false */
  readonly hasKeyless?: boolean
}

const NOT_WRITTEN: AppendResult = { baseOffset: -1, lastOffset: -1, timestamp: -1 }

/** Called once with the outcome, in the middle of the append. Neither function may throw. */
export interface Settlement {
  /**
   * @param appendTime that all records are stored with; `null` if they keep their own timestamps
   */
  readonly resolve: (result: AppendResult, appendTime: number | null) => void
  readonly reject: (error: unknown) => void
}

/** One append on its way through the chain: its batches, and the callers waiting for them. */
export abstract class PendingAppend {
  /** Size in memory as far as it is known: 0 while the append is being encoded. */
  abstract readonly sizeBytes: number
  /** Whether there is a record without a key, which the topic may since have stopped accepting. */
  abstract readonly hasKeyless: boolean
  /** `undefined` if any offset will do. */
  readonly expectedOffset: number | undefined
  readonly isInLine: boolean
  /** Whether it has left the line, possibly before it was encoded. */
  isReleased = false
  /** Neighbours in the line, which alone changes them. */
  previous: PendingAppend | null = null
  next: PendingAppend | null = null

  constructor(options: ChainedAppendOptions) {
    this.expectedOffset = options.expectedOffset
    this.isInLine = options.isInLine
  }

  /** Whether the bytes are available. */
  abstract readonly isEncoded: boolean

  /** Resolves once {@link PendingAppend.isEncoded}. Never rejects. */
  abstract readonly encoded: Promise<void> | null

  /** The batches to write; none if they could not be encoded. Nothing can join them afterwards. */
  abstract seal(): readonly Buffer[]

  /**
   * Records the offsets, and settles those who wait only for the write.
   *
   * @param batches as they are in the log; not used after the call.
   * @returns whether anyone was settled.
   */
  abstract written(batches: readonly RecordBatch[]): boolean

  /** Settles all others, after the write. */
  abstract done(): void

  /** Rejects for all: nothing of it is in the log, or nobody knows. */
  abstract reject(error: unknown): void
}

/** What an append with batches of its own needs from its chain. */
export interface WholeAppendOwner {
  /** Counts the bytes of an append whose size was not known at first. */
  grown(sizeBytes: number): void
  /** See `AppendChain.giveUp`. */
  giveUp(append: PendingAppend, reason: unknown): boolean
}

/** An append with batches of its own: any {@link PendingAppend} that is no {@link SharedBatch}. */
export class WholeAppend extends PendingAppend {
  readonly encoded: Promise<void> | null
  readonly hasKeyless: boolean
  readonly #owner: WholeAppendOwner
  readonly #acks: Acks
  readonly #settle: Settlement
  #buffers: readonly Buffer[] | null = null
  #sizeBytes = 0
  #result: AppendResult = NOT_WRITTEN
  #appendTime: number | null = null
  #isTold = false

  constructor(
    owner: WholeAppendOwner,
    batches: readonly Buffer[] | Promise<readonly Buffer[]>,
    options: ChainedAppendOptions,
    settle: Settlement,
  ) {
    super(options)
    this.#owner = owner
    this.hasKeyless = options.hasKeyless === true
    this.#acks = options.acks
    this.#settle = settle
    if (batches instanceof Promise) {
      this.encoded = this.#whenEncoded(batches)
    } else {
      this.encoded = null
      this.#take(batches)
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  get isEncoded(): boolean {
    return this.#buffers !== null
  }

  seal(): readonly Buffer[] {
    return this.#buffers ?? []
  }

  written(batches: readonly RecordBatch[]): boolean {
    let timestamp = -1
    // There may be more batches than a call takes arguments.
    for (const { maxTimestamp } of batches) timestamp = Math.max(timestamp, maxTimestamp)
    const baseOffset = batches[0]?.baseOffset ?? -1
    this.#result = { baseOffset, lastOffset: batches.at(-1)?.lastOffset ?? -1, timestamp }
    // The topic may be altered between the stamp and the acknowledgement.
    if (batches[0]?.timestampType === 'LogAppendTime') this.#appendTime = timestamp
    if (this.#acks === 'all') return false
    this.done()
    return true
  }

  done(): void {
    if (this.#isTold) return
    this.#isTold = true
    this.#settle.resolve(this.#result, this.#appendTime)
  }

  reject(error: unknown): void {
    if (this.#isTold) return
    this.#isTold = true
    this.#settle.reject(error)
  }

  /**
   * Rejects the append if it still waits, for others or for room. @returns whether it did: then
   * nothing of it is, or will be, in the log
   */
  giveUp(reason: unknown): boolean {
    return this.#owner.giveUp(this, reason)
  }

  #take(buffers: readonly Buffer[]): void {
    this.#buffers = buffers
    for (const { length } of buffers) this.#sizeBytes += length
  }

  async #whenEncoded(batches: Promise<readonly Buffer[]>): Promise<void> {
    try {
      const buffers = await batches
      // The append may have failed meanwhile.
      if (this.isReleased) return
      this.#take(buffers)
      this.#owner.grown(this.#sizeBytes)
    } catch (error) {
      this.#buffers = []
      this.#settle.reject(error)
    }
  }
}

/**
 * Records of several appends in one batch. A separate batch for each would add 61 bytes of header,
 * a checksum and an entry in the write, which is more than the record itself. Callers notice no
 * difference, except that all of the records are in the log or none.
 */
export class SharedBatch extends PendingAppend implements JoinableBatch {
  readonly isEncoded = true
  readonly encoded = null
  /** How much of its size the chain has counted. */
  countedBytes = 0
  hasKeyless = false
  readonly #builder: RecordBatchBuilder
  /** Who waits for each record. */
  #sharers: Settle<AppendResult>[] = []
  /** Indexes of those who wait only for the write; usually none. */
  readonly #early: number[] = []
  readonly #timestamps: number[] = []
  #buffers: readonly Buffer[] | null = null
  #baseOffset = -1
  #appendTime: number | null = null

  /** @param capacityBytes of the first buffer; the probable size of the batch. */
  constructor(capacityBytes: number) {
    super({ acks: 'all', isInLine: true })
    // Only a single record is larger than that: memory for records after it would be kept for
    // nothing.
    const firstBytes = Math.min(capacityBytes, BATCH_TARGET_BYTES)
    this.#builder = new RecordBatchBuilder({ pool: batchMemory, capacityBytes: firstBytes })
  }

  get sizeBytes(): number {
    return this.#builder.recordCount === 0 ? 0 : this.#builder.sizeBytes
  }

  /** Adds a record; {@link SharedBatch.share} must follow. A sealed batch has no room. */
  add(
    limitBytes: number,
    timestamp: number,
    key: Buffer | null,
    value: Buffer | null,
    headers: readonly EncodableHeader[],
  ): boolean {
    // It may have been in a group that is being gathered again.
    if (this.#buffers !== null) return false
    if (this.#builder.tryAppend(limitBytes, timestamp, key, value, headers) < 0) return false
    this.#timestamps.push(timestamp)
    if (key === null) this.hasKeyless = true
    return true
  }

  /** Returns the promise for the record that was added last. */
  share(acks: Acks): Promise<AppendResult> {
    const promise = settledLater<AppendResult>()
    const count = this.#sharers.push(settleOfLast<AppendResult>())
    if (acks !== 'all') this.#early.push(count - 1)
    return promise
  }

  seal(): readonly Buffer[] {
    this.#buffers ??= [this.#builder.buildUncompressed()]
    return this.#buffers
  }

  /**
   * Moves the records that have a key, with those who wait for them, to a separate batch. This
   * batch keeps only those who wait for the other records, and must not be written any more.
   *
   * @returns `null` if no record has a key.
   */
  splitKeyed(place: BatchPlace): SharedBatch | null {
    const keyed = new SharedBatch(this.sizeBytes)
    const others: Settle<AppendResult>[] = []
    const early = new Set(this.#early)
    const batches = batchesOf(this.seal())
    const records = batches.flatMap((batch) => decodeUncompressed(batch, place))
    for (const [slot, settle] of this.#sharers.entries()) {
      const record = records[slot]
      if (record === undefined || record.key === null) {
        others.push(settle)
        continue
      }
      const { timestamp, key, value, headers } = record
      keyed.add(Infinity, timestamp, key, value, headers)
      const count = keyed.#sharers.push(settle)
      if (early.has(slot)) keyed.#early.push(count - 1)
    }
    this.#sharers = others
    return keyed.sizeBytes === 0 ? null : keyed
  }

  written([batch]: readonly RecordBatch[]): boolean {
    if (batch === undefined) return false
    this.#baseOffset = batch.baseOffset
    if (batch.timestampType === 'LogAppendTime') this.#appendTime = batch.maxTimestamp
    for (const slot of this.#early) this.#tell(slot)
    return this.#early.length > 0
  }

  done(): void {
    // Calls after the first do nothing for those settled before.
    for (let slot = 0; slot < this.#sharers.length; slot += 1) this.#tell(slot)
  }

  #tell(slot: number): void {
    const offset = this.#baseOffset + slot
    const timestamp = this.#appendTime ?? this.#timestamps[slot] ?? -1
    this.#sharers[slot]?.({ baseOffset: offset, lastOffset: offset, timestamp })
  }

  reject(error: unknown): void {
    for (const settle of this.#sharers) settle(rejecting(error))
  }
}

/** The append as a batch that others may join; `null` if it is none. */
export function sharedBatchOf(append: PendingAppend | null): SharedBatch | null {
  return append instanceof SharedBatch ? append : null
}

/** Whether a record of a group has no key. */
export function hasKeyless(group: Iterable<PendingAppend>): boolean {
  for (const append of group) if (append.hasKeyless) return true
  return false
}

/** The batches of a group, in order. */
export function sealAll(group: readonly PendingAppend[]): readonly Buffer[] {
  const [first] = group
  if (group.length === 1 && first !== undefined) return first.seal()
  const buffers: Buffer[] = []
  for (const append of group) for (const buffer of append.seal()) buffers.push(buffer)
  return buffers
}

/**
 * Passes each append of a group its batches, as they are in the log.
 * @returns whether anyone was settled.
 */
export function tellWritten(
  group: readonly PendingAppend[],
  batches: readonly RecordBatch[],
): boolean {
  const [first] = group
  if (group.length === 1 && first !== undefined) return first.written(batches)
  let start = 0
  let isAnyoneTold = false
  for (const append of group) {
    const end = start + append.seal().length
    if (append.written(batches.slice(start, end))) isAnyoneTold = true
    start = end
  }
  return isAnyoneTold
}
