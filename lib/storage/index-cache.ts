/** An owner of indexes in memory that are also on disk. */
export interface IndexOwner {
  /** Bytes of memory that they take. */
  readonly indexBytes: number
  /** Releases them; returns false, without a change, while they are in use or not on disk. */
  unloadIndexes(): boolean
}

/** Limits of an {@link IndexCache}. */
export interface IndexCacheLimits {
  readonly maxBytes: number
  readonly maxOwners: number
}

/**
 * An LRU cache of the indexes of sealed segments. Indexes that do not fit are unloaded, the least
 * recently used ones first, and read from their files again when needed.
 */
export class IndexCache {
  readonly #limits: IndexCacheLimits
  /** In the order of their last use, with their sizes at that time. */
  readonly #owners = new Map<IndexOwner, number>()
  #bytes = 0

  constructor(limits: IndexCacheLimits) {
    this.#limits = limits
  }

  /** Notes that indexes were used, and unloads others if the limits are exceeded. */
  use(owner: IndexOwner): void {
    this.forget(owner)
    const { indexBytes } = owner
    this.#owners.set(owner, indexBytes)
    this.#bytes += indexBytes
    if (this.#isOver()) this.#makeRoom(owner)
  }

  /** Removes an owner without unloading its indexes. */
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

/** Shared by all logs: the limits apply to the process, however many logs are open. */
export const sharedIndexCache: IndexCache = new IndexCache({
  maxBytes: 64 * 1024 * 1024,
  maxOwners: 1000,
})
