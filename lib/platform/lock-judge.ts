import { existsSync } from 'node:fs'
import type { Clock } from './clock.ts'
import type { FileIdentity, OwnerRecord } from './lock-owner.ts'
import { recordPath } from './lock-record.ts'
import { readLockFile, type AbandonmentCheck, type FoundLockFile } from './lock-takeover.ts'
import type { LockTimes } from './lock-times.ts'
import { pause } from './pause.ts'

/** What a {@link LockJudge} bases its decisions on. */
export interface LockJudgeOptions {
  readonly clock: Clock
  readonly times: LockTimes
  /** Whether the owner is certainly dead, so that its lock can be taken without waiting. */
  readonly isOwnerGone: (owner: OwnerRecord, file: FileIdentity) => Promise<boolean>
}

/**
 * Decides whether a lock file is abandoned, by its owner and its last heartbeat. Uses the given
 * clock, because the one that proper-lockfile uses may be a test's.
 */
export class LockJudge {
  readonly #path: string
  readonly #options: LockJudgeOptions
  #mayOwnerLive = false

  /** @param path of the lock file itself; other files are judged as well */
  constructor(path: string, options: LockJudgeOptions) {
    this.#path = path
    this.#options = options
  }

  /** Whether something was judged abandoned only by its owner's silence: that owner may live. */
  get mayOwnerLive(): boolean {
    return this.#mayOwnerLive
  }

  /** Decides without waiting. */
  readonly isAbandoned: AbandonmentCheck = async ({ record, modifiedMs, file }) => {
    const { clock, times, isOwnerGone } = this.#options
    if (record !== null && (await isOwnerGone(record, file))) return true
    if (modifiedMs >= clock.now() - times.staleAfterMs) return false
    this.#mayOwnerLive = true
    return true
  }

  /**
   * The same for the lock file and for claims on it. A time in the future says nothing, so such a
   * file is watched for a while: after a power failure, a machine without a clock battery continues
   * with an earlier time, and would refuse everybody until it catches up.
   */
  readonly isLockAbandoned: AbandonmentCheck = async (found) => {
    if (await this.isAbandoned(found)) {
      if (this.#hasDiedWaiting(found)) this.#mayOwnerLive = true
      return true
    }
    const { clock, times } = this.#options
    // Clocks of two machines may differ by less; a taker is then refused at once.
    const isAhead = found.modifiedMs > clock.now() + times.heartbeatMs
    if (!isAhead || !(await this.#isSilent(found))) return false
    this.#mayOwnerLive = true
    return true
  }

  /**
   * Whether the owner may have died while waiting for the previous owner, so that its successor has
   * to wait instead. An owner removes the file of its record once that wait is over.
   */
  #hasDiedWaiting({ path, record }: FoundLockFile): boolean {
    return path === this.#path && record !== null && existsSync(recordPath(path, record))
  }

  /** Whether no heartbeat comes within the time that a live owner has for one. */
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
