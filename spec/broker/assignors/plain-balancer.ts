import { partitionOwners } from '../../../lib/broker/assignors/sticky.ts'
import { sortedMemberIds, subscribedTopics } from '../../../lib/broker/assignors/subscriptions.ts'
import { compareTopicPartitions, topicPartitionKey } from '../../../lib/broker/topic-partition.ts'
import type { TopicPartition } from '../../../lib/broker/topic-partition.ts'
import type { Group } from './groups.ts'

interface Piece extends TopicPartition {
  /** The previous owner. */
  readonly keeper: Holder | null
}

interface Holder {
  readonly topics: readonly string[]
  readonly kept: Map<string, Piece[]>
  readonly added: Map<string, Piece[]>
}

/**
 * The assignment of `sticky`, found by its rules with no regard to the cost: each search visits all
 * members, all topics and all partitions.
 */
export function plainlyBalanced({
  partitionCounts,
  members,
}: Group): Map<string, TopicPartition[]> {
  const holders = new Map<string, Holder>()
  for (const id of sortedMemberIds(members)) {
    const topics = members.find(({ memberId }) => memberId === id)?.topics ?? []
    holders.set(id, { topics, kept: new Map(), added: new Map() })
  }
  const all = [...holders.values()]
  const owners = partitionOwners(members)
  const free: Piece[] = []
  for (const { topic, partitionCount } of subscribedTopics(partitionCounts, members)) {
    for (let partition = 0; partition < partitionCount; partition++) {
      const owner = holders.get(owners.get(topicPartitionKey({ topic, partition })) ?? '')
      const keeper = owner?.topics.includes(topic) === true ? owner : null
      if (keeper === null) free.push({ topic, partition, keeper })
      else give(keeper, { topic, partition, keeper })
    }
  }
  for (const piece of free) give(lightest(subscribersOf(piece.topic, all)), piece)
  for (const onlyAdded of [true, false]) {
    for (;;) {
      const chain = heaviestChain(all, onlyAdded)
      if (chain === null) break
      for (const [from, to] of chain) handOver(from, to, onlyAdded)
    }
  }
  return new Map([...holders].map(([id, holder]) => [id, contents(holder)]))
}

type Step = readonly [from: Holder, to: Holder]

/** The chain of the heaviest member from which one leads to a member with two less. */
function heaviestChain(all: readonly Holder[], onlyAdded: boolean): Step[] | null {
  for (const giver of all.toSorted((left, right) => countOf(right) - countOf(left))) {
    const chain = shortestChain(giver, all, onlyAdded)
    if (chain !== null) return chain
  }
  return null
}

function shortestChain(giver: Holder, all: readonly Holder[], onlyAdded: boolean): Step[] | null {
  const stepTo = new Map<Holder, Step>()
  for (let frontier = [giver]; frontier.length > 0;) {
    const reached: Holder[] = []
    for (const from of frontier) {
      for (const topic of [...from.added.keys(), ...(onlyAdded ? [] : from.kept.keys())]) {
        for (const to of subscribersOf(topic, all)) {
          if (to === giver || stepTo.has(to)) continue
          stepTo.set(to, [from, to])
          reached.push(to)
        }
      }
    }
    const end = reached.length === 0 ? null : lightest(reached)
    if (end !== null && countOf(end) <= countOf(giver) - 2) {
      const chain: Step[] = []
      for (let step = stepTo.get(end); step !== undefined; step = stepTo.get(step[0])) {
        chain.push(step)
      }
      return chain
    }
    frontier = reached
  }
  return null
}

function handOver(from: Holder, to: Holder, onlyAdded: boolean): void {
  const wanted = (lists: ReadonlyMap<string, readonly Piece[]>): Piece[] =>
    [...lists.values()].flat().filter(({ topic }) => to.topics.includes(topic))
  const added = wanted(from.added).sort(compareTopicPartitions)
  const piece =
    added.findLast(({ keeper }) => keeper === to) ??
    added.at(-1) ??
    (onlyAdded ? undefined : wanted(from.kept).sort(compareTopicPartitions).at(-1))
  if (piece === undefined) throw new Error('a chain leads along a topic that has nothing to give')
  const lists = piece.keeper === from ? from.kept : from.added
  const left = (lists.get(piece.topic) ?? []).filter((each) => each !== piece)
  if (left.length === 0) lists.delete(piece.topic)
  else lists.set(piece.topic, left)
  give(to, piece)
}

function give(holder: Holder, piece: Piece): void {
  const lists = piece.keeper === holder ? holder.kept : holder.added
  lists.set(piece.topic, [...(lists.get(piece.topic) ?? []), piece])
}

/** In the order of their ids. */
function subscribersOf(topic: string, all: readonly Holder[]): Holder[] {
  return all.filter(({ topics }) => topics.includes(topic))
}

/** The first of those with the fewest. */
function lightest(holders: readonly Holder[]): Holder {
  const fewest = Math.min(...holders.map(countOf))
  const found = holders.find((holder) => countOf(holder) === fewest)
  if (found === undefined) throw new Error('a partition has no subscriber')
  return found
}

function countOf({ kept, added }: Holder): number {
  return [...kept.values(), ...added.values()].flat().length
}

function contents({ kept, added }: Holder): TopicPartition[] {
  return [...kept.values(), ...added.values()]
    .flat()
    .map(({ topic, partition }) => ({ topic, partition }))
    .sort(compareTopicPartitions)
}
