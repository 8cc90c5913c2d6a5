import type { Partition } from '../broker/partition.ts'
import { endsGoneBack } from '../storage/ends-gone-back.ts'
import type { AssignedPartition } from './assigned-partition.ts'

/** The partitions that a consumer has, as {@link SubscriptionState.assigned} gives them. */
type Assigned = ReadonlyMap<string, AssignedPartition>

/**
 * Which of the assigned partitions have to be looked at. One that has nothing is left to rest until something
 * happens to it: of a thousand, a poll would spend nearly all of its time on those.
 *
 * Nothing goes unnoticed: a partition rests only if it has been listened to since before it was looked at, and
 * has not told of a change. What no listener is told of, a log whose end has gone back, ends all rest. A listener
 * is called once, so that those who append to a partition that is to be looked at anyway have nobody to tell.
 */
export class PartitionWatch {
  /** Whether something has happened since the last {@link PartitionWatch.due} that asks for another look. */
  hasChanged = false
  /** Called when something happens to one of the partitions. */
  onChange: () => void = () => undefined
  readonly #mayRest: boolean
  readonly #watched: Map<AssignedPartition, WatchedPartition> = new Map()
  /** All that are due, and some that were. */
  #listed: WatchedPartition[] = []
  #assigned: Assigned | null = null
  #seenCount = endsGoneBack.count
  #isClosed = false

  /** @param mayRest whether partitions tell of all that happens, and one that has nothing may be passed over */
  constructor(mayRest: boolean) {
    this.#mayRest = mayRest
  }

  get mayRest(): boolean {
    return this.#mayRest && !this.#isClosed
  }

  /** Those that do not rest, in the order of their turns: the one first that has waited longest. */
  due(assigned: Assigned): readonly WatchedPartition[] {
    if (this.#assigned !== assigned) this.#follow(assigned)
    if (this.#seenCount !== endsGoneBack.count) {
      this.#seenCount = endsGoneBack.count
      for (const each of this.#watched.values()) this.#makeDue(each)
    }
    this.hasChanged = false
    this.#listed = this.#listed.filter((each) => {
      each.isListed = each.isDue
      return each.isDue
    })
    return this.#listed.sort(byTurn)
  }

  /** Stops listening, for good. */
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
    } else this.#makeDue(watched)
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

/** One of the partitions of a {@link PartitionWatch}. */
export class WatchedPartition {
  readonly state: AssignedPartition
  /** Place among those that are assigned. */
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

  /** From now on a change to its log is noticed, once. */
  listen(source: Partition): void {
    // Who is told of a reset in the middle of a look may close the consumer, or give the partition up.
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

  /** There is nothing in it: where nothing has happened since it was looked at, it need not be looked at again. */
  restIfUnchanged(): void {
    if (this.#stop !== null) this.rest()
    else this.#watch.hasChanged = true
  }

  /**
   * It is of no interest before somebody touches it, once it is settled where it begins. Who was told of a reset
   * just now may have resumed it, or moved it to one end.
   */
  restIfPaused(): void {
    if (this.state.isPaused && this.state.position !== null) this.rest()
  }

  /** It has nothing, and is listened to. */
  rest(): void {
    if (this.#watch.mayRest) this.isDue = false
  }
}

function byTurn(left: WatchedPartition, right: WatchedPartition): number {
  return left.state.lastRead - right.state.lastRead || left.slot - right.slot
}
