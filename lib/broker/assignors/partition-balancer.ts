import { areSameNames, type TopicPartition } from '../topic-partition.ts'
import type { GroupMember } from './assignor.ts'
import { HeaviestFirst } from './heaviest-first.ts'
import { LightestFirst } from './lightest-first.ts'
import { Share, type Movable } from './share.ts'
import { sortedMemberIds } from './subscriptions.ts'
import type { SubscribedTopic } from './subscriptions.ts'

/** Moves one partition from `from` to `to`. */
interface Step {
  readonly from: Share
  readonly to: Share
}

/** A possible move: `from` has a partition of a topic to which `takers` subscribe. */
interface Way {
  readonly from: Share
  readonly takers: readonly Share[]
}

const NOBODY: readonly Share[] = []

/**
 * Finds the most even assignment that subscriptions allow, starting from what members already have.
 *
 * The measure is the sum of the squared counts. It is minimal exactly when there is no chain of
 * moves A → B → … → Z in which each member gives a partition to the next, which subscribes to its
 * topic, and A has at least two more than Z. So partitions are moved along such chains until none
 * is left: first only those without a previous owner, then, if a member still has too many, the
 * rest. If the old assignment can be completed to an even one, no kept partition moves.
 *
 * No step scans all members: a heap for each list of subscribers finds its lightest member, givers
 * come from lists by count, and a member that cannot give any more is not considered again.
 *
 * Used once: {@link keep} or {@link addFree} for every partition, then {@link balance}.
 */
export class PartitionBalancer {
  readonly #shares: ReadonlyMap<string, Share>
  /** By topic. Consecutive topics with the same subscribers share one list. */
  readonly #subscribers: ReadonlyMap<string, readonly Share[]>
  /** All members that subscribe to at least one topic. */
  readonly #takers: readonly Share[]
  readonly #free: TopicPartition[] = []
  /** By the list of subscribers. */
  #queues: Map<readonly Share[], LightestFirst<Share>> = new Map()

  constructor(members: readonly GroupMember[], topics: readonly SubscribedTopic[]) {
    const topicsOf = new Map(members.map(({ memberId, topics }) => [memberId, new Set(topics)]))
    this.#shares = new Map(
      sortedMemberIds(members).map((memberId, place) => [
        memberId,
        new Share(memberId, place, topicsOf.get(memberId) ?? new Set()),
      ]),
    )
    this.#subscribers = this.#subscribersByTopic(topics)
    this.#takers = [...new Set([...new Set(this.#subscribers.values())].flat())]
  }

  /** Leaves a partition with its owner, unless balancing has to move it. */
  keep({ topic, partition }: TopicPartition, memberId: string): void {
    const keeper = this.#share(memberId)
    keeper.give({ topic, partition, keeper })
  }

  /** Adds a partition that has no owner. Partitions are dealt in the order they were added. */
  addFree({ topic, partition }: TopicPartition): void {
    this.#free.push({ topic, partition })
  }

  /** Deals the free partitions, balances, and returns each member's partitions, sorted. */
  balance(): Map<string, TopicPartition[]> {
    for (const { topic, partition } of this.#free) {
      const taker = this.#lightest(this.#subscribersOf(topic))
      taker?.give({ topic, partition, keeper: null })
    }
    this.#level('added')
    this.#level('all')
    return new Map([...this.#shares].map(([memberId, share]) => [memberId, share.contents()]))
  }

  /** Moves movable partitions until no chain leads to a more even result. */
  #level(movable: Movable): void {
    // A giver keeps at least one less than the heaviest member has, and every taker has fewer.
    // So in this round it does no harm that the queues still know the giver by its old count.
    this.#queues = new Map()
    const settled = new Set<Share>()
    const givers = new HeaviestFirst([...this.#shares.values()])
    for (let giver = givers.next(); giver !== undefined; giver = givers.next()) {
      const lightest = this.#lightest(this.#takers)
      if (lightest === undefined || giver.count - lightest.count < 2) return
      if (settled.has(giver)) continue
      const chain = this.#findChain(giver, movable, lightest.count, settled)
      const [end] = chain
      if (end === undefined) continue
      for (const { from, to } of chain) from.handOver(to, movable)
      givers.add(giver)
      givers.add(end.to)
    }
  }

  /**
   * Finds the shortest chain from `giver` to a member with at least two partitions less. The last
   * step comes first, so that no member passes on what it has just received. If there is no chain,
   * the result is empty, and `giver` and all members it can reach are settled.
   *
   * They are settled for good: those members have at most one less than `giver`, and can reach no
   * others. A lighter giver can only send to members that have two less than itself, so no chain
   * needs to touch the settled ones again.
   *
   * @param fewest the count of the lightest of all takers
   */
  #findChain(giver: Share, movable: Movable, fewest: number, settled: Set<Share>): Step[] {
    const steps = new Map<Share, Step>()
    const seen = new Set<readonly Share[]>()
    let frontier: Share[] = [giver]
    while (frontier.length > 0) {
      const ways: Way[] = []
      let end: Step | undefined
      for (const from of frontier) {
        for (const topic of from.movableTopics(movable)) {
          const takers = this.#subscribersOf(topic)
          if (seen.has(takers)) continue
          seen.add(takers)
          const to = this.#lightest(takers)
          if (to === undefined) continue
          if (end === undefined || to.count < end.to.count) end = { from, to }
          if (to.count === fewest) return chainTo(end, steps)
          ways.push({ from, takers })
        }
      }
      if (end !== undefined && end.to.count <= giver.count - 2) return chainTo(end, steps)
      frontier = []
      for (const { from, takers } of ways) {
        for (const to of takers) {
          if (to === giver || steps.has(to) || settled.has(to)) continue
          steps.set(to, { from, to })
          frontier.push(to)
        }
      }
    }
    for (const each of [giver, ...steps.keys()]) settled.add(each)
    return []
  }

  #lightest(subscribers: readonly Share[]): Share | undefined {
    let queue = this.#queues.get(subscribers)
    if (queue === undefined) {
      queue = new LightestFirst(subscribers)
      this.#queues.set(subscribers, queue)
    }
    return queue.first()
  }

  #subscribersByTopic(topics: readonly SubscribedTopic[]): Map<string, readonly Share[]> {
    const result = new Map<string, readonly Share[]>()
    let ids: readonly string[] = []
    let shares: readonly Share[] = []
    for (const { topic, subscribers } of topics) {
      if (!areSameNames(subscribers, ids)) shares = subscribers.map((id) => this.#share(id))
      ids = subscribers
      result.set(topic, shares)
    }
    return result
  }

  #subscribersOf(topic: string): readonly Share[] {
    return this.#subscribers.get(topic) ?? NOBODY
  }

  #share(memberId: string): Share {
    const share = this.#shares.get(memberId)
    if (share === undefined) throw new RangeError(`'${memberId}' is not a member of the group`)
    return share
  }
}

/** Returns the steps that lead to `end`, last step first. */
function chainTo(end: Step, steps: ReadonlyMap<Share, Step>): Step[] {
  const chain = [end]
  for (let step = steps.get(end.from); step !== undefined; step = steps.get(step.from)) {
    chain.push(step)
  }
  return chain
}
