import { promptIo, type PromptIo } from './prompt-io.ts'

/**
 * A sync that takes at most this long is quick. On a thread of the pool the way there and back
 * counts too, so a disk that is quick there is quick.
 */
const QUICK_MS = 1
/**
 * While the event loop is busy, the result of a thread is only seen when the loop turns. A sync
 * that is done by the first turn is quick up to this duration.
 */
const QUICK_BY_TURN_MS = 5

/** A slower sync holds everybody up for too long to be followed by another. */
const SLOW_MS = 2

/** This many quick syncs in a row prove a quick disk; on a busy disk a few are quick by chance. */
export const FIRST_PROOF = 16
/** The longest proof, for a disk whose syncs keep being slow soon after a proof. */
const LONGEST_PROOF = 128
/** A slow sync within this many syncs after a proof is a relapse. */
const RELAPSE_COUNT = 64

/**
 * Decides for the files of one disk which syncs are made synchronously instead of on a thread of
 * the pool.
 *
 * If a sync takes a tenth of a millisecond, as on a disk with a cache that survives a power loss,
 * the way to a thread and back takes as long again. But a synchronous sync holds up the process for
 * as long as the disk takes. So synchronous calls are no test: the pool makes the syncs until
 * sixteen in a row were quick. Then they are synchronous, within the time that `PromptIo` allows in
 * one turn of the event loop, until one takes more than 2 ms. After that the pool has to prove the
 * disk again, with twice as many syncs each time that the proof did not last for 64. A disk whose
 * syncs take more than 5 ms never holds up the process. While a sync is in flight in the pool,
 * others go there too: the disk may hang, or combine them.
 */
export class PromptSync {
  readonly #io: PromptIo
  readonly #now: () => number
  /** Quick syncs still needed before one is made synchronously. */
  #toProve = FIRST_PROOF
  /** The number of syncs in the next proof. */
  #proof = FIRST_PROOF
  /** Synchronous syncs since the last proof. */
  #madeSinceProof = 0
  #inPool = 0

  /** @param now milliseconds since an arbitrary start; never decreases */
  constructor(io: PromptIo, now: () => number) {
    this.#io = io
    this.#now = now
  }

  /**
   * Makes a sync in this thread, or declines to.
   *
   * @param call returns when the file is durable.
   * @returns false if it was not made, and has to be left to {@link PromptSync.run}.
   * @throws what `call` throws.
   */
  try(call: () => void): boolean {
    // Called in any case: readers make room for syncs, wherever those are made.
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
   * Makes a sync in the pool, or synchronously if {@link PromptSync.try} only declined it because
   * the time of this turn was used up.
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
   * Makes a sync in the pool, whose duration does not matter.
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

// Captured once: the global is behind a getter.
const { performance } = globalThis
const now = (): number => performance.now()

/** One for each disk, by device number: a quick disk says nothing about another. */
const disks = new Map<number, PromptSync>()

/** The {@link PromptSync} for the files of a device. */
export function promptSyncOf(device: number): PromptSync {
  let disk = disks.get(device)
  if (disk === undefined) {
    disk = new PromptSync(promptIo, now)
    disks.set(device, disk)
  }
  return disk
}
