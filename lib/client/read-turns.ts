import type { Partition } from '../broker/partition.ts'
import { UnknownTopicOrPartitionError } from '../errors.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import type { PartitionWatch, WatchedPartition } from './partition-watch.ts'
import type { PositionResolver } from './position-resolver.ts'
import type { SubscriptionState } from './subscription-state.ts'

/** A partition whose turn it is to be read. */
export interface ReadTurn {
  readonly watched: WatchedPartition
  readonly state: AssignedPartition
  readonly partition: Partition
  /** Its position. */
  readonly offset: number
  /** Its high watermark before the read. */
  readonly end: number
}

/** What one look at the partitions has found. */
export interface Look {
  /** The one first that has waited longest. */
  readonly turns: readonly ReadTurn[]
  /** How many of them have something to be read. */
  readonly withDataCount: number
  /** Whether others were not looked at. They may have something, too. */
  readonly isPart: boolean
}

/** Finds the partitions that are to be read next among those that are assigned. */
export class ReadTurns {
  readonly #subscription: SubscriptionState
  readonly #positions: PositionResolver
  readonly #watch: PartitionWatch

  constructor(subscription: SubscriptionState, positions: PositionResolver, watch: PartitionWatch) {
    this.#subscription = subscription
    this.#positions = positions
    this.#watch = watch
  }

  /**
   * Looks for partitions of which nothing is buffered.
   *
   * @param limits `onlyWithData` leaves out those that have nothing to be read by now. When
   * `mostCount` have something, the others are not looked at: of a thousand, most would be in vain.
   * @throws what {@link PositionResolver.resolve} throws
   * @throws {@link UnknownTopicOrPartitionError} when a partition that the application has assigned
   * is gone
   */
  look(
    limits: { readonly onlyWithData: boolean; readonly mostCount: number },
    isBuffered: (state: AssignedPartition) => boolean,
  ): Look {
    const turns: ReadTurn[] = []
    let withDataCount = 0
    let isPart = false
    for (const watched of this.#watch.due(this.#subscription.assigned)) {
      const { state } = watched
      // By who was told of a reset of another one just now.
      if (state.isGivenUp) continue
      if (state.isPaused) {
        // Where it begins must not depend on when it is resumed.
        const source = state.position === null ? this.#positions.source(state) : null
        if (source !== null && !this.isGoing(source)) this.#positions.resolve(state, source)
        watched.restIfPaused()
        continue
      }
      // Where the end is that somebody begins at depends on when it is asked for.
      if (withDataCount >= limits.mostCount && state.position !== null) {
        isPart = true
        continue
      }
      const partition = this.#positions.source(state)
      if (isBuffered(state)) continue
      if (partition === null) this.#ensureMayBeGone(state)
      if (partition === null || this.isGoing(partition)) continue
      const offset = this.#positions.resolve(state, partition)
      const { highWatermark: end, logEndOffset } = partition
      const hasData = (offset < end && state.emptyUpTo !== end) || offset > logEndOffset
      if (hasData) withDataCount += 1
      else if (this.#rests(watched, partition, offset) || limits.onlyWithData) continue
      turns.push({ watched, state, partition, offset, end })
    }
    return { turns, withDataCount, isPart }
  }

  /** Whether a log is closed because its topic is deleted: the group is about to take it away. */
  isGoing(partition: Partition): boolean {
    return partition.isClosed && this.#subscription.isSubscribed
  }

  /** Lets a partition rest that has nothing, where that is certain without waiting for a read. */
  #rests(watched: WatchedPartition, partition: Partition, offset: number): boolean {
    if (!this.#watch.mayRest) return false
    watched.listen(partition)
    try {
      if (partition.readBatchesNow(offset, 1)?.length !== 0) return false
    } catch {
      // It is read in its turn, and then there is somebody to tell.
      return false
    }
    watched.rest()
    return true
  }

  /** A group takes partitions away when their topic is gone; who chose them has to be told. */
  #ensureMayBeGone({ topic, partition, key }: AssignedPartition): void {
    if (this.#subscription.isSubscribed) return
    throw new UnknownTopicOrPartitionError(
      topic,
      partition,
      `partition ${key} was assigned to this consumer and is gone: assign others`,
    )
  }
}
