import { compareTopicPartitions } from '../topic-partition.ts'
import type { TopicPartition } from '../topic-partition.ts'

/** A partition and its previous owner, `null` if it had none. */
export interface Piece extends TopicPartition {
  readonly keeper: Share | null
}

/** Which partitions may be moved: those a member did not have before, or all. */
export type Movable = 'added' | 'all'

/** A member and its partitions during balancing. */
export class Share {
  readonly memberId: string
  /** Its place among all members, sorted by id. */
  readonly place: number
  /** The topics it subscribes to. */
  readonly #topics: ReadonlySet<string>
  /** By topic, the partitions it has and had before, ascending; no list is empty. */
  readonly #kept: Map<string, Piece[]> = new Map()
  /** By topic, the partitions it has but did not have before, ascending; no list is empty. */
  readonly #added: Map<string, Piece[]> = new Map()
  #count = 0

  constructor(memberId: string, place: number, topics: ReadonlySet<string>) {
    this.memberId = memberId
    this.place = place
    this.#topics = topics
  }

  /** Number of partitions it has, kept and added. */
  get count(): number {
    return this.#count
  }

  give(piece: Piece): void {
    this.#count++
    const lists = this.#listsOf(piece)
    const pieces = lists.get(piece.topic)
    if (pieces === undefined) lists.set(piece.topic, [piece])
    else pieces.splice(slotFor(pieces, piece.partition), 0, piece)
  }

  /** The topics of which it has a movable partition; a topic may appear twice. */
  *movableTopics(movable: Movable): Generator<string> {
    yield* this.#added.keys()
    if (movable === 'all') yield* this.#kept.keys()
  }

  /** Moves the cheapest partition: one it did not have before, otherwise the last it kept. */
  handOver(to: Share, movable: Movable): void {
    const piece = this.#chooseAdded(to) ?? (movable === 'all' ? this.#chooseKept(to) : null)
    // Every step of a chain follows a topic that the giver has and the taker subscribes to.
    if (piece === null) throw new Error(`'${this.memberId}' has no partition for '${to.memberId}'`)
    this.#take(piece)
    to.give(piece)
  }

  /** All its partitions, sorted. */
  contents(): TopicPartition[] {
    return [...this.#kept.values(), ...this.#added.values()]
      .flat()
      .map(({ topic, partition }) => ({ topic, partition }))
      .sort(compareTopicPartitions)
  }

  /** Prefers a partition that the taker had before; otherwise the last one. */
  #chooseAdded(to: Share): Piece | null {
    let best: Piece | null = null
    for (const [topic, pieces] of this.#added) {
      if (!to.#topics.has(topic)) continue
      for (const piece of pieces) {
        if (best === null || isBetter(piece, best, to)) best = piece
      }
    }
    return best
  }

  #chooseKept(to: Share): Piece | null {
    let best: Piece | null = null
    for (const [topic, pieces] of this.#kept) {
      const last = pieces.at(-1)
      if (last === undefined || !to.#topics.has(topic)) continue
      if (best === null || compareTopicPartitions(last, best) > 0) best = last
    }
    return best
  }

  #take(piece: Piece): void {
    this.#count--
    const lists = this.#listsOf(piece)
    const pieces = lists.get(piece.topic)
    if (pieces === undefined) return
    pieces.splice(pieces.lastIndexOf(piece), 1)
    if (pieces.length === 0) lists.delete(piece.topic)
  }

  #listsOf(piece: Piece): Map<string, Piece[]> {
    return piece.keeper === this ? this.#kept : this.#added
  }
}

function isBetter(piece: Piece, other: Piece, to: Share): boolean {
  const returns = piece.keeper === to
  if (returns !== (other.keeper === to)) return returns
  return compareTopicPartitions(piece, other) > 0
}

/** Returns where to insert a partition among ascending ones. */
function slotFor(pieces: readonly Piece[], partition: number): number {
  let low = 0
  let high = pieces.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((pieces[middle]?.partition ?? Infinity) < partition) low = middle + 1
    else high = middle
  }
  return low
}
