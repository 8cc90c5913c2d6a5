import { batchMemory } from '../record/batch-memory.ts'
import { decodeUncompressed, type BatchPlace } from '../record/decode.ts'
import { RecordBatchBuilder, type EncodableHeader } from '../record/record-batch-builder.ts'
import { batchesOf, type RecordBatch } from '../record/record-batch.ts'
import type { AppendResult } from '../storage/append-record.ts'
import { BATCH_TARGET_BYTES, type JoinableBatch } from '../storage/encode-records.ts'
import { rejecting, settledLater, settleOfLast, type Settle } from './settled-later.ts'

/**
 * When an append counts as done: `0` when it is in memory, `1` when it is written, `'all'` when
 * consumers may see it, which on a topic with `flushMessages: 1` means when it is durable.
 */
export type Acks = 0 | 1 | 'all'

/** Every {@link Acks} there is. */
export const ACKS: readonly Acks[] = [0, 1, 'all']

/** How batches are taken. */
export interface ChainedAppendOptions {
  readonly acks: Acks
  /** The append fails unless it would get this offset. */
  readonly expectedOffset?: number | undefined
  /**
   * Whether it stands in line with the others of which this is true: when the disk fails one of
   * them, those behind it are not written. A producer keeps its own order instead.
   */
  readonly isInLine: boolean
  /** Whether there is a record without a key. @defaultValue false */
  readonly hasKeyless?: boolean
}

const NOT_WRITTEN: AppendResult = { baseOffset: -1, lastOffset: -1, timestamp: -1 }

/** Who is told once what has become of an append, in the middle of it: neither must throw. */
export interface Settlement {
  /** @param appendTime that all of its records are stored with; `null` where they keep their own */
  readonly resolve: (result: AppendResult, appendTime: number | null) => void
  readonly reject: (error: unknown) => void
}

/** One append on its way through the chain: what is to be written, and who waits for it. */
export abstract class PendingAppend {
  /** What it takes in memory as far as that is known: as long as it is being encoded it counts as nothing. */
  abstract readonly sizeBytes: number
  /** Whether there is a record without a key, which the topic may have come not to take. */
  abstract readonly hasKeyless: boolean
  /** `undefined` where any offset will do. */
  readonly expectedOffset: number | undefined
  readonly isInLine: boolean
  /** Whether it has been taken out of the line, also before it was encoded. */
  isReleased = false
  /** Neighbours in the line, which alone changes them. */
  previous: PendingAppend | null = null
  next: PendingAppend | null = null

  constructor(options: ChainedAppendOptions) {
    this.expectedOffset = options.expectedOffset
    this.isInLine = options.isInLine
  }

  /** Whether the bytes are there. */
  abstract readonly isEncoded: boolean

  /** Resolves once {@link PendingAppend.isEncoded}. Never rejects. */
  abstract readonly encoded: Promise<void> | null

  /** The batches to write, none where they could not be encoded. Nothing can join them any more. */
  abstract seal(): readonly Buffer[]

  /**
   * Remembers where it is, and tells those who wait for no more than the write.
   *
   * @param batches as they lie in the log; nobody looks at them after the call.
   * @returns whether there are any.
   */
  abstract written(batches: readonly RecordBatch[]): boolean

  /** Tells everybody else, once it is written. */
  abstract done(): void

  /** Tells everybody that nothing of it is in the log, or that nobody knows. */
  abstract reject(error: unknown): void
}

/** Batches of their own: all that {@link PendingAppend} can be but a {@link SharedBatch}. */
export class WholeAppend extends PendingAppend {
  readonly encoded: Promise<void> | null
  readonly hasKeyless: boolean
  readonly #acks: Acks
  readonly #settle: Settlement
  #buffers: readonly Buffer[] | null = null
  #sizeBytes = 0
  #result: AppendResult = NOT_WRITTEN
  #appendTime: number | null = null
  #isTold = false

  /** @param onEncoded called with the size when it was not known at first */
  constructor(
    batches: readonly Buffer[] | Promise<readonly Buffer[]>,
    options: ChainedAppendOptions,
    settle: Settlement,
    onEncoded: (sizeBytes: number) => void,
  ) {
    super(options)
    this.hasKeyless = options.hasKeyless === true
    this.#acks = options.acks
    this.#settle = settle
    if (batches instanceof Promise) {
      this.encoded = this.#whenEncoded(batches, onEncoded)
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

  #take(buffers: readonly Buffer[]): void {
    this.#buffers = buffers
    for (const { length } of buffers) this.#sizeBytes += length
  }

  async #whenEncoded(
    batches: Promise<readonly Buffer[]>,
    onEncoded: (sizeBytes: number) => void,
  ): Promise<void> {
    try {
      const buffers = await batches
      // It may have failed meanwhile.
      if (this.isReleased) return
      this.#take(buffers)
      onEncoded(this.#sizeBytes)
    } catch (error) {
      this.#buffers = []
      this.#settle.reject(error)
    }
  }
}

/**
 * Records of several appends in one batch. A batch for each would take 61 bytes of header, a
 * checksum and a place in the write more than the record itself; those who wait notice nothing, but
 * that all of them are in the log or none.
 */
export class SharedBatch extends PendingAppend implements JoinableBatch {
  readonly isEncoded = true
  readonly encoded = null
  /** How much of its size the chain knows of. */
  countedBytes = 0
  hasKeyless = false
  readonly #builder: RecordBatchBuilder
  /** Who waits for each record. */
  #sharers: Settle<AppendResult>[] = []
  /** Which of them wait for no more than the write; most often none. */
  readonly #early: number[] = []
  readonly #timestamps: number[] = []
  #buffers: readonly Buffer[] | null = null
  #baseOffset = -1
  #appendTime: number | null = null

  /** @param capacityBytes of the first buffer; what the batch probably comes to. */
  constructor(capacityBytes: number) {
    super({ acks: 'all', isInLine: true })
    // Only a record alone is larger than that: the memory of what follows it would be kept for nothing.
    const firstBytes = Math.min(capacityBytes, BATCH_TARGET_BYTES)
    this.#builder = new RecordBatchBuilder({ pool: batchMemory, capacityBytes: firstBytes })
  }

  get sizeBytes(): number {
    return this.#builder.recordCount === 0 ? 0 : this.#builder.sizeBytes
  }

  /** Adds a record, whose sharer is to follow. A batch that is sealed has no room. */
  add(
    limitBytes: number,
    timestamp: number,
    key: Buffer | null,
    value: Buffer | null,
    headers: readonly EncodableHeader[],
  ): boolean {
    // It may have stood in a group that is gathered anew.
    if (this.#buffers !== null) return false
    if (this.#builder.tryAppend(limitBytes, timestamp, key, value, headers) < 0) return false
    this.#timestamps.push(timestamp)
    if (key === null) this.hasKeyless = true
    return true
  }

  /** Somebody waits for the record that was added last. */
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
   * Deals the records that have a key out to a batch of their own, with those who wait for them. This one is
   * left to those who wait for the others, and is not to be written any more.
   *
   * @returns `null` where no record has a key.
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
    // Who was told before is settled, and hears nothing.
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

/** The append as a batch that others may join; `null` where it is none. */
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

/** Tells each append of a group of its batches, as they lie in the log. @returns whether anybody waited for no more. */
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
