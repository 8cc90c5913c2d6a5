import type { DirectoryLock } from '../platform/file-system.ts'

/** What a lock needs from its file system. */
export interface LockHost {
  /** Whether `lock` is still the current one of the file system. */
  isHeld(lock: SimulatedLock): boolean
  /** Why the machine has stopped, `null` while it runs. */
  crash(): Error | null
  release(lock: SimulatedLock): Promise<void>
}

/** Ownership of a simulated directory. Ends with its release, its loss or the machine's crash. */
export class SimulatedLock implements DirectoryLock {
  onLost: ((reason: Error) => void) | null = null
  onStopped: ((reason: Error) => void) | null = null
  readonly sinceMs: number
  readonly #host: LockHost

  /** @param sinceMs when it was acquired, milliseconds since the epoch */
  constructor(sinceMs: number, host: LockHost) {
    this.sinceMs = sinceMs
    this.#host = host
  }

  get held(): boolean {
    return this.#host.isHeld(this)
  }

  get stopReason(): Error | null {
    return this.#host.crash()
  }

  verify(): boolean {
    return this.held
  }

  async release(): Promise<void> {
    await this.#host.release(this)
  }

  /** Notifies the owner, after the file system has dropped the lock. */
  lost(reason: Error): void {
    const listener = this.onLost
    this.onLost = null
    tell(listener, reason)
  }

  /** Notifies the owner that its machine has stopped. */
  stopped(reason: Error): void {
    tell(this.onStopped, reason)
  }
}

/** Losing a lock, or stopping, must not fail because the owner's listener does. */
function tell(listener: ((reason: Error) => void) | null, reason: Error): void {
  try {
    listener?.(reason)
  } catch {
    // The listener is at fault.
  }
}
