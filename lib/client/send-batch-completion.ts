import type { RecordMetadata, SendCompletion } from './send-completion.ts'

/**
 * Gathers what becomes of several records, for one promise: one for each record would cost more than
 * the sends themselves.
 */
export class SendBatchCompletion {
  /** Settles when all records have: rejects with the error of the first of them that failed. */
  readonly promise: Promise<RecordMetadata[]>
  readonly #places: RecordMetadata[]
  #resolve: (places: RecordMetadata[]) => void = () => undefined
  #reject: (error: Error) => void = () => undefined
  #remaining: number
  #firstFailure: { readonly slot: number; readonly error: Error } | null = null

  /** @param recordCount 0 is settled at once, with nothing */
  constructor(recordCount: number) {
    this.#remaining = recordCount
    this.#places = new Array<RecordMetadata>(recordCount)
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (recordCount === 0) this.#resolve([])
  }

  /** Whoever waits for the record number `slot`, counted from 0. To be called once for each. */
  of(slot: number): SendCompletion {
    return new SlotCompletion(this, slot)
  }

  /** Remembers where the record number `slot` is. */
  succeed(slot: number, metadata: RecordMetadata): void {
    this.#places[slot] = metadata
    this.#settleOne()
  }

  /** Remembers that the record number `slot` failed. */
  fail(slot: number, error: Error): void {
    if (this.#firstFailure === null || slot < this.#firstFailure.slot) {
      this.#firstFailure = { slot, error }
    }
    this.#settleOne()
  }

  #settleOne(): void {
    this.#remaining -= 1
    if (this.#remaining > 0) return
    if (this.#firstFailure === null) this.#resolve(this.#places)
    else this.#reject(this.#firstFailure.error)
  }
}

class SlotCompletion implements SendCompletion {
  readonly #batch: SendBatchCompletion
  readonly #slot: number

  constructor(batch: SendBatchCompletion, slot: number) {
    this.#batch = batch
    this.#slot = slot
  }

  succeed(metadata: RecordMetadata): void {
    this.#batch.succeed(this.#slot, metadata)
  }

  fail(error: Error): void {
    this.#batch.fail(this.#slot, error)
  }
}
