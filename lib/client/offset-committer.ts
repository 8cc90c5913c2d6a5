import type { CommitOptions, OffsetCommit } from '../broker/offset-and-metadata.ts'
import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import type { Clock } from '../platform/clock.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import type { PositionResolver } from './position-resolver.ts'
import type { SubscriptionState } from './subscription-state.ts'

/** A holder of a returned record that is not done with it. */
export interface RecordHolder {
  /** `null` while it holds no record. */
  readonly held: (TopicPartition & { readonly offset: number }) | null
  /** Releases the record: it is neither held back from commits nor delivered again. */
  release(): void
}

/** Where offsets are committed. */
export interface CommitTarget {
  commit(offsets: readonly OffsetCommit[], options?: CommitOptions): Promise<void>
}

/**
 * Commits consumed offsets: when asked to, and automatically at the interval. There is no timer:
 * the next poll checks whether the interval has elapsed. All calls may overlap; offsets are stored
 * in the order of the calls.
 */
export class OffsetCommitter {
  readonly #clock: Clock
  readonly #isAutomatic: boolean
  readonly #intervalMs: number
  readonly #subscription: SubscriptionState
  readonly #positions: PositionResolver
  readonly #holders: Iterable<RecordHolder>
  readonly #target: CommitTarget
  #dueMs: number
  /**
   * Key of the partition that {@link OffsetCommitter.#hasUncommitted} found last; `null` for none.
   */
  #uncommittedKey: string | null = null
  /** A commit that no call has waited for yet. */
  #started: Promise<void> | null = null

  constructor(
    clock: Clock,
    options: Pick<
      ResolvedConsumerOptions<unknown, unknown>,
      'enableAutoCommit' | 'autoCommitIntervalMs'
    >,
    partitions: { subscription: SubscriptionState; positions: PositionResolver },
    holders: Iterable<RecordHolder>,
    target: CommitTarget,
  ) {
    this.#clock = clock
    this.#isAutomatic = options.enableAutoCommit
    this.#intervalMs = options.autoCommitIntervalMs
    this.#subscription = partitions.subscription
    this.#positions = partitions.positions
    this.#holders = holders
    this.#target = target
    this.#dueMs = clock.monotonic() + this.#intervalMs
  }

  /** Whether offsets are committed automatically. */
  get isAutomatic(): boolean {
    return this.#isAutomatic
  }

  /** Whether an automatic commit is due. @param nowMs by the monotonic clock */
  isDue(nowMs: number): boolean {
    return this.#isAutomatic && nowMs >= this.#dueMs
  }

  /**
   * Called after the application has committed these offsets. A held record below them is done: it
   * must not be delivered again, and an automatic commit must not go back to it. But if the
   * application has moved the partition since it called commit, it wants the record again.
   *
   * @param lastMoves the result of {@link OffsetCommitter.ensurePresent} before the commit
   */
  noteCommitted(offsets: readonly OffsetCommit[], lastMoves: readonly number[]): void {
    for (const holder of this.#holders) {
      const { held } = holder
      if (held === null) continue
      const isDone = offsets.some(
        (each, slot) =>
          each.partition === held.partition &&
          each.topic === held.topic &&
          held.offset < each.offset &&
          this.#lastMove(each) === lastMoves[slot],
      )
      if (isDone) holder.release()
    }
  }

  /**
   * Commits the positions of all partitions, without records that are held or not yet returned.
   * Partitions whose topic is deleted meanwhile are left out: the caller has not named them, and
   * needs the others stored.
   */
  commitAll(): Promise<void> {
    return this.#commit({ onlyUncommitted: false })
  }

  /**
   * Must be called before offsets that the application names are committed.
   *
   * @returns the last move of each partition
   * @throws {@link UnknownTopicOrPartitionError} when the offsets belong to a log that no longer
   * exists: they say nothing about a new one of the same name
   */
  ensurePresent(offsets: readonly OffsetCommit[]): number[] {
    return offsets.map((each) => {
      const topicId = this.#subscription.seenTopicId(each)
      if (topicId !== null) this.#positions.ensureIsOf(each, topicId)
      return this.#lastMove(each)
    })
  }

