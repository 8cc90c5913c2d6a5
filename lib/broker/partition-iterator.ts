import { TurnsBetweenRecords } from '../platform/turns-between-records.ts'
import type { StoredRecord } from '../record/decode.ts'
import { SerialQueue } from '../storage/serial-queue.ts'

/** Supplies a {@link PartitionIterator} with records. Calls do not overlap. */
export interface RecordSource {
  /** The next records, possibly none; `null` when there are no more. */
  load(): Promise<readonly StoredRecord[] | null>
  /** Ends all waits: `load` returns the available records, and then `null`. */
  stopWaiting?(): void
  /** Releases everything that was read. */
  end(): void
}

type Result = IteratorResult<StoredRecord, void>

/**
 * Iterates over the records of a partition one by one, like an async generator: calls may overlap
 * and are answered in order, and an error ends the iteration. Unlike in a generator, `return` and
 * `throw` end a wait for new records, which might otherwise last for ever.
 *
 * A generator takes several promises and turns of the microtask queue per record. Here a record of
 * a decoded batch takes one promise, which is already settled.
 */
export class PartitionIterator implements AsyncGenerator<StoredRecord, void, undefined> {
  readonly #source: RecordSource
  readonly #signal: AbortSignal | undefined
  readonly #turns: TurnsBetweenRecords = new TurnsBetweenRecords()
  /** What available records have to wait for. */
  #turn: Promise<void> | null = null
  #records: readonly StoredRecord[] = []
  #recordSlot = 0
  #isOver = false
  readonly #calls = new SerialQueue()

  constructor(source: RecordSource, signal: AbortSignal | undefined) {
    this.#source = source
    this.#signal = signal
  }

  next(): Promise<Result> {
    if (this.#calls.isIdle) {
      const value = this.#records[this.#recordSlot]
      if (value !== undefined && this.#signal?.aborted !== true) {
        this.#turn = this.#turns.turnIfDue()
        if (this.#turn === null) {
          this.#recordSlot += 1
          return Promise.resolve({ done: false, value })
        }
      }
    }
    return this.#calls.run(() => this.#advance())
  }

  return(): Promise<Result> {
    this.#source.stopWaiting?.()
    return this.#calls.run(() => {
      this.#end()
      return Promise.resolve({ done: true, value: undefined })
    })
  }

  async throw(error: unknown): Promise<Result> {
    await this.return()
    throw error
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  async #advance(): Promise<Result> {
    try {
      if (this.#turn !== null) await this.#turn
      this.#turn = null
      while (!this.#isOver) {
        const value = this.#records[this.#recordSlot]
        if (value !== undefined) {
          this.#signal?.throwIfAborted()
          this.#recordSlot += 1
          return { done: false, value }
        }
        // A batch may have a single record, or none.
        const turn = this.#turns.turnIfDue()
        if (turn !== null) await turn
        const records = await this.#source.load()
        if (records === null) this.#end()
        this.#records = records ?? []
        this.#recordSlot = 0
      }
    } catch (error) {
      this.#end()
      throw error
    }
    return { done: true, value: undefined }
  }

  /** Releases everything that was read. */
  #end(): void {
    this.#isOver = true
    this.#records = []
    this.#source.end()
  }
}
