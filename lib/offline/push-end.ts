import { setMaxListeners } from 'node:events'
import { ClosedError } from '../index.ts'

/** Whether a push ends, and why. */
export class PushEnd {
  readonly #ending: AbortController = new AbortController()
  readonly #stopping: AbortController = new AbortController()
  /** Whether the consumer is closed, which ends a push without an error. */
  isClosed = false
  #failure: { readonly error: unknown } | null = null
  readonly #isClosing: () => boolean

  /** @param isClosing whether the consumer is being closed or is closed */
  constructor(isClosing: () => boolean) {
    this.#isClosing = isClosing
    // Each write in progress may listen to it, and Node.js takes more than ten listeners for a leak.
    setMaxListeners(0, this.ending)
  }

  /** For writes: aborted when they need not continue. */
  get ending(): AbortSignal {
    return this.#ending.signal
  }

  /** Aborted when no write is started any more, except those that precede another one. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  get isStopping(): boolean {
    return this.stopping.aborted
  }

  /** The first error: no write is started any more. */
  get failure(): { readonly error: unknown } | null {
    return this.#failure
  }

  stop(): void {
    this.#stopping.abort()
  }

  abort(reason: unknown): void {
    this.fail(reason)
    this.#ending.abort(reason)
  }

  fail(error: unknown): void {
    this.#failure ??= { error }
  }

  /**
   * Notes an error of the consumer. A poll also rejects with the error of a listener, which may be
   * that of another, closed client.
   */
  failUnlessClosed(error: unknown): void {
    if (error instanceof ClosedError && this.#isClosing()) this.isClosed = true
    else this.fail(error)
  }
}
