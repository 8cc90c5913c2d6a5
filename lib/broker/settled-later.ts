/** Settles a promise created by {@link settledLater}. Calls after the first do nothing. */
export type Settle<T> = (outcome: T | PromiseLike<never>) => void

let lastSettle: Settle<never> = () => undefined

/**
 * Captures the function that settles a promise under construction. The constructor of `Promise`
 * calls this before it returns, so one function serves all promises, and no append needs a closure
 * of its own.
 */
function capture(settle: Settle<never>): void {
  lastSettle = settle
}

/** Creates a promise, which the next call of {@link settleOfLast} can settle. */
export function settledLater<T>(): Promise<T> {
  return new Promise<T>(capture)
}

/** Returns the function that settles the last created promise, which must be of this type. */
export function settleOfLast<T>(): Settle<T> {
  return lastSettle as Settle<T>
}

/**
 * The value to settle a promise with so that it rejects: nobody has to keep its reject function.
 */
export function rejecting(error: unknown): PromiseLike<never> {
  return new Rejecting(error) as unknown as PromiseLike<never>
}

class Rejecting {
  readonly #error: unknown

  constructor(error: unknown) {
    this.#error = error
  }

  /** Called by the promise that is settled with this value. */
  then(_onFulfilled: unknown, onRejected: (reason: unknown) => void): void {
    onRejected(this.#error)
  }
}
