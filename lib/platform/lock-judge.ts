import { existsSync } from 'node:fs'
import type { Clock } from './clock.ts'
import type { FileIdentity, OwnerRecord } from './lock-owner.ts'
import {
  readLockFile,
  recordPath,
  type AbandonmentCheck,
  type FoundLockFile,
} from './lock-takeover.ts'
import type { LockTimes } from './lock-times.ts'
import { pause } from './pause.ts'

/** What a {@link LockJudge} goes by. */
export interface LockJudgeOptions {
  readonly clock: Clock
  readonly times: LockTimes
  /** Whether that owner is certainly dead, so that its lock needs no waiting. */
  readonly isOwnerGone: (owner: OwnerRecord, file: FileIdentity) => Promise<boolean>
}

/**
 * Judges whether nobody holds a lock file, by its owner and by its last heartbeat. By the clock that it was
 * given: the one that proper-lockfile asks may be a test's.
 */
export class LockJudge {
  readonly #path: string
  readonly #options: LockJudgeOptions
  #mayOwnerLive = false

  /** @param path of the lock file itself; others are judged as well */
  constructor(path: string, options: LockJudgeOptions) {
    this.#path = path
    this.#options = options
  }

  /** Whether something was found abandoned by an owner of whom nothing but silence says that it is dead. */
  get mayOwnerLive(): boolean {
    return this.#mayOwnerLive
  }

  /** At once. */
  readonly isAbandoned: AbandonmentCheck = async ({ record, modifiedMs, file }) => {
    const { clock, times, isOwnerGone } = this.#options
    if (record !== null && (await isOwnerGone(record, file))) return true
    if (modifiedMs >= clock.now() - times.staleAfterMs) return false
    this.#mayOwnerLive = true
    return true
  }

  /**
   * The same of the lock file and of claims on it, which are watched where their time lies ahead, and so says
   * nothing: a machine without a battery for its clock goes on behind the time at which the power went, and
   * would keep everybody out until it gets there.
   */
  readonly isLockAbandoned: AbandonmentCheck = async (found) => {
    if (await this.isAbandoned(found)) {
      if (this.#hasDiedWaiting(found)) this.#mayOwnerLive = true
      return true
    }
    const { clock, times } = this.#options
    // Clocks of two machines may well differ by less, and who lives is refused at once.
    const isAhead = found.modifiedMs > clock.now() + times.heartbeatMs
    if (!isAhead || !(await this.#isSilent(found))) return false
    this.#mayOwnerLive = true
    return true
  }

  /**
   * Whether an owner may have ended while it waited for the one before, which leaves that to its successor:
   * the file of its record goes when it enters.
   */
  #hasDiedWaiting({ path, record }: FoundLockFile): boolean {
    return path === this.#path && record !== null && existsSync(recordPath(path, record))
  }

  /** Whether no heartbeat comes for as long as a live owner has for one. */
  async #isSilent(found: FoundLockFile): Promise<boolean> {
    const { clock, times } = this.#options
    for (let waitedMs = 0; waitedMs < times.staleAfterMs; waitedMs += times.heartbeatMs) {
      await pause(clock, times.heartbeatMs)
      const now = readLockFile(found.path)
      if (now?.file.ino !== found.file.ino || now.modifiedMs !== found.modifiedMs) return false
    }
    return true
  }
}
