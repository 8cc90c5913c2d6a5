import { channel } from 'node:diagnostics_channel'
import { LockLostError } from '../errors.ts'
import { lockLostBy } from '../errors/lock-lost-by.ts'
import { ChangeListeners } from './change-listeners.ts'

/** Message on the diagnostics channel `varve:lock-lost`. */
export interface LockLost {
  /** The `dir` of the broker. */
  readonly dir: string
  /** The error that calls are refused with from now on, with its reason. */
  readonly error: LockLostError
}

const lockLost = channel('varve:lock-lost')

/**
 * Whether the directory is known to have another owner by now, and the readers that wait for
 * records nobody appends here any more. Writers check the lock itself instead.
 */
export class LockLoss {
  readonly #listeners = new ChangeListeners()
  #error: LockLostError | null = null

  /** The error for readers at the end of a log; `null` while the lock is not known to be lost. */
  get error(): LockLostError | null {
    return this.#error
  }

  /** @returns a function that removes the listener. */
  onLost(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  /** Reports the loss of the lock to the subscribers of `varve:lock-lost` and to all waiters. */
  tell(dir: string, reason: Error): void {
    const error = reason instanceof LockLostError ? reason : lockLostBy(dir, reason)
    this.#error = error
    lockLost.publish({ dir, error } satisfies LockLost)
    this.#listeners.notify()
  }

  /**
   * Ends all waiters when the machine has stopped, in a simulation. Nothing is published: the
   * process counts as dead.
   */
  stop(dir: string, crash: Error): void {
    this.#error ??= lockLostBy(dir, crash)
    this.#listeners.notify()
  }
}
