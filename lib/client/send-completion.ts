import { types } from 'node:util'
import { rejecting, settledLater, settleOfLast, type Settle } from '../broker/settled-later.ts'

/** Where a record has come to lie. */
export interface RecordMetadata {
  readonly topic: string
  readonly partition: number
  /** -1 with `acks: 0`, where nobody waits to learn it. */
  readonly offset: number
  /** The record's own, or where the topic says so the time of the append. */
  readonly timestamp: number
}

/** Told once what became of a record: either `error` or `metadata` is not null. */
export type SendCallback = (error: Error | null, metadata: RecordMetadata | null) => void

/** Whoever waits for one record. One of its methods is called, once. */
export interface SendCompletion {
  succeed(metadata: RecordMetadata): void
  fail(error: Error): void
}

/**
 * Lets a promise know. There is one for every send that is under way, so it keeps no more than it
 * needs: what is alive when memory is collected costs more than the sends themselves.
 */
export class PromiseCompletion implements SendCompletion {
  readonly #settle: Settle<RecordMetadata>

  private constructor(settle: Settle<RecordMetadata>) {
    this.#settle = settle
  }

  /** Calls `enter` with the completion of a new promise, and returns that. */
  static promise(enter: (completion: PromiseCompletion) => void): Promise<RecordMetadata> {
    const promise = settledLater<RecordMetadata>()
    enter(new PromiseCompletion(settleOfLast()))
    return promise
  }

  succeed(metadata: RecordMetadata): void {
    this.#settle(metadata)
  }

  fail(error: Error): void {
    this.#settle(rejecting(error))
  }
}

/**
 * Lets a callback know. What the callback throws is dropped, at once or by the promise of an async
 * function: it must not keep the records behind it from being settled, nor end the process, and
 * there is nobody else to tell.
 */
export class CallbackCompletion implements SendCompletion {
  /** The type lets functions pass that return something. */
  readonly #callback: (...args: Parameters<SendCallback>) => unknown

  constructor(callback: SendCallback) {
    this.#callback = callback
  }

  succeed(metadata: RecordMetadata): void {
    this.#call(null, metadata)
  }

  fail(error: Error): void {
    this.#call(error, null)
  }

  #call(error: Error | null, metadata: RecordMetadata | null): void {
    try {
      const returned = this.#callback(error, metadata)
      if (types.isPromise(returned)) returned.catch(() => undefined)
    } catch {
      // See the class.
    }
  }
}
