import {
  metadataOf,
  type RecordMetadata,
  type SendCompletion,
  type SentTo,
} from './send-completion.ts'

/**
 * Collects the results of several records for one promise. One promise per record would cost more
 * than the sends. So would one object per record, kept until the last record settles: with many
 * partitions that is long after the first, and the garbage collector copies it repeatedly.
 */
export class SendBatchCompletion implements SendCompletion {
  /** Settles when all records have; rejects with the error of the first of them that failed. */
  readonly promise: Promise<RecordMetadata[]>
  readonly #sentTo: SentTo[]
  readonly #offsets: number[]
  readonly #timestamps: Float64Array
  #resolve: (places: RecordMetadata[]) => void = () => undefined
  #reject: (error: Error) => void = () => undefined
  #remaining: number
  #firstFailure: { readonly slot: number; readonly error: Error } | null = null

  /** @param recordCount 0 settles at once with an empty list */
  constructor(recordCount: number) {
    this.#remaining = recordCount
    this.#sentTo = new Array<SentTo>(recordCount)
    this.#offsets = new Array<number>(recordCount)
    this.#timestamps = new Float64Array(recordCount)
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (recordCount === 0) this.#resolve([])
  }

  succeed(to: SentTo, offset: number, timestamp: number, slot: number): void {
    this.#sentTo[slot] = to
    this.#offsets[slot] = offset
    this.#timestamps[slot] = timestamp
    this.#settleOne()
  }

  fail(error: Error, slot: number): void {
    if (this.#firstFailure === null || slot < this.#firstFailure.slot) {
      this.#firstFailure = { slot, error }
    }
    this.#settleOne()
  }

  #settleOne(): void {
    this.#remaining -= 1
    if (this.#remaining > 0) return
    if (this.#firstFailure === null) this.#resolve(this.#places())
    else this.#reject(this.#firstFailure.error)
  }

  #places(): RecordMetadata[] {
    return this.#sentTo.map((to, slot) =>
      metadataOf(to, this.#offsets[slot] as number, this.#timestamps[slot] as number),
    )
  }
}
