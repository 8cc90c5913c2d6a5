import type { Partition } from '../broker/partition.ts'
import { endsGoneBack } from '../storage/ends-gone-back.ts'
import type { AssignedPartition } from './assigned-partition.ts'

/** The assigned partitions, as returned by {@link SubscriptionState.assigned}. */
type Assigned = ReadonlyMap<string, AssignedPartition>

/**
 * Tracks which of the assigned partitions have to be looked at. A partition without data rests
 * until something happens to it: with a thousand partitions, a poll would otherwise spend nearly
 * all its time on those.
 *
 * No change goes unnoticed. A partition rests only if its listener was registered before it was
 * looked at, and has not been called since. The one change that listeners are not called for, a log
 * whose end has moved back, ends all rest. A listener is called once, so appends to a partition
 * that is due anyway have no listener to call.
 */
export class PartitionWatch {
  /**
   * Whether something has happened since the last {@link PartitionWatch.due} that requires another
   * look.
   */
  hasChanged = false
  /** Called when something happens to one of the partitions. */
  onChange: () => void = () => undefined
  readonly #mayRest: boolean
  readonly #watched: Map<AssignedPartition, WatchedPartition> = new Map()
  /** All partitions that are due, and some that were. */
  #listed: WatchedPartition[] = []
  #assigned: Assigned | null = null
  /** Whether the position of a partition was forgotten since the last look. */
  #hasForgotten = false
  #seenCount = endsGoneBack.count
  #isClosed = false

  /**
   * @param mayRest whether partitions notify of all changes, and those without data may be skipped
   */
  constructor(mayRest: boolean) {
    this.#mayRest = mayRest
  }

  get mayRest(): boolean {
    return this.#mayRest && !this.#isClosed
  }

  /** Whether a partition may have no position: it was added, or moved to one end of its log. */
  mayLackPosition(assigned: Assigned): boolean {
    return this.#hasForgotten || this.#assigned !== assigned
  }

  /** Called before all partitions without a position get one, without a look at them. */
  notePlaced(assigned: Assigned): void {
    if (this.#assigned !== assigned) this.#follow(assigned)
    this.#hasForgotten = false
  }

  /** Called when a partition could not get one. */
  noteUnplaced(): void {
    this.#hasForgotten = true
  }

  /** The partitions that are due, longest-waiting first. */
  due(assigned: Assigned): readonly WatchedPartition[] {
    if (this.#assigned !== assigned) this.#follow(assigned)
    if (this.#seenCount !== endsGoneBack.count) {
      this.#seenCount = endsGoneBack.count
      for (const each of this.#watched.values()) this.#makeDue(each)
    }
    this.hasChanged = false
    this.#hasForgotten = false
    this.#listed = this.#listed.filter((each) => {
      each.isListed = each.isDue
      return each.isDue
    })
    return this.#listed.sort(byTurn)
  }

  /** Stops listening permanently. */
  close(): void {
    this.#isClosed = true
    for (const each of this.#watched.values()) each.stopListening()
    this.#watched.clear()
    this.#listed = []
  }

  #follow(assigned: Assigned): void {
    this.#assigned = assigned
    let slot = 0
    for (const state of assigned.values()) {
      const watched = this.#watched.get(state) ?? this.#begin(state)
      watched.slot = slot
      slot += 1
    }
  }

  #begin(state: AssignedPartition): WatchedPartition {
    const watched = new WatchedPartition(state, this, () => {
      this.#noteChange(watched)
    })
    state.onTouched = watched.onChange
    this.#watched.set(state, watched)
    this.#makeDue(watched)
    return watched
  }

  #noteChange(watched: WatchedPartition): void {
    watched.stopListening()
    if (watched.state.isGivenUp) {
      watched.isDue = false
      this.#watched.delete(watched.state)
    } else {
      this.#makeDue(watched)
      if (watched.state.position === null) this.#hasForgotten = true
    }
    this.hasChanged = true
    this.onChange()
  }

  #makeDue(watched: WatchedPartition): void {
    watched.isDue = true
    if (watched.isListed) return
    watched.isListed = true
    this.#listed.push(watched)
  }
}

/** One partition of a {@link PartitionWatch}. */
export class WatchedPartition {
  readonly state: AssignedPartition
  /** Index among the assigned partitions. */
  slot = 0
  isDue = false
  isListed = false
  readonly onChange: () => void
  readonly #watch: PartitionWatch
  #source: Partition | null = null
  #stop: (() => void) | null = null

  constructor(state: AssignedPartition, watch: PartitionWatch, onChange: () => void) {
    this.state = state
    this.#watch = watch
    this.onChange = onChange
  }

  /** Notices the next change to its log, once. */
  listen(source: Partition): void {
    // A callback for a reset during a look may close the consumer, or give up the partition.
    if (!this.#watch.mayRest || this.state.isGivenUp) return
    if (this.#stop !== null && this.#source === source) return
    this.stopListening()
    this.#source = source
    this.#stop = source.onChange(this.onChange)
  }

  stopListening(): void {
    this.#stop?.()
    this.#stop = null
    this.#source = null
  }

  /**
   * Called when the partition has no data: it rests unless something has happened since it was
   * looked at.
   */
  restIfUnchanged(): void {
    if (this.#stop !== null) this.rest()
    else this.#watch.hasChanged = true
  }

  /**
   * Lets a paused partition rest until it is touched, provided its position is set. A callback for
   * a reset may just have resumed it, or moved it to one end.
   */
  restIfPaused(): void {
    if (this.state.isPaused && this.state.position !== null) this.rest()
  }

  /** Called when the partition has no data and its listener is registered. */
  rest(): void {
    if (this.#watch.mayRest) this.isDue = false
  }
}

function byTurn(left: WatchedPartition, right: WatchedPartition): number {
  return left.state.lastRead - right.state.lastRead || left.slot - right.slot
}
