import type { Partition } from '../broker/partition.ts'
import { UnknownTopicOrPartitionError } from '../errors.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import type { LogSight } from './fetch-buffer.ts'
import type { PartitionWatch, WatchedPartition } from './partition-watch.ts'
import type { PositionResolver } from './position-resolver.ts'
import type { SubscriptionState } from './subscription-state.ts'

/** A partition whose turn it is to be read. */
export interface ReadTurn extends LogSight {
  readonly watched: WatchedPartition
  readonly state: AssignedPartition
  readonly partition: Partition
  /** Its position. */
  readonly offset: number
  /** Its high watermark before the read. */
  readonly end: number
}

/** The result of one look at the partitions. */
export interface Look {
  /** Longest-waiting first. */
  readonly turns: readonly ReadTurn[]
  /** How many of them have data to read. */
  readonly withDataCount: number
  /** Whether others, which may have data too, have no position yet or were not looked at. */
  readonly isPart: boolean
}

/** Selects the assigned partitions to read next. */
export class ReadTurns {
  readonly #subscription: SubscriptionState
  readonly #positions: PositionResolver
  readonly #watch: PartitionWatch
  /** Partitions that get no position yet: why what it depends on could not be looked for. */
  readonly #unseen: Map<AssignedPartition, unknown> = new Map()

  constructor(subscription: SubscriptionState, positions: PositionResolver, watch: PartitionWatch) {
    this.#subscription = subscription
    this.#positions = positions
    this.#watch = watch
  }

  /**
   * Looks for partitions that have nothing buffered.
   *
   * @param limits `onlyWithData` leaves out partitions that have no data now. Once `mostCount` have
   * data, the others are not looked at: with a thousand partitions, most looks would be wasted.
   * @throws what {@link PositionResolver.resolve} throws
   * @throws {@link UnknownTopicOrPartitionError} when a partition that the application has assigned
   * no longer exists
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
      // A callback for the reset of another partition may have given it up.
      if (state.isGivenUp || this.#unseen.has(state)) continue
      if (state.isPaused) {
        // The start position must not depend on when it is resumed.
        const source = state.position === null ? this.#positions.source(state) : null
        if (source !== null && !this.#place(state, source)) isPart = true
        watched.restIfPaused()
        continue
      }
      // A position without a value is resolved now, because the end changes with time.
      if (withDataCount >= limits.mostCount && state.position !== null) {
        isPart = true
        continue
      }
      const partition = this.#positions.source(state)
      if (isBuffered(state)) continue
      if (partition === null) this.#ensureMayBeGone(state)
      if (partition === null || this.isGoing(partition)) continue
      const offset = this.#positions.resolveInPoll(state, partition)
      if (offset === null) {
        this.#watch.noteUnplaced()
        isPart = true
        continue
      }
      const { highWatermark: end, logEndOffset } = partition
      const hasData = (offset < end && state.emptyUpTo !== end) || offset > logEndOffset
      if (hasData) withDataCount += 1
      else if (this.#rests(watched, partition, offset) || limits.onlyWithData) continue
      const { damage, reader } = partition.log
      const { generation } = reader
      turns.push({ watched, state, partition, offset, end, damage, generation })
    }
    // Once nothing else is known that can be returned.
    if (withDataCount === 0 && !limits.onlyWithData) this.#reportUnseen()
    return { turns, withDataCount, isPart }
  }

  /**
   * Must be awaited before a look if another process appends; see
   * {@link PositionResolver.lookForEnd} and {@link PositionResolver.lookForCommits}. Never rejects:
   * a partition that cannot be looked at is left out of the next look, which reports it.
   *
   * @returns `null` if that process need not be looked at
   */
  lookForEnds(): Promise<unknown> | null {
    if (!this.#positions.readOnly) return null
    this.#unseen.clear()
    const looks: Promise<void>[] = []
    let isUnplaced = false
    for (const state of this.#subscription.assigned.values()) {
      const looking = this.#positions.lookForEnd(state)
      if (state.position === null) isUnplaced = true
      if (looking === null) continue
      const noting = looking.catch((error: unknown) => {
        this.#unseen.set(state, error)
      })
      looks.push(noting)
    }
    const ends = looks.length === 0 ? null : Promise.all(looks)
    if (!isUnplaced) return ends
    return ends === null ? this.#lookForCommits() : ends.then(() => this.#lookForCommits())
  }

  /** One look serves all partitions. @returns `null` if none needs it */
  #lookForCommits(): Promise<void> | null {
    const lacking = [...this.#subscription.assigned.values()].filter(
      (state) => !this.#unseen.has(state) && this.#positions.lacksCommit(state),
    )
    if (lacking.length === 0) return null
    return this.#positions.lookForCommits(lacking).catch((error: unknown) => {
      for (const state of lacking) this.#unseen.set(state, error)
    })
  }

  /** Whether {@link ReadTurns.place} may find a partition without a position. */
  get mayLackPosition(): boolean {
    return this.#unseen.size > 0 || this.#watch.mayLackPosition(this.#subscription.assigned)
  }

  /**
   * Finds the positions of partitions that have none, because the end changes with time.
   *
   * @throws what a callback for a reset throws, at once; what else {@link PositionResolver.resolve}
   * throws, after it has tried all. The next call will try again.
   */
  place(): void {
    const { assigned } = this.#subscription
    const failures: unknown[] = []
    // First, because a callback for a reset may move a partition to an end, or assign others.
    this.#watch.notePlaced(assigned)
    for (const state of assigned.values()) {
      if (state.position !== null || state.isGivenUp || this.#unseen.has(state)) continue
      const source = this.#positions.source(state)
      try {
        if (source !== null) this.#place(state, source)
      } catch (error) {
        this.#watch.noteUnplaced()
        // A callback that threw is not called again: the others have their turn in the next poll.
        if (isPlaced(state)) throw error
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }

  #reportUnseen(): void {
    // The application goes on without a partition that it has paused, or given up meanwhile.
    for (const [state, error] of this.#unseen) if (!state.isPaused && !state.isGivenUp) throw error
  }

  /** @returns whether it has a position now, or needs none */
  #place(state: AssignedPartition, source: Partition): boolean {
    if (this.isGoing(source) || this.#positions.resolveInPoll(state, source) !== null) return true
    this.#watch.noteUnplaced()
    return false
  }

  /** Whether a log is closed because its topic is deleted: the group is about to revoke it. */
  isGoing(partition: Partition): boolean {
    return partition.isClosed && this.#subscription.isSubscribed
  }

  /** Lets a partition without data rest, if that can be determined without waiting for a read. */
  #rests(watched: WatchedPartition, partition: Partition, offset: number): boolean {
    if (!this.#watch.mayRest) return false
    watched.listen(partition)
    try {
      if (partition.readBatchesNow(offset, 1)?.length !== 0) return false
    } catch {
      // It is read in its turn, where the error can be reported.
      return false
    }
    watched.rest()
    return true
  }

  /**
   * A group revokes partitions of a deleted topic; an application that assigned them itself gets an
   * error.
   */
  #ensureMayBeGone({ topic, partition, key }: AssignedPartition): void {
    if (this.#subscription.isSubscribed) return
    throw new UnknownTopicOrPartitionError(
      topic,
      partition,
      `partition ${key} is assigned to this consumer but no longer exists: assign other partitions`,
    )
  }
}

/** Whether a partition has a position, or is to start at one end. */
function isPlaced({ position, reset }: AssignedPartition): boolean {
  return position !== null || reset !== null
}
