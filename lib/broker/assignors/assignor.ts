import type { TopicPartition } from '../topic-partition.ts'
import { cooperativeStickyAssignor } from './cooperative-sticky.ts'
import { rangeAssignor } from './range.ts'
import { roundRobinAssignor } from './round-robin.ts'
import { stickyAssignor } from './sticky.ts'

/** How a group's partitions are divided among its members. The names are Kafka's. */
export type PartitionAssignmentStrategy = 'range' | 'roundrobin' | 'sticky' | 'cooperative-sticky'

/** What an assignor knows about one member of a group. */
export interface GroupMember {
  /** Unique within the group. */
  readonly memberId: string
  /** Topics the member subscribes to, in any order; those that do not exist are ignored. */
  readonly topics: readonly string[]
  /** Partitions it still holds from the assignment of `generation`; empty for a new member. */
  readonly ownedPartitions: readonly TopicPartition[]
  /** If two members claim a partition, the one with the higher generation owns it. */
  readonly generation: number
}

/**
 * Divides a group's partitions among its members. Pure: equal arguments produce equal results,
 * whatever the order of the topics and members.
 */
export interface Assignor {
  readonly strategy: PartitionAssignmentStrategy
  /**
   * What members do before a rebalance. `eager`: they give up all partitions, and each result is
   * complete. `cooperative`: they keep their partitions, and a result may leave out a partition
   * that its owner must give up first; another rebalance then assigns it.
   */
  readonly protocol: 'eager' | 'cooperative'
  /**
   * @param partitionCounts the number of partitions of every existing topic
   * @returns each member's partitions, sorted; a member without any has an empty list
   */
  assign(
    partitionCounts: ReadonlyMap<string, number>,
    members: readonly GroupMember[],
  ): Map<string, TopicPartition[]>
}

// A Map, because a plain object would also have a value for `constructor`.
const ASSIGNORS: ReadonlyMap<string, Assignor> = new Map(
  [rangeAssignor, roundRobinAssignor, stickyAssignor, cooperativeStickyAssignor].map((assignor) => [
    assignor.strategy,
    assignor,
  ]),
)

/**
 * Returns the assignor of a strategy.
 *
 * @throws RangeError if there is no such strategy
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
