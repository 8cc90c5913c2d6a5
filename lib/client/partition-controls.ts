import type { OffsetCommit } from '../broker/offset-and-metadata.ts'
import type { Partition } from '../broker/partition.ts'
import {
  compareTopicPartitions,
  topicPartitionKey,
  type TopicPartition,
} from '../broker/topic-partition.ts'
import { checkWholeNumber } from '../checks.ts'
import { UnknownTopicOrPartitionError } from '../errors.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import { checkTopicPartition, checkTopicPartitions } from './consumer-arguments.ts'
import type { PositionResolver } from './position-resolver.ts'
import type { SubscriptionState } from './subscription-state.ts'
import { findAllByTimestamp } from './timestamp-searches.ts'

/** How far a consumer is from the end of one of its partitions. */
export interface Lag extends TopicPartition {
  /** Offset of the next record to return. */
  readonly position: number
  /** End offset of the records that can be read now, exclusive. */
  readonly endOffset: number
  /**
   * `endOffset` minus `position`, at least 0. It counts offsets, which may be more than records.
   */
  readonly lag: number
  /** The offset that the group has committed, `null` for none. */
  readonly committed: number | null
}

/** What {@link PartitionControls} need from their consumer. */
export interface PartitionControlsOwner {
  /** Called with a partition after its position has moved, or with `null` after another change. */
  onChange(moved: AssignedPartition | null): void
  /**
   * @throws {@link ClosedError} when the consumer is closed, or is closing and no listener is
   * running
   */
  ensureOpen(): void
  isClosing(): boolean
  isOfListener(error: object): boolean
  readonly fetchMaxWaitMs: number
}

/**
 * What an application can read and change on its assigned partitions. Arguments are checked here.
 * All calls may be made at any time. For a partition that is not assigned they throw
 * {@link IllegalStateError} and change nothing.
 */
export class PartitionControls {
  readonly #subscription: SubscriptionState
  readonly #positions: PositionResolver
  readonly #owner: PartitionControlsOwner
  /** Number of seeks so far. */
  #seekCount = 0

  constructor(
    subscription: SubscriptionState,
    positions: PositionResolver,
    owner: PartitionControlsOwner,
  ) {
    this.#subscription = subscription
    this.#positions = positions
    this.#owner = owner
  }

  /** Moves to an offset. @throws RangeError when it is negative */
  seek(partition: TopicPartition, offset: number): void {
    const state = this.#find(partition)
    const checked = checkWholeNumber('offset', offset, 0, Number.MAX_SAFE_INTEGER)
    this.#seekCount += 1
    this.#move(state, { offset: checked }, this.#seekCount)
  }

  /**
   * Moves to one end of the log, determined when the position is next needed. An empty list means
   * all partitions.
   */
  seekTo(partitions: readonly TopicPartition[], end: 'earliest' | 'latest'): void {
    const states = this.#select(partitions)
    this.#seekCount += 1
    for (const state of states) {
      this.#note(state, this.#seekCount)
      state.seekTo(end)
      this.#owner.onChange(state)
    }
  }

