import type { OffsetCommit } from '../broker/offset-and-metadata.ts'
import { topicPartitionKey } from '../broker/topic-partition.ts'
import { latestMove, type AssignedPartition } from './assigned-partition.ts'

interface CommitInProgress {
  readonly offsets: readonly OffsetCommit[]
  /** The id of each offset's topic; `null` for an offset that no consumer may start at. */
  readonly topicIds: readonly (string | null)[]
  /** The last move of any partition before the call. */
  readonly afterMove: number
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
    const commit: CommitInProgress = { offsets, topicIds, afterMove: latestMove(), slots: null }
    this.#commits.add(commit)
    return () => {
      this.#commits.delete(commit)
    }
  }

  /** Whether no commit is of another offset of the partition. */
  areAllAt({ key }: AssignedPartition, offset: number): boolean {
    for (const commit of this.#commits) {
      const slot = slotsOf(commit).get(key)
      if (slot !== undefined && commit.offsets[slot]?.offset !== offset) return false
    }
    return true
  }

  /** Whether one called since the partition was last moved or assigned is of a higher offset. */
  covers({ key, lastMove }: AssignedPartition, offset: number): boolean {
    for (const commit of this.#commits) {
      if (commit.afterMove < lastMove) continue
      const slot = slotsOf(commit).get(key)
      if (slot !== undefined && (commit.offsets[slot]?.offset ?? 0) > offset) return true
    }
    return false
  }

  /**
   * The last one that a consumer of the partition may start at; `null` for none.
   *
   * @param key by `topicPartitionKey`
   */
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