  /** Commits automatically if that is due. @throws the error of an earlier automatic commit */
  async commitIfDue(): Promise<void> {
    await this.settle()
    if (this.isDue(this.#clock.monotonic())) await this.commitConsumed()
  }

  /** Commits new offsets automatically, due or not: partitions are about to be given up. */
  commitConsumed(): Promise<void> {
    if (!this.#isAutomatic) return Promise.resolve()
    this.#dueMs = this.#clock.monotonic() + this.#intervalMs
    return this.#commit({ onlyUncommitted: true })
  }

  async #commit(which: { readonly onlyUncommitted: boolean }): Promise<void> {
    const offsets = this.#consumed(which)
    if (offsets.length === 0) return
    const ended = this.#positions.noteCommitting(offsets)
    try {
      // The application has not named them, so a topic deleted meanwhile must not make this fail.
      await this.#target.commit(offsets, { withoutDeleted: true })
    } finally {
      ended()
    }
  }

  /** Starts {@link OffsetCommitter.commitConsumed} for a caller that cannot wait. */
  startCommitConsumed(): void {
    const before = this.#started
    const started = this.commitConsumed().then(() => before ?? undefined)
    // `settle` reports the failure.
    started.catch(() => undefined)
    this.#started = started
  }

  /**
   * Waits for what {@link OffsetCommitter.startCommitConsumed} has started, and throws its error.
   */
  async settle(): Promise<void> {
    const started = this.#started
    this.#started = null
    await started
  }

  /**
   * Milliseconds until there is something to commit automatically, at least 1; Infinity for never.
   */
  msUntilDue(): number {
    if (!this.#isAutomatic || !this.#hasUncommitted()) return Infinity
    return Math.max(1, this.#dueMs - this.#clock.monotonic())
  }

  #lastMove(partition: TopicPartition): number {
    return this.#subscription.assigned.get(topicPartitionKey(partition))?.lastMove ?? 0
  }

  #consumed({ onlyUncommitted }: { readonly onlyUncommitted: boolean }): OffsetCommit[] {
    const offsets: OffsetCommit[] = []
    for (const state of this.#subscription.assigned.values()) {
      const offset = this.#consumedOf(state)
      if (offset === null || (onlyUncommitted && !this.#isUncommitted(state, offset))) continue
      offsets.push(commitOf(state, offset))
    }
    return offsets
  }

  /**
   * Whether any consumed offset is not committed. Every waiting poll checks this, and until the next
   * commit the same partition usually has the answer.
   */
  #hasUncommitted(): boolean {
    const { assigned } = this.#subscription
    const found = this.#uncommittedKey === null ? undefined : assigned.get(this.#uncommittedKey)
    if (found !== undefined && this.#isUncommitted(found, this.#consumedOf(found))) return true
    for (const state of assigned.values()) {
      if (!this.#isUncommitted(state, this.#consumedOf(state))) continue
      this.#uncommittedKey = state.key
      return true
    }
    this.#uncommittedKey = null
    return false
  }

  /** The offset up to which the application has consumed a partition; `null` if unknown. */
  #consumedOf(state: AssignedPartition): number | null {
    // An offset of a deleted log says nothing about a new one of the same name.
    if (this.#positions.source(state) === null) return null
    const position = state.positionBefore(this.#subscription.poll)
    return position === null ? null : this.#heldBack(state, position)
  }

  #isUncommitted(state: AssignedPartition, offset: number | null): boolean {
    if (offset === null) return false
    // A position at which nothing has been read yet may be past the log's end.
    if (state.source === null || offset > state.source.logEndOffset) return false
    return !this.#positions.isCommitted(state, offset)
  }

  #heldBack(state: AssignedPartition, position: number): number {
    let offset = position
    for (const { held } of this.#holders) {
      if (held?.topic !== state.topic || held.partition !== state.partition) continue
      if (this.#positions.isBeingCommitted(state, held.offset)) continue
      offset = Math.min(offset, held.offset)
    }
    return offset
  }
}

function commitOf(state: AssignedPartition, offset: number): OffsetCommit {
  const { topic, partition } = state
  return { topic, partition, offset, leaderEpoch: state.epochBefore(offset) }
}