  /**
   * Moves to the first record whose timestamp is at least `timestamp`, or to the end if there is
   * none. A partition that a later seek has moved stays where that seek has put it.
   */
  async seekToTimestamp(partitions: readonly TopicPartition[], timestamp: number): Promise<void> {
    checkWholeNumber('timestamp', timestamp, 0, Number.MAX_SAFE_INTEGER)
    const states = checkTopicPartitions(partitions).map((each) => this.#find(each))
    this.#seekCount += 1
    const seek = this.#seekCount
    const places = states.map((state) => ({ source: this.#sourceOf(state), timestamp }))
    const topicIds = states.map(({ topicId }) => topicId)
    const searches = await findAllByTimestamp(places)
    this.#owner.ensureOpen()
    // A partition that was revoked, or whose topic was created again, meanwhile is an error: then
    // none moves.
    const moves = searches.map(({ found, endOffset, endEpoch }, slot) => {
      const state = states[slot] as AssignedPartition
      const current = this.#find(state)
      const topicId = topicIds[slot] ?? null
      if (topicId !== null) this.#positions.ensureIsOf(current, topicId)
      const end = { offset: endOffset, leaderEpoch: endEpoch }
      return { current, place: found === null ? end : { offset: found.offset } }
    })
    for (const { current, place } of moves) {
      if (current.lastSeek < seek) this.#move(current, place, seek)
    }
  }

  /** See {@link SubscriptionState.seenTopicId}. */
  topicIdOf(partition: TopicPartition): string | null {
    return this.#subscription.seenTopicId(partition)
  }

  /** See {@link PositionResolver.offsetWithinEpoch}. */
  offsetWithinEpoch(consumed: OffsetCommit): number {
    return this.#positions.offsetWithinEpoch(consumed)
  }

  /** See {@link AssignedPartition.epochBefore}; `null` for a partition that is not assigned. */
  epochBefore(partition: TopicPartition, offset: number): number | null {
    const state = this.#subscription.assigned.get(topicPartitionKey(partition))
    return state?.epochBefore(offset) ?? null
  }

  /**
   * Offset of the next record to return, `null` if it is not known yet or the partition is not
   * assigned. Unlike {@link PartitionControls.position} it looks nothing up.
   */
  returnedUpTo(partition: TopicPartition): number | null {
    return this.#subscription.assigned.get(topicPartitionKey(partition))?.position ?? null
  }

  /**
   * Identifies one assignment of a partition: a different object after the partition was given up
   * and assigned again.
   */
  assignmentOf(partition: TopicPartition): object | null {
    return this.#subscription.assigned.get(topicPartitionKey(partition)) ?? null
  }

  /** Whether a group assigns the partitions. */
  get isSubscribed(): boolean {
    return this.#subscription.isSubscribed
  }

  /** Whether the consumer is being closed or is closed. */
  get isClosing(): boolean {
    return this.#owner.isClosing()
  }

  /** Whether a poll rejects with this error because a rebalance listener has failed. */
  isOfListener(error: object): boolean {
    return this.#owner.isOfListener(error)
  }

  /** How long a poll without `maxWaitMs` waits, milliseconds. */
  get maxWaitMs(): number {
    return this.#owner.fetchMaxWaitMs
  }

  /** @throws {@link ClosedError} as all calls of the consumer do */
  ensureOpen(): void {
    this.#owner.ensureOpen()
  }

  /** Identifies the set of assigned partitions: a different object once they have changed. */
  get assigned(): object {
    return this.#subscription.assigned
  }

  /**
   * Moves back to an offset, as if the records from there on had not been returned. Does nothing
   * unless the partition is still assigned and its position is after the offset.
   *
   * @param place.topicId id of the topic that the offset belongs to: another topic of the same name
   * is left alone
   * @param place.leaderEpoch of the last record before the offset, as it was returned
   * @param place.isReadOn whether all records left after the offset must be read: if records after
   * it were deleted, `autoOffsetReset` might skip others
   */
  goBack(
    partition: TopicPartition,
    place: {
      readonly offset: number
      readonly topicId: string | null
      readonly leaderEpoch: number | null
      readonly isReadOn?: boolean
    },
  ): void {
    const state = this.#subscription.assigned.get(topicPartitionKey(partition))
    if (state === undefined) return
    const source = this.#positions.source(state)
    const startOffset = place.isReadOn === true ? (source?.logStartOffset ?? 0) : 0
    const offset = Math.max(place.offset, startOffset)
    if (state.topicId !== place.topicId || state.position === null || state.position <= offset)
      return
    state.resume(offset, offset > place.offset ? null : place.leaderEpoch)
    this.#owner.onChange(state)
  }

  /** Stops or resumes returning records of these partitions. */
  setPaused(partitions: readonly TopicPartition[], isPaused: boolean): void {
    const states = checkTopicPartitions(partitions).map((each) => this.#find(each))
    for (const state of states) state.isPaused = isPaused
    this.#owner.onChange(null)
  }

  /** The paused partitions, sorted. */
  paused(): TopicPartition[] {
    return [...this.#subscription.assigned.values()]
      .filter((state) => state.isPaused)
      .map((state) => state.toTopicPartition())
      .sort(compareTopicPartitions)
  }

  /** Offset of the next record. @throws as {@link PositionResolver.resolve} */
  position(partition: TopicPartition): number {
    const state = this.#find(partition)
    return this.#positions.resolve(state, this.#sourceOf(state))
  }

  /**
   * How far each partition is from its end, sorted. Partitions that no longer exist are left out.
   *
   * @throws as {@link PositionResolver.resolve}
   */
  lag(): Lag[] {
    return this.#subscription.assignment().flatMap((each): Lag[] => {
      const state = this.#find(each)
      const source = this.#positions.source(state)
      if (source === null) return []
      const position = this.#positions.resolve(state, source)
      const endOffset = source.highWatermark
      const lag = Math.max(0, endOffset - position)
      const committed = this.#positions.committed(each)?.offset ?? null
      return [{ ...each, position, endOffset, lag, committed }]
    })
  }

  #find(partition: TopicPartition): AssignedPartition {
    return this.#subscription.find(checkTopicPartition(partition))
  }

  /**
   * @param place.leaderEpoch of the record before the offset if that is the end, so that a
   * truncation there is noticed
   */
  #move(
    state: AssignedPartition,
    { offset, leaderEpoch = null }: { offset: number; leaderEpoch?: number | null },
    seek: number,
  ): void {
    this.#note(state, seek)
    state.seek(offset)
    state.leaderEpoch = leaderEpoch
    this.#owner.onChange(state)
  }

  /** Records a seek and the topic that exists now: the offset of the seek refers to its log. */
  #note(state: AssignedPartition, seek: number): void {
    this.#positions.source(state)
    state.seenTopicId = state.topicId
    state.lastSeek = seek
  }

  #select(partitions: readonly TopicPartition[]): AssignedPartition[] {
    const checked = checkTopicPartitions(partitions)
    if (checked.length === 0) return [...this.#subscription.assigned.values()]
    return checked.map((each) => this.#find(each))
  }

  #sourceOf(state: AssignedPartition): Partition {
    const source = this.#positions.source(state)
    if (source !== null) return source
    throw new UnknownTopicOrPartitionError(
      state.topic,
      state.partition,
      `partition ${state.key} no longer exists`,
    )
  }
}
