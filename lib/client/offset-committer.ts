import type { CommitOptions, OffsetCommit } from '../broker/offset-and-metadata.ts'
import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import type { Clock } from '../platform/clock.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import type { PositionResolver } from './position-resolver.ts'
import type { SubscriptionState } from './subscription-state.ts'

/** Somebody who has been handed a record and is not done with it. */
export interface RecordHolder {
  /** `null` while there is no such record. */
  readonly held: (TopicPartition & { readonly offset: number }) | null
  /** The record is not its concern any more: it is neither held back nor delivered again. */
  release(): void
}

/** Where offsets go. */
export interface CommitTarget {
  commit(offsets: readonly OffsetCommit[], options?: CommitOptions): Promise<void>
}

/**
 * Commits what the application is done with: of its own accord when asked, and by itself at the
 * interval. There is no timer: an interval that is over is noticed by the next poll. All calls may
 * overlap; offsets are stored in the order of the calls.
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
  /** Key of the partition that {@link OffsetCommitter.#hasUncommitted} has found last; `null` for none. */
  #uncommittedKey: string | null = null
  /** A commit that nobody has waited for yet. */
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

  /** Whether there are commits that nobody asks for. */
  get isAutomatic(): boolean {
    return this.#isAutomatic
  }

  /** Whether it is time for an automatic commit. @param nowMs by the monotonic clock */
  isDue(nowMs: number): boolean {
    return this.#isAutomatic && nowMs >= this.#dueMs
  }

  /**
   * The application has committed these offsets. A record below them that somebody holds is done: it must
   * not come again, nor may an automatic commit go back to it. Where the application has gone back since it
   * asked for the commit, it means to have the record again.
   *
   * @param moveCounts what {@link OffsetCommitter.ensurePresent} has given before
   */
  noteCommitted(offsets: readonly OffsetCommit[], moveCounts: readonly number[]): void {
    for (const holder of this.#holders) {
      const { held } = holder
      if (held === null) continue
      const isDone = offsets.some(
        (each, slot) =>
          each.partition === held.partition &&
          each.topic === held.topic &&
          held.offset < each.offset &&
          this.#moveCount(each) === moveCounts[slot],
      )
      if (isDone) holder.release()
    }
  }

  /**
   * Commits the positions of all partitions, less what somebody still holds or has yet to be handed, and
   * less those whose topic is deleted meanwhile: the caller has named none, and needs the others stored.
   */
  async commitAll(): Promise<void> {
    const offsets = this.#consumed()
    if (offsets.length > 0) await this.#target.commit(offsets, { withoutDeleted: true })
  }

  /**
   * To be asked before offsets are committed that the application names.
   *
   * @returns how often each of the partitions has moved by now
   * @throws {@link UnknownTopicOrPartitionError} when they are of a log that is gone: they say nothing
   * about a new one of the same name
   */
  ensurePresent(offsets: readonly OffsetCommit[]): number[] {
    return offsets.map((each) => {
      const topicId = this.#subscription.seenTopicId(each)
      if (topicId !== null) this.#positions.ensureIsOf(each, topicId)
      return this.#moveCount(each)
    })
  }

  /** Commits automatically if it is time. @throws what an automatic commit before it has failed with */
  async commitIfDue(): Promise<void> {
    await this.settle()
    if (this.isDue(this.#clock.monotonic())) await this.commitConsumed()
  }

  /** Commits automatically what is new, whether or not it is time: partitions are about to go. */
  async commitConsumed(): Promise<void> {
    if (!this.#isAutomatic) return
    this.#dueMs = this.#clock.monotonic() + this.#intervalMs
    const offsets = this.#uncommitted()
    // Nobody has asked for it, so nobody is to hear that one of the topics was deleted meanwhile.
    if (offsets.length === 0) return
    const ended = this.#positions.noteCommitting(offsets)
    try {
      await this.#target.commit(offsets, { withoutDeleted: true })
    } finally {
      ended()
    }
  }

  /** Starts {@link OffsetCommitter.commitConsumed} for a caller that cannot wait. */
  startCommitConsumed(): void {
    const before = this.#started
    const started = this.commitConsumed().then(() => before ?? undefined)
    // The failure is for whoever settles.
    started.catch(() => undefined)
    this.#started = started
  }

  /** Waits for what {@link OffsetCommitter.startCommitConsumed} has started, and throws its error. */
  async settle(): Promise<void> {
    const started = this.#started
    this.#started = null
    await started
  }

  /** Milliseconds until there is something to commit automatically, at least 1; Infinity for never. */
  msUntilDue(): number {
    if (!this.#isAutomatic || !this.#hasUncommitted()) return Infinity
    return Math.max(1, this.#dueMs - this.#clock.monotonic())
  }

  #moveCount(partition: TopicPartition): number {
    return this.#subscription.assigned.get(topicPartitionKey(partition))?.moveCount ?? 0
  }

  #consumed(): OffsetCommit[] {
    const offsets: OffsetCommit[] = []
    for (const state of this.#subscription.assigned.values()) {
      const offset = this.#consumedOf(state)
      if (offset !== null) offsets.push(commitOf(state, offset))
    }
    return offsets
  }

  #uncommitted(): OffsetCommit[] {
    const offsets: OffsetCommit[] = []
    for (const state of this.#subscription.assigned.values()) {
      const offset = this.#consumedOf(state)
      if (this.#isUncommitted(state, offset)) offsets.push(commitOf(state, offset))
    }
    return offsets
  }

  /**
   * Whether {@link OffsetCommitter.#uncommitted} is not empty. Each poll that waits asks, and until the next
   * commit the answer is most often found where it was found before.
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

  /** How far the application has come in a partition; `null` where nobody can tell. */
  #consumedOf(state: AssignedPartition): number | null {
    // An offset of a log that is gone says nothing about a new one of the same name.
    if (this.#positions.source(state) === null) return null
    const position = state.positionBefore(this.#subscription.poll)
    return position === null ? null : this.#heldBack(state, position)
  }

  #isUncommitted(state: AssignedPartition, offset: number | null): offset is number {
    if (offset === null) return false
    // A position that nothing has been read at yet may be beyond the log.
    if (state.source === null || offset > state.source.logEndOffset) return false
    return !this.#positions.isCommitted(state, offset)
  }

  #heldBack(state: AssignedPartition, position: number): number {
    let offset = position
    for (const { held } of this.#holders) {
      if (held?.topic !== state.topic || held.partition !== state.partition) continue
      offset = Math.min(offset, held.offset)
    }
    return offset
  }
}

function commitOf(state: AssignedPartition, offset: number): OffsetCommit {
  const { topic, partition } = state
  return { topic, partition, offset, leaderEpoch: state.epochBefore(offset) }
}
