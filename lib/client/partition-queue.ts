import type { Settlement, WholeAppend } from '../broker/pending-append.ts'
import type { ResolvedTopicConfig } from '../config.ts'
import { InvalidRecordError, RecordTooLargeError } from '../errors.ts'
import type { Timer } from '../platform/clock.ts'
import { RECORD_BATCH_OVERHEAD } from '../record/batch-layout.ts'
import { levelOf } from '../record/codecs/levels.ts'
import { fillLimitOf, isKeyed, storedCompressionType } from '../storage/append-record.ts'
import { Fifo } from '../storage/fifo.ts'
import { ProducerBatch } from './producer-batch.ts'
import type { SerializedRecord } from './producer-record.ts'
import type { QueueOwner } from './queue-owner.ts'
import {
  buffersOf,
  countWithin,
  makeReady,
  makeReadyNow,
  type ReadyBatch,
  type ReadyBatchOwner,
} from './ready-batch.ts'
import type { Completion } from './send-completion.ts'

/** What a producer needs from a partition. */
export interface ProducerPartition {
  readonly topic: string
  readonly index: number
  readonly isClosed: boolean
  /**
   * Settles once.
   *
   * @param hasKeyless whether any record has no key
   * @returns the append, to give it up while it waits; `null` when it has settled within the call
   */
  appendBatches(
    batches: readonly Buffer[],
    acks: 1 | 'all',
    settle: Settlement,
    hasKeyless?: boolean,
  ): Pick<WholeAppend, 'giveUp'> | null
}

/** What a producer needs from a topic. */
export interface ProducerTopic {
  readonly name: string
  readonly config: Readonly<ResolvedTopicConfig>
  readonly partitions: readonly ProducerPartition[]
}

/** Waiting batches are written together up to this size, unless a single one is larger. */
const MAX_GROUP_BYTES = 1024 * 1024

/** Minimum initial buffer of a batch: sends that are awaited one by one need no more. */
const MIN_CAPACITY_BYTES = 256

const NONE: readonly ReadyBatch[] = []

/** Rejects an append that its queue has taken back. No caller sees it. */
const TAKEN_BACK = new Error('the append was taken back')

/**
 * The unsettled batches of one partition. One group is in flight at a time, so that the order is
 * kept whatever fails; meanwhile the next group collects records. Calls may overlap with a write.
 */
export class PartitionQueue implements ReadyBatchOwner {
  readonly topic: ProducerTopic
  readonly partition: ProducerPartition
  /** Whether {@link QueueOwner.markReady} was called since the last drain. */
  isMarked = false
  readonly #owner: QueueOwner
  readonly #batches = new Fifo<ProducerBatch>()
  /** The last of `#batches` while it accepts records. */
  #open: ProducerBatch | null = null
  #lingerTimer: Timer | null = null
  #hasLingered = false
  #isInFlight = false
  /** The append of the group in flight. */
  #append: Pick<WholeAppend, 'giveUp'> | null = null
  readonly #load: number[]
  /** Size of the last batch: the best guess for the next. */
  #lastSizeBytes = 0

  /** @param load number of unsettled batches, at the partition's index */
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
   * Adds a record to the open batch, or to a new one. The caller has checked that there is memory.
   *
   * @param boundBytes upper bound of the record's size, without a batch header
   * @returns the batch that contains it
   * @throws {@link UnsupportedCompressionTypeError} when the codec that the topic requires is
   * missing
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

  /** Whether no batch waits to be written. */
  get isEmpty(): boolean {
    return this.#batches.length === 0
  }

  /** Writes what is ready, unless a group is in flight: batches collected meanwhile follow it. */
  drain(): void {
    if (this.#isInFlight) return
    const group = this.#takeGroup()
    if (group.length > 0) this.#send(group)
  }

  /** Removes a batch that is about to settle, whatever its state. */
  forget(batch: ProducerBatch): void {
    this.#addLoad(-1)
    if (batch === this.#open) this.#seal()
    // Batches expire in the order of their creation, so it is the first one if it still waits.
    if (this.#batches.peek() === batch) this.#batches.shift()
  }

  /**
   * Takes the group in flight back if its append still waits. None of its batches is in flight
   * then; those that do not settle in this turn are written again, behind other appends.
   */
  takeBack(): void {
    this.#append?.giveUp(TAKEN_BACK)
  }

  /** Fails a batch. */
  fail(batch: ProducerBatch, error: unknown): void {
    this.#owner.fail(batch, error)
  }

  /** Counts the parts of a batch that was too large. Like the batch, they are being sent. */
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

  /** Closes the open batch for further records. */
  #seal(): void {
    if (this.#open === null) return
    this.#lastSizeBytes = this.#open.sizeBytes
    this.#open = null
    this.#lingerTimer?.cancel()
    this.#lingerTimer = null
    this.#hasLingered = false
  }

  /** Whether the open batch may be sent although it is not full. */
  #mayGo(): boolean {
    return this.#owner.options.lingerMs === 0 || this.#hasLingered || this.#owner.isForced
  }

  #takeGroup(): ProducerBatch[] {
    const first = this.#takeNext(Infinity)
    if (first === null) return []
    // Most groups have one batch. The first push to an empty array would allocate room for many.
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

  /** Takes the first waiting batch if it may be sent and is at most this large. */
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

  /** Sends a group; every error becomes the outcome of its batches. */
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
   * Writes as much as the topic accepts in one append, then the rest. Only a topic with a cap
   * accepts less than the group: groups are collected by the size of batches in memory, and
   * incompressible data grows. Refused batches fail in their turn, without failing those written
   * with them.
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
        this.#append = null
        this.#complete(group, baseOffset, appendTime)
        this.#writeReady(rest)
      },
      reject: (error) => {
        this.#append = null
        // The topic may have been altered while the group waited in line. It is then refused, and
        // nothing was written.
        const isTooMuch =
          error instanceof RecordTooLargeError && this.#fitting(group) < group.length
        const isKeyless = error instanceof InvalidRecordError && isKeyed(this.topic.config)
        const batches = group.map(({ batch }) => batch)
        if (error !== TAKEN_BACK && !isTooMuch && !(isKeyless && hasKeyless)) {
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
    // No caller waits for a send with acks 0, but its memory is in use until it is written.
    const buffers = buffersOf(group)
    const append = this.partition.appendBatches(buffers, acks === 0 ? 1 : acks, settle, hasKeyless)
    // Without one, the rest may be in flight already.
    if (append !== null) this.#append = append
  }

  /** Prepares built batches again for the topic's current configuration, and writes them. */
  async #writeAnew(ready: readonly ReadyBatch[]): Promise<void> {
    const parts = ready.map(({ batch, buffer }) => makeReady(this, batch, buffer))
    this.#writeReady((await Promise.all(parts)).flat())
  }

  /** How many batches, from the first on, the topic accepts as one append. */
  #fitting(ready: readonly ReadyBatch[]): number {
    return countWithin(ready, this.topic.config.maxBytes)
  }

  /** Fails refused batches at the front. @returns how many batches at the front have settled */
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
