import { promptIo, type PromptIo } from './prompt-io.ts'

/**
 * A sync that takes no longer is quick. Of one that a thread of the pool makes, the way there and
 * back counts too, so a disk that passes for quick there is.
 */
const QUICK_MS = 1
/**
 * Where somebody keeps the event loop busy, what a thread has done is heard of when he lets it turn.
 * A sync that is done by the first turn is quick up to this.
 */
const QUICK_BY_TURN_MS = 5

/** One that takes longer holds everybody up too long to be followed by another. */
const SLOW_MS = 2

/** So many that are quick, one behind the other, prove that the disk is; a few are by chance on a busy one. */
export const FIRST_PROOF = 16
/** So many where one was slow soon after the last proof, again and again. */
const LONGEST_PROOF = 128
/** How many syncs that is. */
const RELAPSE_COUNT = 64

/**
 * Decides for the files of one disk which syncs are made at once instead of by a thread of the pool.
 *
 * Where a sync takes a tenth of a millisecond, as on a disk with a cache that outlives the power,
 * the way to a thread and back takes as long again. But what is made at once holds up the process
 * for as long as the disk takes. So nobody tries: the pool makes the syncs until sixteen in a row were
 * quick. Then they are made at once, within what `PromptIo` allows of one turn of the event loop,
 * until one takes more than 2 ms; after that the pool has to prove the disk again, with twice as
 * many each time that it did not last for 64 syncs. A disk whose syncs take more than 5 ms holds up
 * nobody once. While the pool is at work on a sync, others go there too: the disk may hang, or do both
 * as one.
 */
export class PromptSync {
  readonly #io: PromptIo
  readonly #now: () => number
  /** Quick syncs that are still to come before one is made at once. */
  #toProve = FIRST_PROOF
  /** How many the next proof takes. */
  #proof = FIRST_PROOF
  /** Syncs that were made at once since the last proof. */
  #madeSinceProof = 0
  #inPool = 0

  /** @param now milliseconds from any point on; never goes back */
  constructor(io: PromptIo, now: () => number) {
    this.#io = io
    this.#now = now
  }

  /**
   * Makes a sync at once, or declines to.
   *
   * @param call returns when the file is durable.
   * @returns false when it was not made, and has to be left to {@link PromptSync.run}.
   * @throws what `call` throws.
   */
  try(call: () => void): boolean {
    // Asked in any case: who reads makes room for who syncs, wherever that is done.
    const hasTime = this.#io.hasTime()
    if (!hasTime || this.#toProve > 0 || this.#inPool > 0) return false
    const startMs = this.#now()
    try {
      call()
    } finally {
      this.#noteMade(this.#now() - startMs)
    }
    return true
  }

  /**
   * Makes a sync in the pool, or at once where all that has kept {@link PromptSync.try} from it is
   * that this turn of the event loop has been drawn out for long enough.
   *
   * @throws what `call` throws or `callInPool` rejects with.
   */
  async run(call: () => void, callInPool: () => Promise<void>): Promise<void> {
    if (this.#toProve === 0 && this.#inPool === 0) {
      const turn = this.#io.whenTurned('write', 0)
      if (turn !== null) {
        await turn
        if (this.try(call)) return
      }
    }
    await (this.#toProve > 0 ? this.#proveBy(callInPool) : this.runInPool(callInPool))
  }

  /**
   * Makes a sync in the pool, of which it does not matter how long it takes.
   *
   * @throws what `callInPool` rejects with.
   */
  async runInPool(callInPool: () => Promise<void>): Promise<void> {
    this.#inPool += 1
    try {
      await callInPool()
    } finally {
      this.#inPool -= 1
    }
  }

  async #proveBy(callInPool: () => Promise<void>): Promise<void> {
    const startMs = this.#now()
    let quickMs = QUICK_BY_TURN_MS
    this.#io.nextTurn(() => {
      quickMs = QUICK_MS
    })
    try {
      await this.runInPool(callInPool)
    } finally {
      const isQuick = this.#now() - startMs <= quickMs
      if (this.#toProve > 0) this.#toProve = isQuick ? this.#toProve - 1 : this.#proof
    }
  }

  #noteMade(durationMs: number): void {
    this.#madeSinceProof += 1
    if (durationMs <= SLOW_MS) return
    const isRelapse = this.#madeSinceProof <= RELAPSE_COUNT
    this.#proof = isRelapse ? Math.min(2 * this.#proof, LONGEST_PROOF) : FIRST_PROOF
    this.#toProve = this.#proof
    this.#madeSinceProof = 0
  }
}

// Taken once: the global is behind a getter.
const { performance } = globalThis
const now = (): number => performance.now()

/** One for each disk, by the number of its device: what is quick on one says nothing of another. */
const disks = new Map<number, PromptSync>()

/** The one that decides for the files of a device. */
export function promptSyncOf(device: number): PromptSync {
  let disk = disks.get(device)
  if (disk === undefined) {
    disk = new PromptSync(promptIo, now)
    disks.set(device, disk)
  }
  return disk
}
