import type { OffsetCommit } from '../broker/offset-and-metadata.ts'
import { topicPartitionKey } from '../broker/topic-partition.ts'

interface CommitInProgress {
  readonly offsets: readonly OffsetCommit[]
  /** The id of each offset's topic; `null` for an offset that no consumer may start at. */
  readonly topicIds: readonly (string | null)[]
  /** Where each partition is in the lists; `null` until that is asked. */
  slots: Map<string, number> | null
}

/**
 * The commits of a consumer that have not ended, in the order of the calls. There may be a hundred
 * thousand offsets in one, and most commits end before anybody asks, so only questions index them.
 */
export class CommitsInProgress {
  readonly #commits: Set<CommitInProgress> = new Set()

  /** @returns a function to call once the commit has ended */
  add(offsets: readonly OffsetCommit[], topicIds: readonly (string | null)[]): () => void {
    const commit: CommitInProgress = { offsets, topicIds, slots: null }
    this.#commits.add(commit)
    return () => {
      this.#commits.delete(commit)
    }
  }

  /** Whether no commit is of another offset of the partition. @param key by `topicPartitionKey` */
  areAllAt(key: string, offset: number): boolean {
    for (const commit of this.#commits) {
      const slot = slotsOf(commit).get(key)
      if (slot !== undefined && commit.offsets[slot]?.offset !== offset) return false
    }
    return true
  }

  /** The last one that a consumer of the partition may start at; `null` for none. */
  last(key: string, topicId: string | null): OffsetCommit | null {
    let last: OffsetCommit | null = null
    for (const commit of this.#commits) {
      const slot = slotsOf(commit).get(key)
      if (slot === undefined || topicId === null || commit.topicIds[slot] !== topicId) continue
      last = commit.offsets[slot] ?? null
    }
    return last
  }
}

function slotsOf(commit: CommitInProgress): ReadonlyMap<string, number> {
  commit.slots ??= new Map(commit.offsets.map((each, slot) => [topicPartitionKey(each), slot]))
  return commit.slots
}
