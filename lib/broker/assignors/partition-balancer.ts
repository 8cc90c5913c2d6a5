import { compareTopicPartitions } from '../topic-partition.ts'
import type { TopicPartition } from '../topic-partition.ts'
import type { GroupMember } from './assignor.ts'
import { sortedMemberIds } from './subscriptions.ts'
import type { SubscribedTopic } from './subscriptions.ts'

/** A partition with the member that had it before, `null` when nobody did. */
interface Piece extends TopicPartition {
  readonly keeper: Share | null
}

/** A member while partitions are being moved about. */
interface Share {
  readonly memberId: string
  /** Topics it may take partitions of. */
  readonly topics: ReadonlySet<string>
  /** By topic, those it has and had before, ascending; no list is empty. */
  readonly kept: Map<string, Piece[]>
  /** By topic, those it has but did not have before; no list is empty. */
  readonly added: Map<string, Piece[]>
  /** Number of partitions it has, kept and added. */
  count: number
}

/** One partition goes from `from` to `to`. */
interface Step {
  readonly from: Share
  readonly to: Share
}

/** Which partitions may be moved from the members that have them. */
type Movable = 'added' | 'all'

/**
 * Finds the most even assignment that subscriptions allow, starting from what members already have.
 *
 * The measure is the sum of the squared counts. It is smallest exactly when no chain of moves
 * A → B → … → Z exists in which each gives a partition to the next, who subscribes to its topic,
 * and A has at least two more than Z. So partitions are moved along such chains until there is
 * none: first only those nobody had before, then, if a member still has too many, the rest. When
 * the old assignment can be completed to an even one, nothing that was kept moves.
 *
 * Used once: {@link keep} and {@link addFree} for every partition, then {@link balance}.
 */
export class PartitionBalancer {
  readonly #shares: ReadonlyMap<string, Share>
  readonly #subscribers: ReadonlyMap<string, readonly Share[]>
  readonly #free: Piece[] = []

