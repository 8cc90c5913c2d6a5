import { LinkedLine, type Linked } from '../broker/linked-line.ts'
import { BufferExhaustedError, TimeoutError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { PoolWaiter } from './buffer-pool.ts'
import type { Flushable, FlushInterval, FlushIntervals } from './flush-intervals.ts'
import type { PartitionQueue } from './partition-queue.ts'
import type { ProducerBatch } from './producer-batch.ts'
import type { SerializedRecord } from './producer-record.ts'
import { tellFailure, type Completion } from './send-completion.ts'

/** A record that cannot be added to a batch yet: its topic is being created, or memory is full. */
export class WaitingSend implements PoolWaiter, Flushable, Linked<WaitingSend> {
  readonly record: SerializedRecord
  readonly completion: Completion
  readonly deadlineMs: number
  /** The queue that the record joins once there is memory; `null` while it waits for its topic. */
  queue: PartitionQueue | null = null
  sizeBytes = 0
  interval: FlushInterval | null = null
  previous: WaitingSend | null = null
  next: WaitingSend | null = null
  #isWaiting = true

  constructor(record: SerializedRecord, completion: Completion, deadlineMs: number) {
    this.record = record
    this.completion = completion
    this.deadlineMs = deadlineMs
  }

  /** Whether it is neither in a batch nor given up. */
  get isWaiting(): boolean {
    return this.#isWaiting
  }

  /** Called when the record is in a batch. */
  enter(): void {
    this.#isWaiting = false
  }

  /** Called when the record will not be sent. Does nothing if it no longer waits. */
  fail(error: Error): void {
    if (!this.#isWaiting) return
    this.#isWaiting = false
    tellFailure(this.completion, error, this.record.slot)
  }
}

/**
 * All waiting sends of a producer, in the order of their calls. Fails those that have waited for
 * `maxBlockMs`. Calls must not overlap.
 */
export class WaitingSends {
  readonly #clock: Clock
  readonly #maxBlockMs: number
  readonly #flushes: FlushIntervals
  readonly #onExpired: () => void
  readonly #line = new LinkedLine<WaitingSend>()
  #timer: Timer | null = null

  /**
   * @param flushes the flushes that wait for these sends
   * @param onExpired called after some have expired
   */
  constructor(clock: Clock, maxBlockMs: number, flushes: FlushIntervals, onExpired: () => void) {
    this.#clock = clock
    this.#maxBlockMs = maxBlockMs
    this.#flushes = flushes
    this.#onExpired = onExpired
  }

  get isEmpty(): boolean {
    return this.#line.first === null
  }

  /** The sends that are waiting now. */
  get all(): readonly WaitingSend[] {
    const all: WaitingSend[] = []
    for (let send = this.#line.first; send !== null; send = send.next) all.push(send)
    return all
  }

  /**
   * Makes a record wait.
   *
   * @param queue the queue it is to join, `null` while it waits for its topic
   * @throws {@link BufferExhaustedError} when it waits for memory and `maxBlockMs` is 0. A wait for
   * a topic is not refused at once, because finding an existing topic may take a moment.
   */
  add(record: SerializedRecord, completion: Completion, queue: PartitionQueue | null): WaitingSend {
    if (this.#maxBlockMs === 0 && queue !== null) throw this.#blockedTooLong(record.topic, queue)
    const deadlineMs = this.#clock.monotonic() + this.#maxBlockMs
    const send = new WaitingSend(record, completion, deadlineMs)
    send.queue = queue
    this.#line.push(send)
    this.#flushes.take(send)
    this.#timer ??= this.#startTimer(this.#maxBlockMs)
    return send
  }

  /** Called when the record of `send` is in `batch`. */
  enter(send: WaitingSend, batch: ProducerBatch): void {
    this.#remove(send)
    this.#flushes.passOn(send, batch)
    this.#flushes.settle(send)
    send.enter()
  }

  /** Called when the record of `send` will not be sent. */
  fail(send: WaitingSend, error: Error): void {
    this.#remove(send)
    send.fail(error)
    this.#flushes.settle(send)
  }

  #remove(send: WaitingSend): void {
    // A timer without a waiting send would keep the process alive.
    if (this.#line.remove(send) && this.#line.first === null) this.#stopTimer()
  }

  #stopTimer(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #startTimer(delayMs: number): Timer {
    return this.#clock.startTimer(() => {
      this.#timer = null
      this.#expire()
    }, delayMs)
  }

  #expire(): void {
    const nowMs = this.#clock.monotonic()
    const expired: WaitingSend[] = []
    for (let send = this.#line.first; send !== null; send = send.next) {
      const remainingMs = send.deadlineMs - nowMs
      if (remainingMs > 0) {
        // Before any callback is called: a timer started for a callback's send would be too late
        // for this one.
        this.#timer = this.#startTimer(Math.ceil(remainingMs))
        break
      }
      expired.push(send)
    }
    // One error for all that waited for the same thing, as they may be many thousands.
    const errors = new Map<string | null, Error>()
    for (const send of expired) {
      const awaited = send.queue === null ? send.record.topic : null
      const error = errors.get(awaited) ?? this.#blockedTooLong(send.record.topic, send.queue)
      errors.set(awaited, error)
      this.fail(send, error)
    }
    this.#onExpired()
  }

  #blockedTooLong(topic: string, queue: PartitionQueue | null): Error {
    const limit = `within maxBlockMs (${this.#maxBlockMs} ms)`
    if (queue === null) return new TimeoutError(`topic '${topic}' was not available ${limit}`)
    return new BufferExhaustedError(
      `bufferMemory had no room ${limit}: await earlier sends before you send more, ` +
        'or raise bufferMemory',
    )
  }
}
