import type { Settlement } from '../broker/pending-append.ts'
import type { ResolvedTopicConfig } from '../config.ts'
import { InvalidRecordError, RecordTooLargeError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import { RECORD_BATCH_OVERHEAD } from '../record/batch-layout.ts'
import { levelOf } from '../record/codecs/levels.ts'
import { fillLimitOf, isKeyed, storedCompressionType } from '../storage/append-record.ts'
import { Fifo } from './fifo.ts'
import { ProducerBatch } from './producer-batch.ts'
import type { ResolvedProducerOptions } from './producer-options.ts'
import type { SerializedRecord } from './producer-record.ts'
import {
  buffersOf,
  countWithin,
  makeReady,
  makeReadyNow,
  type ReadyBatch,
  type ReadyBatchOwner,
} from './ready-batch.ts'
import type { Completion } from './send-completion.ts'

/** What a producer needs of a partition. */
export interface ProducerPartition {
  readonly topic: string
  readonly index: number
  readonly isClosed: boolean
  /** Settles once, also inside of the call. @param hasKeyless whether there is a record without a key */
  appendBatches(
    batches: readonly Buffer[],
    acks: 1 | 'all',
    settle: Settlement,
    hasKeyless?: boolean,
  ): void
}

/** What a producer needs of a topic. */
export interface ProducerTopic {
  readonly name: string
  readonly config: Readonly<ResolvedTopicConfig>
  readonly partitions: readonly ProducerPartition[]
}

/** What the queues of a producer share. */
export interface QueueOwner {
  readonly clock: Clock
  readonly options: ResolvedProducerOptions
  /** Whether batches go out without waiting for more records. */
  readonly isForced: boolean
  batchCreated(batch: ProducerBatch, queue: PartitionQueue): void
  /** The records in memory have grown. */
  memoryTaken(sizeBytes: number): void
  /** Has {@link PartitionQueue.drain} called at the end of the tick. */
  markReady(queue: PartitionQueue): void
  /** @param timestamp what the append was stamped with, `null` where records keep their own */
  complete(batch: ProducerBatch, baseOffset: number, timestamp: number | null): void
  fail(batch: ProducerBatch, error: unknown): void
  /** `parts` have taken the place of `batch`, whose records they hold. */
  replaced(batch: ProducerBatch, parts: readonly ProducerBatch[], queue: PartitionQueue): void
  /** Batches were not written, or nobody knows: so nothing that was sent behind them may be. */
  failGroup(queue: PartitionQueue, group: readonly ProducerBatch[], error: unknown): void
  /** A group has settled, and the queue may write the next one. */
  groupSettled(queue: PartitionQueue): void
}

/** Batches that wait are written together up to this size, unless a single one is larger. */
const MAX_GROUP_BYTES = 1024 * 1024

/** Smallest first buffer of a batch: sends that are awaited one by one need no more. */
const MIN_CAPACITY_BYTES = 256

const NONE: readonly ReadyBatch[] = []

/**
 * The batches of one partition on their way to it. One group is in flight at a time, so that the
 * order is kept whatever fails; meanwhile the next one gathers. Calls may overlap with a write.
 */
export class PartitionQueue implements ReadyBatchOwner {
  readonly topic: ProducerTopic
  readonly partition: ProducerPartition
  /** Whether {@link QueueOwner.markReady} has been called since the last drain. */
  isMarked = false
  readonly #owner: QueueOwner
  readonly #batches = new Fifo<ProducerBatch>()
  /** The last of `#batches` while it takes records. */
  #open: ProducerBatch | null = null
  #lingerTimer: Timer | null = null
  #hasLingered = false
  #isInFlight = false
  readonly #load: number[]
  /** What the last batch came to: the best guess for the next. */
  #lastSizeBytes = 0

  /** @param load counts, at the partition's number, the batches that have not settled */
  constructor(
    owner: QueueOwner,
    topic: ProducerTopic,
    partition: ProducerPartition,
    load: number[],
  ) {
    this.#owner = owner
    this.#load = load
    this.topic = topic
    this.partition = partition
  }

  /**
   * Puts a record into the open batch, or into a new one. There is memory for it.
   *
   * @param boundBytes what the record takes at most, without a batch's header
   * @returns the batch that it is in
   * @throws {@link UnsupportedCompressionTypeError} when the topic asks for a codec that is missing
   */
  append(
    record: SerializedRecord,
    boundBytes: number,
    completion: Completion | null,
  ): ProducerBatch {
    const open = this.#open
    const isNew = open === null || !open.hasRoomFor(boundBytes, record.headers.length)
    const batch = isNew ? this.#newBatch(boundBytes) : open
    const sizeBefore = batch.sizeBytes
    batch.append(record, completion, record.slot)
    if (isNew) this.#add(batch)
    this.#owner.memoryTaken(batch.sizeBytes - sizeBefore)
    if (batch.isFull) this.#seal()
    const isReady = this.#open === null || this.#batches.length > 1 || this.#mayGo()
    if (isReady && !this.#isInFlight) this.#owner.markReady(this)
    return batch
  }

  /** Whether nothing waits to be written. */
  get isEmpty(): boolean {
    return this.#batches.length === 0
  }

  /** Writes what is ready, unless a group is in flight: what gathers meanwhile follows it. */
  drain(): void {
    if (this.#isInFlight) return
    const group = this.#takeGroup()
    if (group.length > 0) this.#send(group)
  }

  /** Forgets a batch that is about to settle, wherever it is. */
  forget(batch: ProducerBatch): void {
    this.#addLoad(-1)
    if (batch === this.#open) this.#seal()
    // Batches are given up in the order of their beginning, so it is the first if it still waits.
    if (this.#batches.peek() === batch) this.#batches.shift()
  }

  /** Gives up a batch. */
  fail(batch: ProducerBatch, error: unknown): void {
    this.#owner.fail(batch, error)
  }

  /** Takes note of the parts of a batch that was too large. They are on their way, like it. */
  replaced(batch: ProducerBatch, parts: readonly ProducerBatch[]): void {
    this.#addLoad(parts.length - 1)
    this.#owner.replaced(batch, parts, this)
  }

  #addLoad(count: number): void {
    const { index } = this.partition
    this.#load[index] = (this.#load[index] ?? 0) + count
  }

  #newBatch(boundBytes: number): ProducerBatch {
    const { options, clock } = this.#owner
    const { config } = this.topic
    const compressionType = storedCompressionType(config, options.compressionType)
    const levels = config.compressionType === 'producer' ? options : config
    const limitBytes = Math.min(options.batchSize, fillLimitOf(config, compressionType))
    const guessBytes = Math.min(Math.max(this.#lastSizeBytes, MIN_CAPACITY_BYTES), limitBytes)
    return new ProducerBatch({
      compressionType,
      compressionLevel: levelOf(compressionType, levels),
      capacityBytes: Math.max(guessBytes, RECORD_BATCH_OVERHEAD + boundBytes),
      limitBytes,
      limitRecords: options.batchRecords,
      createdMs: clock.monotonic(),
    })
  }

  #add(batch: ProducerBatch): void {
    this.#seal()
    this.#batches.push(batch)
    this.#open = batch
    this.#addLoad(1)
    this.#owner.batchCreated(batch, this)
    const { clock, options } = this.#owner
    if (options.lingerMs === 0) return
    this.#lingerTimer = clock.startTimer(() => {
      this.#hasLingered = true
      this.#owner.markReady(this)
    }, options.lingerMs)
  }

  /** No further record goes into the batch that was open. */
  #seal(): void {
    if (this.#open === null) return
    this.#lastSizeBytes = this.#open.sizeBytes
    this.#open = null
    this.#lingerTimer?.cancel()
    this.#lingerTimer = null
    this.#hasLingered = false
  }

  /** Whether the open batch may go although it is not full. */
  #mayGo(): boolean {
    return this.#owner.options.lingerMs === 0 || this.#hasLingered || this.#owner.isForced
  }

  #takeGroup(): ProducerBatch[] {
    const first = this.#takeNext(Infinity)
    if (first === null) return []
    // Most are alone. A list that is empty at first gets room for many with the first that is put into it.
    const group = [first]
    const { maxBytes } = this.topic.config
    const groupBytes = maxBytes < 0 ? MAX_GROUP_BYTES : Math.min(MAX_GROUP_BYTES, maxBytes)
    let roomBytes = groupBytes - first.sizeBytes
    for (;;) {
      const batch = this.#takeNext(roomBytes)
      if (batch === null) return group
      roomBytes -= batch.sizeBytes
      group.push(batch)
    }
  }

  /** Takes the first that waits, if it may go and is no larger than that. */
  #takeNext(roomBytes: number): ProducerBatch | null {
    const batch = this.#batches.peek()
    if (batch === undefined || batch.sizeBytes > roomBytes) return null
    if (batch === this.#open) {
      if (!this.#mayGo()) return null
      this.#seal()
    }
    this.#batches.shift()
    return batch
  }

  /** Whatever happens is the outcome of the batches. */
  #send(group: readonly ProducerBatch[]): void {
    this.#isInFlight = true
    for (const { compressionType } of group) {
      if (compressionType === 'none') continue
      void this.#sendCompressed(group)
      return
    }
    // Without compression the write starts in the same tick.
    this.#writeReady(makeReadyNow(this, group))
  }

  async #sendCompressed(group: readonly ProducerBatch[]): Promise<void> {
    const ready = await Promise.all(group.map((batch) => makeReady(this, batch)))
    this.#writeReady(ready.flat())
  }

  /**
   * Writes what the topic takes at a time, and the rest behind it. That is all of it but where the topic
   * has a cap: a group is gathered by what its batches take in memory, and what cannot be compressed grows.
   * What the topic does not take fails in its turn, and not what is written with it.
   */
  #writeReady(ready: readonly ReadyBatch[]): void {
    const first = this.#failRefused(ready)
    if (first === ready.length) {
      this.#settled()
      return
    }
    if (ready.length === 1) {
      this.#write(ready, NONE)
      return
    }
    // Some may have been given up since.
    const unsettled = ready.filter(({ batch }, slot) => slot >= first && !batch.isSettled)
    const count = this.#fitting(unsettled)
    this.#write(unsettled.slice(0, count), unsettled.slice(count))
  }

  #write(group: readonly ReadyBatch[], rest: readonly ReadyBatch[]): void {
    let hasKeyless = false
    for (const { batch } of group) {
      batch.markInFlight()
      if (batch.keylessCount > 0) hasKeyless = true
    }
    const { acks } = this.#owner.options
    const settle: Settlement = {
      resolve: ({ baseOffset }, appendTime) => {
        this.#complete(group, baseOffset, appendTime)
        this.#writeReady(rest)
      },
      reject: (error) => {
        // The topic may have been altered while the group stood in line; then it is refused, and not written.
        const isTooMuch =
          error instanceof RecordTooLargeError && this.#fitting(group) < group.length
        const isKeyless = error instanceof InvalidRecordError && isKeyed(this.topic.config)
        const batches = group.map(({ batch }) => batch)
        if (!isTooMuch && !(isKeyless && hasKeyless)) {
          this.#owner.failGroup(this, batches, error)
          this.#writeReady(rest)
          return
        }
        for (const batch of batches) batch.markRefused()
        const unsettled = [...group, ...rest]
        if (isTooMuch) this.#writeReady(unsettled)
        else void this.#writeAnew(unsettled)
      },
    }
    // Nobody waits for a send with acks 0, but its memory is in use until it is written.
    this.partition.appendBatches(buffersOf(group), acks === 0 ? 1 : acks, settle, hasKeyless)
  }

  /** Writes what the topic takes, as it is by now, of batches that were ready before. */
  async #writeAnew(ready: readonly ReadyBatch[]): Promise<void> {
    const parts = ready.map(({ batch, buffer }) => makeReady(this, batch, buffer))
    this.#writeReady((await Promise.all(parts)).flat())
  }

  /** How many of the first the topic takes as one append. */
  #fitting(ready: readonly ReadyBatch[]): number {
    return countWithin(ready, this.topic.config.maxBytes)
  }

  /** Fails those in front that the topic does not take. @returns how many of the first have settled */
  #failRefused(ready: readonly ReadyBatch[]): number {
    for (let slot = 0; slot < ready.length; slot += 1) {
      const { batch, refusal } = ready[slot] as ReadyBatch
      if (refusal !== null) this.#owner.fail(batch, refusal)
      else if (!batch.isSettled) return slot
    }
    return ready.length
  }

  #settled(): void {
    this.#isInFlight = false
    this.#owner.groupSettled(this)
  }

  #complete(group: readonly ReadyBatch[], baseOffset: number, appendTime: number | null): void {
    let offset = baseOffset
    for (const { batch } of group) {
      this.#owner.complete(batch, offset, appendTime)
      offset += batch.recordCount
    }
  }
}
