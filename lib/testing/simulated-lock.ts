import type { DirectoryLock } from '../platform/file-system.ts'
import type { SimulatedDisk } from './simulated-disk.ts'
import type { DirectoryInode } from './simulated-inode.ts'
import type { SimulatedMachine } from './simulated-machine.ts'

/** What a lock is on. */
export interface LockedDirectory {
  /** Path in the simulation. */
  readonly at: string
  readonly directory: DirectoryInode
  readonly disk: SimulatedDisk
  readonly machine: SimulatedMachine
}

/** Ownership of a simulated directory. Ends with its release, its loss or the machine's crash. */
export class SimulatedLock implements DirectoryLock {
  onLost: ((reason: Error) => void) | null = null
  onStopped: ((reason: Error) => void) | null = null
  readonly sinceMs: number
  readonly #locked: LockedDirectory

  constructor(locked: LockedDirectory) {
    this.sinceMs = locked.disk.model.nowMs()
    this.#locked = locked
  }

  get held(): boolean {
    const { directory, disk, machine } = this.#locked
    return !machine.crashed && disk.holdsLock(directory, this)
  }

  get stopReason(): Error | null {
    return this.#locked.machine.crash
  }

  verify(): boolean {
    return this.held
  }

  async release(): Promise<void> {
    const { at, directory, disk, machine } = this.#locked
    const run = disk.unlock.bind(disk, directory, this)
    // A real lock gives up its guard even if its file remains: that proves that nobody holds it.
    await machine.perform({ kind: 'release', syscall: 'unlink', path: at, run, onFault: run })
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
