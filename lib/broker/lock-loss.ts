import { channel } from 'node:diagnostics_channel'
import { reasonOf } from '../checks.ts'
import { LockLostError } from '../errors.ts'
import { ChangeListeners } from './change-listeners.ts'

/** What subscribers of `varve:lock-lost` are told. */
export interface LockLost {
  /** The `dir` of the broker. */
  readonly dir: string
  /** What is refused with from now on, and why. */
  readonly error: LockLostError
}

const lockLost = channel('varve:lock-lost')

/**
 * Whether a directory was found to be another owner's by now, and who waits for what nobody appends to it here
 * any more. Whoever writes asks the lock itself, which looks.
 */
export class LockLoss {
  readonly #listeners = new ChangeListeners()
  #error: LockLostError | null = null

  /** What those that have read all there is are told; `null` while the lock is not known to be lost. */
  get error(): LockLostError | null {
    return this.#error
  }

  /** @returns a function that ends it. */
  onLost(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  /** The lock is lost: tells the subscribers of `varve:lock-lost`, and who waits. */
  tell(dir: string, reason: Error): void {
    const error =
      reason instanceof LockLostError
        ? reason
        : new LockLostError(dir, reasonOf(reason), 'unknown', { cause: reason })
    this.#error = error
    lockLost.publish({ dir, error } satisfies LockLost)
    this.#listeners.notify()
  }
}
