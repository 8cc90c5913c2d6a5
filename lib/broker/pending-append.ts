import type { ResolvedTopicConfig } from '../config.ts'
import { RecordBatchBuilder } from '../record/record-batch-builder.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import {
  BATCH_TARGET_BYTES,
  joinBatch,
  type AppendRecord,
  type AppendResult,
} from '../storage/append-record.ts'

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
}

type Resolve = (result: AppendResult) => void
type Reject = (error: unknown) => void

/** Somebody who waits for one record of several that share a batch. */
interface Sharer {
  readonly acks: Acks
  readonly resolve: Resolve
  readonly reject: Reject
}

/** One append on its way through the chain: what is to be written, and who waits for it. */
export abstract class PendingAppend {
  /** What it takes in memory as far as that is known: as long as it is being encoded it counts as nothing. */
  abstract readonly sizeBytes: number
  /** `undefined` where any offset will do. */
  readonly expectedOffset: number | undefined
  readonly isInLine: boolean
  /** Whether it has been taken out of the line, also before it was encoded. */
  isReleased = false

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

  /** Tells those who wait for no more than the write. @param batches as they lie in the log */
  abstract written(batches: readonly RecordBatch[]): void

  /** Tells everybody. @param batches as they lie in the log */
  abstract done(batches: readonly RecordBatch[]): void

  /** Tells everybody that nothing of it is in the log, or that nobody knows. */
  abstract reject(error: unknown): void
}

/** Batches of their own: all that {@link PendingAppend} can be but a {@link SharedBatch}. */
export class WholeAppend extends PendingAppend {
  readonly encoded: Promise<void> | null
  readonly #acks: Acks
  readonly #resolve: Resolve
  readonly #reject: Reject
  #buffers: readonly Buffer[] | null = null
  #sizeBytes = 0

  /** @param onEncoded called with the size when it was not known at first */
  constructor(
    batches: readonly Buffer[] | Promise<readonly Buffer[]>,
    options: ChainedAppendOptions,
    settle: { readonly resolve: Resolve; readonly reject: Reject },
    onEncoded: (sizeBytes: number) => void,
  ) {
    super(options)
    this.#acks = options.acks
    this.#resolve = settle.resolve
    this.#reject = settle.reject
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

  written(batches: readonly RecordBatch[]): void {
    if (this.#acks !== 'all') this.done(batches)
  }

  done(batches: readonly RecordBatch[]): void {
    let timestamp = -1
    // There may be more batches than a call takes arguments.
    for (const { maxTimestamp } of batches) timestamp = Math.max(timestamp, maxTimestamp)
    this.#resolve({
      baseOffset: batches[0]?.baseOffset ?? -1,
      lastOffset: batches.at(-1)?.lastOffset ?? -1,
      timestamp,
    })
  }

  reject(error: unknown): void {
    this.#reject(error)
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
      this.#reject(error)
    }
  }
}

/**
 * Records of several appends in one batch. A batch for each would take 61 bytes of header, a
 * checksum and a place in the write more than the record itself; those who wait notice nothing, but
 * that all of them are in the log or none.
 */
export class SharedBatch extends PendingAppend {
  readonly isEncoded = true
  readonly encoded = null
  /** How much of its size the chain knows of. */
  countedBytes = 0
  readonly #builder: RecordBatchBuilder
  readonly #sharers: Sharer[] = []
  readonly #timestamps: number[] = []
  #buffers: readonly Buffer[] | null = null

  /** @param capacityBytes of the first buffer; what the batch probably comes to. */
  constructor(capacityBytes: number) {
    super({ acks: 'all', isInLine: true })
    // Only a record alone is larger than that: the memory of what follows it would be kept for nothing.
    this.#builder = new RecordBatchBuilder({
      capacityBytes: Math.min(capacityBytes, BATCH_TARGET_BYTES),
    })
  }

  get sizeBytes(): number {
    return this.#builder.recordCount === 0 ? 0 : this.#builder.sizeBytes
  }

  /**
   * Adds a record, whose sharer is to follow. The batch must not be sealed.
   *
   * @returns false, and nothing is done, when there is no room. The first record always fits.
   * @throws as {@link joinBatch} does.
   */
  add(record: AppendRecord, config: Readonly<ResolvedTopicConfig>, now: number): boolean {
    const timestamp = joinBatch(this.#builder, record, config, now)
    if (timestamp < 0) return false
    this.#timestamps.push(timestamp)
    return true
  }

  /** Somebody waits for the record that was added last. */
  share(sharer: Sharer): void {
    this.#sharers.push(sharer)
  }

  seal(): readonly Buffer[] {
    this.#buffers ??= [this.#builder.buildUncompressed()]
    return this.#buffers
  }

  written(batches: readonly RecordBatch[]): void {
    this.#tell(batches, (acks) => acks !== 'all')
  }

  done(batches: readonly RecordBatch[]): void {
    this.#tell(batches, () => true)
  }

  reject(error: unknown): void {
    for (const sharer of this.#sharers) sharer.reject(error)
  }

  #tell([batch]: readonly RecordBatch[], isFor: (acks: Acks) => boolean): void {
    if (batch === undefined) return
    const { baseOffset } = batch
    const appendTime = batch.timestampType === 'LogAppendTime' ? batch.maxTimestamp : null
    for (const [slot, { acks, resolve }] of this.#sharers.entries()) {
      if (!isFor(acks)) continue
      const offset = baseOffset + slot
      const timestamp = appendTime ?? this.#timestamps[slot] ?? -1
      resolve({ baseOffset: offset, lastOffset: offset, timestamp })
    }
  }
}
