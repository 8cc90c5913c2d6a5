/** Who has indexes in memory that are on disk as well. */
export interface IndexOwner {
  /** Bytes that they take. */
  readonly indexBytes: number
  /** Lets go of them; false, and no change, while they are used or not on disk. */
  unloadIndexes(): boolean
}

/** How much an {@link IndexCache} leaves in memory. */
export interface IndexCacheLimits {
  readonly maxBytes: number
  readonly maxOwners: number
}

/**
 * The indexes of sealed segments that were read last. Those that do not fit are let go of, the ones
 * that were not used for the longest time first; who wants them again reads their files again.
 */
export class IndexCache {
  readonly #limits: IndexCacheLimits
  /** In the order of their last use, with the bytes that each had then. */
  readonly #owners = new Map<IndexOwner, number>()
  #bytes = 0

  constructor(limits: IndexCacheLimits) {
    this.#limits = limits
  }

  /** Notes that indexes were used, and makes room where that takes too much. */
  use(owner: IndexOwner): void {
    this.forget(owner)
    const { indexBytes } = owner
    this.#owners.set(owner, indexBytes)
    this.#bytes += indexBytes
    if (this.#isOver()) this.#makeRoom(owner)
  }

  /** Leaves it to others when these indexes go. */
  forget(owner: IndexOwner): void {
    this.#bytes -= this.#owners.get(owner) ?? 0
    this.#owners.delete(owner)
  }

  #isOver(): boolean {
    return this.#bytes > this.#limits.maxBytes || this.#owners.size > this.#limits.maxOwners
  }

  #makeRoom(newest: IndexOwner): void {
    for (const owner of this.#owners.keys()) {
      if (owner !== newest && owner.unloadIndexes()) this.forget(owner)
      if (!this.#isOver()) return
    }
  }
}

/** One for the process: what it bounds is memory of the process, however many logs are open. */
export const sharedIndexCache: IndexCache = new IndexCache({
  maxBytes: 64 * 1024 * 1024,
  maxOwners: 1000,
})