  constructor(members: readonly GroupMember[], topics: readonly SubscribedTopic[]) {
    const topicsOf = new Map(members.map(({ memberId, topics }) => [memberId, new Set(topics)]))
    this.#shares = new Map(
      sortedMemberIds(members).map((memberId) => [
        memberId,
        {
          memberId,
          topics: topicsOf.get(memberId) ?? new Set(),
          kept: new Map(),
          added: new Map(),
          count: 0,
        },
      ]),
    )
    this.#subscribers = new Map(
      topics.map(({ topic, subscribers }) => [topic, subscribers.map((id) => this.#share(id))]),
    )
  }

  /** Leaves a partition with the member that has it, unless the balance needs it elsewhere. */
  keep({ topic, partition }: TopicPartition, memberId: string): void {
    const keeper = this.#share(memberId)
    give(keeper, { topic, partition, keeper })
  }

  /** Adds a partition that nobody has. Those added first are dealt first. */
  addFree({ topic, partition }: TopicPartition): void {
    this.#free.push({ topic, partition, keeper: null })
  }

  /** Deals the free partitions, evens out, and returns what each member gets, sorted. */
  balance(): Map<string, TopicPartition[]> {
    for (const piece of this.#free) {
      const taker = lightest(this.#subscribersOf(piece.topic))
      if (taker !== undefined) give(taker, piece)
    }
    this.#level('added')
    this.#level('all')
    return new Map([...this.#shares].map(([memberId, share]) => [memberId, contents(share)]))
  }

  /** Moves what is movable until no chain leads to a more even result. */
  #level(movable: Movable): void {
    const active = new Set(this.#shares.values())
    for (;;) {
      const giver = heaviest(active)
      if (giver === undefined) return
      const chain = this.#findChain(giver, movable)
      // For good: all it can reach has at most one less than it, and a lighter giver can only send
      // to members that have two less than itself, so none of those changes any more.
      if (chain === null) active.delete(giver)
      else for (const step of chain) move(step, movable)
    }
  }

  /**
   * The shortest chain from `giver` to a member with at least two partitions less, last step
   * first, so that no member passes on what it has just been given.
   */
  #findChain(giver: Share, movable: Movable): Step[] | null {
    const steps = new Map<Share, Step>()
    const seenTopics = new Set<string>()
    let frontier: Share[] = [giver]
    while (frontier.length > 0) {
      const reached: Share[] = []
      for (const from of frontier) {
        for (const topic of movableTopics(from, movable)) {
          if (steps.size === this.#shares.size - 1) break
          if (seenTopics.has(topic)) continue
          seenTopics.add(topic)
          for (const to of this.#subscribersOf(topic)) {
            if (to === giver || steps.has(to)) continue
            steps.set(to, { from, to })
            reached.push(to)
          }
        }
      }
      const end = lightest(reached)
      if (end !== undefined && end.count <= giver.count - 2) return chainTo(end, steps)
      frontier = reached
    }
    return null
  }

  #subscribersOf(topic: string): readonly Share[] {
    return this.#subscribers.get(topic) ?? []
  }

  #share(memberId: string): Share {
    const share = this.#shares.get(memberId)
    if (share === undefined) throw new RangeError(`'${memberId}' is not a member of the group`)
    return share
  }
}

function chainTo(end: Share, steps: ReadonlyMap<Share, Step>): Step[] {
  const chain: Step[] = []
  for (let step = steps.get(end); step !== undefined; step = steps.get(step.from)) chain.push(step)
  return chain
}

function* movableTopics(share: Share, movable: Movable): Generator<string> {
  yield* share.added.keys()
  if (movable === 'all') yield* share.kept.keys()
}

/** Moves the partition that hurts least: one the giver has not had for long, else its last. */
function move({ from, to }: Step, movable: Movable): void {
  const piece = chooseAdded(from, to) ?? (movable === 'all' ? chooseKept(from, to) : null)
  // A chain has steps only along topics that the giver has and the taker subscribes to.
  if (piece === null) throw new Error(`'${from.memberId}' has nothing for '${to.memberId}'`)
  take(from, piece)
  give(to, piece)
}

/** One that the taker had before if there is any, else the last. */
function chooseAdded(from: Share, to: Share): Piece | null {
  let best: Piece | null = null
  for (const [topic, pieces] of from.added) {
    if (!to.topics.has(topic)) continue
    for (const piece of pieces) {
      if (best === null || isBetter(piece, best, to)) best = piece
    }
  }
  return best
}

function isBetter(piece: Piece, other: Piece, to: Share): boolean {
  const returns = piece.keeper === to
  if (returns !== (other.keeper === to)) return returns
  return compareTopicPartitions(piece, other) > 0
}

function chooseKept(from: Share, to: Share): Piece | null {
  let best: Piece | null = null
  for (const [topic, pieces] of from.kept) {
    const last = pieces.at(-1)
    if (last === undefined || !to.topics.has(topic)) continue
    if (best === null || compareTopicPartitions(last, best) > 0) best = last
  }
  return best
}

function give(share: Share, piece: Piece): void {
  share.count++
  const lists = listsOf(share, piece)
  const pieces = lists.get(piece.topic)
  if (pieces === undefined) {
    lists.set(piece.topic, [piece])
    return
  }
  const last = pieces.at(-1)
  pieces.push(piece)
  if (last !== undefined && last.partition > piece.partition) pieces.sort(compareTopicPartitions)
}

function take(share: Share, piece: Piece): void {
  share.count--
  const lists = listsOf(share, piece)
  const pieces = lists.get(piece.topic)
  if (pieces === undefined) return
  pieces.splice(pieces.lastIndexOf(piece), 1)
  if (pieces.length === 0) lists.delete(piece.topic)
}

function listsOf(share: Share, piece: Piece): Map<string, Piece[]> {
  return piece.keeper === share ? share.kept : share.added
}

function contents({ kept, added }: Share): TopicPartition[] {
  return [...kept.values(), ...added.values()]
    .flat()
    .map(({ topic, partition }) => ({ topic, partition }))
    .sort(compareTopicPartitions)
}

/** The first of those with the fewest partitions, `undefined` when there is nobody. */
function lightest(shares: Iterable<Share>): Share | undefined {
  let best: Share | undefined
  for (const share of shares) if (best === undefined || share.count < best.count) best = share
  return best
}

/** The first of those with the most partitions, `undefined` when there is nobody. */
function heaviest(shares: Iterable<Share>): Share | undefined {
  let best: Share | undefined
  for (const share of shares) if (best === undefined || share.count > best.count) best = share
  return best
}
