/** Settles a promise that {@link settledLater} has made. Calls after the first do nothing. */
export type Settle<T> = (outcome: T | PromiseLike<never>) => void

let lastSettle: Settle<never> = () => undefined

/**
 * Hands out the function that settles a promise that is being made. The constructor of `Promise`
 * calls it before it returns, so one function for all promises does, and no append pays for a closure
 * of its own.
 */
function capture(settle: Settle<never>): void {
  lastSettle = settle
}

/** A promise that whoever asks {@link settleOfLast} next can settle. */
export function settledLater<T>(): Promise<T> {
  return new Promise<T>(capture)
}

/** What settles the promise that was made last, which is of this type. */
export function settleOfLast<T>(): Settle<T> {
  return lastSettle as Settle<T>
}

/** What a promise is settled with that is to reject: nobody has to keep its other function then. */
export function rejecting(error: unknown): PromiseLike<never> {
  return new Rejecting(error) as unknown as PromiseLike<never>
}

class Rejecting {
  readonly #error: unknown

  constructor(error: unknown) {
    this.#error = error
  }

  /** The promise calls this for what it is to become. */
  then(_onFulfilled: unknown, onRejected: (reason: unknown) => void): void {
    onRejected(this.#error)
  }
}
