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
  /** Offset of the next record to hand out. */
  readonly position: number
  /** End of what can be read now, exclusive. */
  readonly endOffset: number
  /** `endOffset` less `position`, at least 0. It counts offsets, which may be more than records. */
  readonly lag: number
  /** The offset that the group has committed, `null` for none. */
  readonly committed: number | null
}

/** What {@link PartitionControls} ask of their consumer. */
export interface PartitionControlsOwner {
  /** Called after a partition has moved, or with `null` after another change. */
  onChange(moved: AssignedPartition | null): void
  /** @throws {@link ClosedError} when the consumer is closed, or is being closed and no listener asks */
  ensureOpen(): void
}

/**
 * What an application can see and change of the partitions it has: arguments are checked here. All
 * calls may be made at any time, and throw {@link IllegalStateError} for a partition that is not
 * assigned; nothing is changed then.
 */
export class PartitionControls {
  readonly #subscription: SubscriptionState
  readonly #positions: PositionResolver
  readonly #owner: PartitionControlsOwner
  /** How many calls have asked for another position. */
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

  /** Moves to one end when the position is needed next; all partitions when the list is empty. */
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
   * Moves to the first record that is at least as young, or to the end where there is none. What was
   * sought later has moved its partition for good.
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
    // One that was taken away meanwhile, or made anew, is an error, and none has moved then.
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

  /** {@link SubscriptionState.seenTopicId} */
  topicIdOf(partition: TopicPartition): string | null {
    return this.#subscription.seenTopicId(partition)
  }

  /** {@link PositionResolver.offsetWithinEpoch} */
  offsetWithinEpoch(consumed: OffsetCommit): number {
    return this.#positions.offsetWithinEpoch(consumed)
  }

  /** {@link AssignedPartition.epochBefore}; `null` for a partition that is not assigned. */
  epochBefore(partition: TopicPartition, offset: number): number | null {
    const state = this.#subscription.assigned.get(topicPartitionKey(partition))
    return state?.epochBefore(offset) ?? null
  }

  /** Stands for the time that a partition is assigned: another object once it was given away and back. */
  assignmentOf(partition: TopicPartition): object | null {
    return this.#subscription.assigned.get(topicPartitionKey(partition)) ?? null
  }

  /** @throws {@link ClosedError} as all calls of the consumer do */
  ensureOpen(): void {
    this.#owner.ensureOpen()
  }

  /** Stands for the partitions that are assigned: another object once they have changed. */
  get assigned(): object {
    return this.#subscription.assigned
  }

  /**
   * Goes back to an offset, as if what lies behind it had not been handed out, where the partition is
   * still assigned, and stands behind it.
   *
   * @param place.topicId of the topic that the offset is of: another of its name is left alone
   * @param place.leaderEpoch of the last record before the offset, as it was handed out
   * @param place.isReadOn whether what is left behind the offset comes in any case: where records behind it have
   * been deleted, `autoOffsetReset` may pass over others
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

  /** Stops or goes on handing out records of these partitions. */
  setPaused(partitions: readonly TopicPartition[], isPaused: boolean): void {
    const states = checkTopicPartitions(partitions).map((each) => this.#find(each))
    for (const state of states) state.isPaused = isPaused
    this.#owner.onChange(null)
  }

  /** The partitions that are paused, sorted. */
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
   * How far each partition is from its end, sorted, but for those that are not there any more.
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

  /** @param place.leaderEpoch of the record before it, where it is the end: what is cut off there is missed. */
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

  /** Takes note of a seek and of the topic that is there now: what it names is of its log. */
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
      `there is no partition ${state.key} any more`,
    )
  }
}
