import { InvalidRecordError, OffsetConflictError } from '../errors.ts'
import { keylessRefusal } from '../storage/append-record.ts'
import type { AppendChainOwner } from './append-chain-owner.ts'
import { hasKeyless, sealAll, type PendingAppend } from './pending-append.ts'
import { isBeyondCap, type SpaceRequest } from './topic-space.ts'

/** Ends the wait of a group that has nothing left to write. No caller sees it. */
const ALL_GIVEN_UP = new Error('all appends of the group were given up')

/** Ends the wait of a group whose log takes no writes: the log says why. No caller sees it. */
const REFUSED_BY_LOG = new Error('the log takes no writes')

/** What a waiting group needs: where to write, and where to ask for room. */
export type WaitingGroupOwner = Pick<AppendChainOwner, 'log' | 'space' | 'whyClosed' | 'whyFenced'>

/**
 * Whether the failure of a group need not affect all of its appends: the cap was lowered and each
 * may fit, the log no longer ends where the first of them expects it, or not all of them have a key
 * for each record.
 */
export function isToBeGatheredAnew(error: unknown): boolean {
  const isOfSome = error instanceof OffsetConflictError || error instanceof InvalidRecordError
  return isOfSome || isBeyondCap(error)
}

/**
 * A group of appends that waits until its topic has room. Meanwhile appends can be removed from it;
 * the rest then asks for less.
 */
export class WaitingGroup {
  readonly #owner: WaitingGroupOwner
  readonly #appends: Set<PendingAppend>
  #sizeBytes = 0
  #isWaiting = true

  constructor(owner: WaitingGroupOwner, appends: readonly PendingAppend[]) {
    this.#owner = owner
    this.#appends = new Set(appends)
    // Sealed, so that no record joins a batch that room is requested for.
    for (const { length } of sealAll(appends)) this.#sizeBytes += length
  }

  /** The appends to be written, or written already. */
  get appends(): readonly PendingAppend[] {
    return [...this.#appends]
  }

  /** Removes an append. @returns whether it was still waiting */
  takeOut(append: PendingAppend): boolean {
    if (!this.#isWaiting || !this.#appends.delete(append)) return false
    this.#sizeBytes -= append.sizeBytes
    this.#owner.space()?.changed()
    return true
  }

  /**
   * Writes the group once the topic has room for it. A log that takes no writes rejects it without
   * room: nothing may be deleted for an append that fails all the same.
   *
   * @returns the batches of the remaining appends; none if all were given up
   */
  async write(): Promise<readonly Buffer[]> {
    let release: (() => void) | undefined
    try {
      if (!this.#isRefused) release = await this.#owner.space()?.reserve(this.#request())
    } catch (error) {
      // Until the group is gathered again, appends can be removed from it as before.
      this.#isWaiting = isToBeGatheredAnew(error)
      // An error does not matter if all appends were given up.
      if (this.#appends.size > 0 && error !== REFUSED_BY_LOG) throw error
    }
    this.#isWaiting = false
    const buffers = sealAll(this.appends)
    try {
      const [first] = this.#appends
      const expectedOffset = first?.expectedOffset
      if (buffers.length > 0)
        await this.#owner.log.appendBatches(buffers, expectedOffset, hasKeyless(this.#appends))
    } finally {
      release?.()
    }
    return buffers
  }

  /** Whether the log is damaged or has failed, which only another open of it can change. */
  get #isRefused(): boolean {
    const { damage, failure } = this.#owner.log
    return damage !== null || failure !== null
  }

  #request(): SpaceRequest {
    const owner = this.#owner
    const sizeBytes = (): number => this.#sizeBytes
    return {
      get sizeBytes() {
        return sizeBytes()
      },
      config: () => owner.log.config,
      whyStopped: () => owner.whyClosed() ?? owner.whyFenced(false) ?? this.#whyNotTaken(),
    }
  }

  #whyNotTaken(): Error | null {
    if (this.#appends.size === 0) return ALL_GIVEN_UP
    if (this.#isRefused) return REFUSED_BY_LOG
    const { config, topic } = this.#owner.log
    return hasKeyless(this.#appends) ? keylessRefusal(config, topic) : null
  }
}
