import type { TopicPartition } from '../topic-partition.ts'
import { cooperativeStickyAssignor } from './cooperative-sticky.ts'
import { rangeAssignor } from './range.ts'
import { roundRobinAssignor } from './round-robin.ts'
import { stickyAssignor } from './sticky.ts'

/** How the partitions of a group are divided among its members; Kafka's names. */
export type PartitionAssignmentStrategy = 'range' | 'roundrobin' | 'sticky' | 'cooperative-sticky'

/** What an assignor knows about one member of a group. */
export interface GroupMember {
  /** Unique in the group. */
  readonly memberId: string
  /** Topics the member subscribes to, in any order; topics that do not exist are passed over. */
  readonly topics: readonly string[]
  /** Partitions the member still holds from the assignment of `generation`; empty for a new one. */
  readonly ownedPartitions: readonly TopicPartition[]
  /** Of two members that claim a partition the one with the higher generation owns it. */
  readonly generation: number
}

/**
 * Divides the partitions of a group among its members. Pure: equal arguments give equal results,
 * in whatever order the topics and members come.
 */
export interface Assignor {
  readonly strategy: PartitionAssignmentStrategy
  /**
   * What members do before a rebalance. `eager`: they give up everything, and each result is
   * complete. `cooperative`: they keep what they have, and a result may leave out a partition that
   * its owner must give up first; another rebalance then assigns it.
   */
  readonly protocol: 'eager' | 'cooperative'
  /**
   * @param partitionCounts number of partitions of every topic that exists
   * @returns the partitions of each member, sorted; a member without any has an empty list
   */
  assign(
    partitionCounts: ReadonlyMap<string, number>,
    members: readonly GroupMember[],
  ): Map<string, TopicPartition[]>
}

// A Map, because a plain object would find an assignor for `constructor`.
const ASSIGNORS: ReadonlyMap<string, Assignor> = new Map(
  [rangeAssignor, roundRobinAssignor, stickyAssignor, cooperativeStickyAssignor].map((assignor) => [
    assignor.strategy,
    assignor,
  ]),
)

/**
 * The assignor of a strategy.
 *
 * @throws RangeError when there is no such strategy
 */
export function assignorFor(strategy: PartitionAssignmentStrategy): Assignor {
  const assignor = ASSIGNORS.get(strategy)
  if (assignor === undefined) {
    throw new RangeError(
      `partitionAssignmentStrategy must be one of ${[...ASSIGNORS.keys()].join(', ')}, ` +
        `got '${strategy}'`,
    )
  }
  return assignor
}
