import { InvalidRecordError, OffsetConflictError } from '../errors.ts'
import { keylessRefusal } from '../storage/append-record.ts'
import type { AppendChainOwner } from './append-chain-owner.ts'
import { hasKeyless, sealAll, type PendingAppend } from './pending-append.ts'
import { isBeyondCap, type SpaceRequest } from './topic-space.ts'

/** Ends the wait of a group that has nothing left to write. Nobody is told of it. */
const ALL_GIVEN_UP = new Error('all that was to be written has been given up')

/** What the chain tells a group that waits: where it writes, and who has room to give. */
export type WaitingGroupOwner = Pick<AppendChainOwner, 'log' | 'space' | 'whyClosed' | 'whyFenced'>

/**
 * Whether a group failed with what need not concern all of it: the cap was lowered and each may fit, the
 * log does not end any more where the first of them expects it, or not all of them have a key for each record.
 */
export function isToBeGatheredAnew(error: unknown): boolean {
  const isOfSome = error instanceof OffsetConflictError || error instanceof InvalidRecordError
  return isOfSome || isBeyondCap(error)
}

/**
 * A group of appends from when it is to be written until its topic has room for it. Meanwhile appends
 * can be taken out of it; what is left asks for that much less.
 */
export class WaitingGroup {
  readonly #owner: WaitingGroupOwner
  readonly #appends: Set<PendingAppend>
  #sizeBytes = 0
  #isWaiting = true

  constructor(owner: WaitingGroupOwner, appends: readonly PendingAppend[]) {
    this.#owner = owner
    this.#appends = new Set(appends)
    // Sealed: nothing joins a batch that room is asked for.
    for (const { length } of sealAll(appends)) this.#sizeBytes += length
  }

  /** What is to be written, or was. */
  get appends(): readonly PendingAppend[] {
    return [...this.#appends]
  }

  /** Takes out an append. @returns whether it was still waiting */
  takeOut(append: PendingAppend): boolean {
    if (!this.#isWaiting || !this.#appends.delete(append)) return false
    this.#sizeBytes -= append.sizeBytes
    this.#owner.space()?.changed()
    return true
  }

  /**
   * Writes once the topic has room for it.
   * @returns the batches of what was left by then, none where all has been given up
   */
  async write(): Promise<readonly Buffer[]> {
    let release: (() => void) | undefined
    try {
      release = await this.#owner.space()?.reserve(this.#request())
    } catch (error) {
      // Until it is gathered anew, appends can be taken out of it as before.
      this.#isWaiting = isToBeGatheredAnew(error)
      // Of a group that nobody waits for it does not matter what it would have failed with.
      if (this.#appends.size > 0) throw error
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
    const { config, topic } = this.#owner.log
    return hasKeyless(this.#appends) ? keylessRefusal(config, topic) : null
  }
}
