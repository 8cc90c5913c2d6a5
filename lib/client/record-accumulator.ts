import { behindFailed } from '../broker/behind-failed.ts'
import { EndOfTick } from '../broker/end-of-tick.ts'
import { isError } from '../checks.ts'
import { LogFullError, RecordTooLargeError, StorageError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { RECORD_BATCH_OVERHEAD } from '../record/batch-layout.ts'
import { sizeOfRecord, upperBoundOfRecord } from '../record/record-batch-builder.ts'
import {
  checkBatchSize,
  checkKeyless,
  largestBatchBytes,
  storedCompressionType,
} from '../storage/append-record.ts'
import { checkTimestampLimits } from '../storage/timestamp-limits.ts'
import { BufferPool } from './buffer-pool.ts'
import { FlushIntervals } from './flush-intervals.ts'
import type { PartitionQueue } from './partition-queue.ts'
import type { ProducerBatch } from './producer-batch.ts'
import type { ResolvedProducerOptions } from './producer-options.ts'
import type { SerializedRecord } from './producer-record.ts'
import type { QueueOwner } from './queue-owner.ts'
import { ReadyQueues } from './ready-queues.ts'
import { tellPlace, type Completion, type SentTo } from './send-completion.ts'
import { closedBeforeAcknowledged, notAcknowledged, producerClosed } from './send-errors.ts'
import { WaitingSends, type WaitingSend } from './waiting-send.ts'

/** The offset in the metadata of a send with acks 0. */
const NO_OFFSET = -1

/**
 * All accepted records of a producer that have not settled: in batches, or waiting for memory or
 * for their topic. Decides when batches are sent, and fails those that take too long. Calls may
 * overlap with writes, but not with each other.
 */
export class RecordAccumulator implements QueueOwner {
  readonly clock: Clock
  readonly options: ResolvedProducerOptions
  readonly #pool: BufferPool<WaitingSend>
  readonly #waiting: WaitingSends
  /** Unsettled batches in the order of their creation, which is that of their deadlines. */
  readonly #batches: Map<ProducerBatch, PartitionQueue> = new Map()
  readonly #flushes = new FlushIntervals()
  #deliveryTimer: Timer | null = null
  #flushCount = 0
  #isClosing = false
  readonly #ready = new ReadyQueues()
  readonly #endOfTick: EndOfTick = new EndOfTick(() => {
    this.#tellBuffered()
  })
  /** With acks 0: sends to be notified at the end of the tick that their record is in memory. */
  #buffered: { to: SentTo; timestamp: number; slot: number; completion: Completion }[] = []

  constructor(options: ResolvedProducerOptions, clock: Clock) {
    this.options = options
    this.clock = clock
    this.#pool = new BufferPool(options.bufferMemory)
    this.#waiting = new WaitingSends(clock, options.maxBlockMs, this.#flushes, () => {
      this.#admitWaiting()
    })
  }

  /** Bytes of encoded records that have not settled. */
  get usedBytes(): number {
    return this.#pool.usedBytes
  }

  /** Whether batches are sent at once, because a caller waits for them or for their memory. */
  get isForced(): boolean {
    return this.#isClosing || this.#flushCount > 0 || this.#pool.hasWaiters
  }

  /**
   * Accepts a record, now or when there is memory for it. The result is passed to `completion`.
   *
   * @param waiting the send, if it has waited for its topic
   * @throws {@link RecordTooLargeError}, {@link InvalidRecordError} or
   * {@link InvalidTimestampError} when the topic refuses it
   * @throws {@link BufferExhaustedError} when there is no memory and `maxBlockMs` is 0
   */
  append(
    queue: PartitionQueue,
    record: SerializedRecord,
    completion: Completion,
    waiting: WaitingSend | null = null,
  ): void {
    const boundBytes = upperBoundOfRecord(record.key, record.value, record.headers)
    this.#check(queue, record, boundBytes)
    if (this.#pool.hasRoomFor(RECORD_BATCH_OVERHEAD + boundBytes)) {
      const batch = this.#put(queue, record, boundBytes, completion)
      if (waiting !== null) this.#waiting.enter(waiting, batch)
      return
    }
    const wasForced = this.isForced
    const send = waiting ?? this.#waiting.add(record, completion, queue)
    send.queue = queue
    send.sizeBytes = RECORD_BATCH_OVERHEAD + boundBytes
    this.#pool.wait(send)
    if (!wasForced) this.#markAll()
  }

  /** Makes a record wait for its topic. */
  waitForTopic(record: SerializedRecord, completion: Completion): WaitingSend {
    return this.#waiting.add(record, completion, null)
  }

  /** Fails a waiting record. */
  failWaiting(send: WaitingSend, error: Error): void {
    this.#waiting.fail(send, error)
  }

  /** Resolves when all records accepted before the call have settled; later ones do not count. */
  async flush(): Promise<void> {
    if (this.#batches.size === 0 && this.#waiting.isEmpty) await promptIo.turnIfDue('write')
    else await this.#settled()
    // Records sent with acks 0 may be in memory, and their senders wait for a turn to be notified.
    this.#tellAll()
  }

  async #settled(): Promise<void> {
    // If batches were already being sent at once, none of them lingers.
    if (!this.isForced) this.#markAll()
    this.#flushCount += 1
    await this.#flushes.flush()
    this.#flushCount -= 1
  }

  /** Flushes for good. The caller accepts no more records. */
  async close(): Promise<void> {
    const wasForced = this.isForced
    this.#isClosing = true
    if (!wasForced) this.#markAll()
    await this.flush()
    this.#deliveryTimer?.cancel()
    this.#deliveryTimer = null
  }

  /** Fails everything that has not settled. */
  abort(): void {
    // One error for all: capturing the stacks of many thousands would block the process.
    const unknown = closedBeforeAcknowledged()
    const notWritten = producerClosed()
    for (const [batch, queue] of [...this.#batches]) {
      if (batch.isInFlight) queue.takeBack()
      this.fail(batch, batch.isInFlight ? unknown : notWritten)
    }
    // Waiting records were sent after all records that are in batches of their partition.
    for (const send of this.#waiting.all) this.failWaiting(send, notWritten)
  }

  batchCreated(batch: ProducerBatch, queue: PartitionQueue): void {
    this.#batches.set(batch, queue)
    this.#flushes.take(batch)
    this.#deliveryTimer ??= this.#startDeliveryTimer(this.options.deliveryTimeoutMs)
  }

  memoryTaken(sizeBytes: number): void {
    this.#pool.take(sizeBytes)
  }

  markReady(queue: PartitionQueue): void {
    this.#ready.mark(queue)
  }

  complete(batch: ProducerBatch, baseOffset: number, logAppendTime: number | null): void {
    const queue = this.#forget(batch)
    if (queue === null) return
    batch.complete(queue.partition, baseOffset, logAppendTime)
    this.#flushes.settle(batch)
  }

  fail(batch: ProducerBatch, error: unknown): void {
    this.#failAll([{ batch, error }])
  }

  replaced(batch: ProducerBatch, parts: readonly ProducerBatch[], queue: PartitionQueue): void {
    // The parts keep the batch's creation time, so their deadlines are in order at its place. Their
    // extra headers exceed the available memory; that is little, and is released with them.
    const all = [...this.#batches]
    this.#batches.clear()
    for (const [each, itsQueue] of all) {
      if (each !== batch) this.#batches.set(each, itsQueue)
      else for (const part of parts) this.#batches.set(part, queue)
    }
    for (const part of parts) this.#flushes.passOn(batch, part)
    this.#flushes.settle(batch)
    this.#pool.release(batch.sizeBytes)
    for (const part of parts) this.#pool.take(part.sizeBytes)
  }

  failGroup(queue: PartitionQueue, group: readonly ProducerBatch[], error: unknown): void {
    const isOfDisk = error instanceof StorageError || error instanceof LogFullError
    const reason = isOfDisk ? behindFailed(error) : null
    // Collected before any callback is called: records sent by a callback come after the failure.
    const isBehind = (batch: ProducerBatch): boolean =>
      this.#batches.get(batch) === queue && !batch.isInFlight
    const behind = reason === null ? [] : [...this.#batches.keys()].filter(isBehind)
    const sends = reason === null ? [] : this.#waiting.all.filter((send) => send.queue === queue)
    this.#failAll([
      ...group.map((batch) => ({ batch, error })),
      ...behind.map((batch) => ({ batch, error: reason })),
    ])
    if (reason !== null) for (const send of sends) this.failWaiting(send, reason)
  }

  groupSettled(queue: PartitionQueue): void {
    this.#admitWaiting()
    // A caller that awaited these records continues in this tick: what it sends now joins the next
    // group.
    if (!queue.isEmpty) this.markReady(queue)
  }

  #put(
    queue: PartitionQueue,
    record: SerializedRecord,
    boundBytes: number,
    completion: Completion,
  ): ProducerBatch {
    const isAwaited = this.options.acks !== 0
    const batch = queue.append(record, boundBytes, isAwaited ? completion : null)
    this.#ready.note()
    if (!isAwaited) {
      this.#endOfTick.note()
      const { timestamp, slot } = record
      this.#buffered.push({ to: queue.partition, timestamp, slot, completion })
      this.#endOfTick.schedule()
    }
    return batch
  }

  #check(queue: PartitionQueue, record: SerializedRecord, boundBytes: number): void {
    const { config } = queue.topic
    if (record.key === null) checkKeyless(config, record.topic)
    if (record.bringsTimestamp) checkTimestampLimits(record.timestamp, config, this.clock)
    const aloneBytes = RECORD_BATCH_OVERHEAD + boundBytes
    const limitBytes = Math.min(largestBatchBytes(config), this.#pool.totalBytes)
    if (aloneBytes <= limitBytes) return
    const stored = storedCompressionType(config, this.options.compressionType)
    // The bound is a few bytes above the record's actual size.
    const exactBytes =
      RECORD_BATCH_OVERHEAD + sizeOfRecord(0, 0, record.key, record.value, record.headers)
    // The topic limits the batch as stored: its compressed size is not known yet.
    if (stored === 'none') checkBatchSize(exactBytes, config, record.topic)
    if (exactBytes <= this.#pool.totalBytes) return
    throw new RecordTooLargeError(exactBytes, this.#pool.totalBytes, 'bufferMemory')
  }

  /** Fails batches that have not settled. All of them are removed before any caller is notified. */
  #failAll(failures: readonly { readonly batch: ProducerBatch; readonly error: unknown }[]): void {
    const unsettled = failures.filter(({ batch }) => this.#forget(batch) !== null)
    for (const { batch, error } of unsettled) {
      batch.fail(isError(error) ? error : new Error('the append failed', { cause: error }))
      this.#flushes.settle(batch)
    }
  }

  /**
   * Removes a batch that is about to settle. This comes first: a callback may send again, and that
   * record must not join this batch, nor another one that settles with it.
   *
   * @returns `null` if it has already settled
   */
  #forget(batch: ProducerBatch): PartitionQueue | null {
    const queue = this.#batches.get(batch)
    if (queue === undefined) return null
    this.#batches.delete(batch)
    this.#pool.release(batch.sizeBytes)
    queue.forget(batch)
    return queue
  }

  #admitWaiting(): void {
    this.#pool.admit((send) => {
      const { queue, record, completion } = send
      if (queue === null) return
      try {
        const boundBytes = upperBoundOfRecord(record.key, record.value, record.headers)
        // The topic may have been altered since the record began to wait.
        this.#check(queue, record, boundBytes)
        this.#waiting.enter(send, this.#put(queue, record, boundBytes, completion))
      } catch (error) {
        this.failWaiting(send, error as Error)
      }
    })
  }

  #markAll(): void {
    for (const queue of this.#batches.values()) this.markReady(queue)
  }

  #tellBuffered(): void {
    // A caller that awaits each send would otherwise fill the memory before the first write.
    const turn = promptIo.turnIfDue('write')
    if (turn === null) this.#tellAll()
    else
      void turn.then(() => {
        this.#tellAll()
      })
  }

  #tellAll(): void {
    const buffered = this.#buffered
    this.#buffered = []
    for (const { to, timestamp, slot, completion } of buffered) {
      tellPlace(completion, to, NO_OFFSET, timestamp, slot)
    }
  }

  /** In the background: while a write is in progress, that keeps the process alive. */
  #startDeliveryTimer(delayMs: number): Timer {
    const expire = (): void => {
      this.#deliveryTimer = null
      this.#expire()
    }
    return this.clock.startTimer(expire, delayMs, { background: true })
  }

  #expire(): void {
    const { deliveryTimeoutMs } = this.options
    const nowMs = this.clock.monotonic()
    const expired: { batch: ProducerBatch; error: Error }[] = []
    for (const [batch, queue] of this.#batches) {
      const remainingMs = batch.createdMs + deliveryTimeoutMs - nowMs
      if (remainingMs > 0) {
        // Before any callback: a timer started for a callback's send would be too late for this
        // batch.
        this.#deliveryTimer = this.#startDeliveryTimer(Math.ceil(remainingMs))
        break
      }
      if (batch.isInFlight) queue.takeBack()
      expired.push({ batch, error: notAcknowledged(batch, queue.partition, deliveryTimeoutMs) })
    }
    this.#failAll(expired)
    this.#admitWaiting()
  }
}
