import type { PartitionAssignmentStrategy } from './assignors/assignor.ts'
import type { CommitOptions, OffsetCommit } from './offset-and-metadata.ts'
import type { TopicPartition } from './topic-partition.ts'

/**
 * Where a member stands.
 *
 * - `unjoined`: it belongs to no group: before the first `join`, and after `leave`.
 * - `joining`: it waits for the others to join, or to be evicted.
 * - `stable`: it may own its assignment.
 * - `rejoin-needed`: a rebalance has begun and waits for it.
 * - `lost`: it was evicted, or the broker was closed; its partitions may be another's by now.
 */
export type MembershipState = 'unjoined' | 'joining' | 'stable' | 'rejoin-needed' | 'lost'

/**
 * One consumer's place in a group. Nothing here waits: a poll loop looks at `state` and acts on it.
 *
 * The states follow from the calls at once; `onChange` follows in a microtask, so that it never
 * runs inside a call of its own consumer.
 */
export interface GroupMembership {
  /** `consumer-<group>-<number>-<uuid>`; another one after each time the member has left or was lost. */
  readonly memberId: string
  /**
   * Number of the last completed rebalance the member took part in; -1 before the first and when it
   * is out. No two of its assignments have the same number.
   */
  readonly generation: number
  readonly state: MembershipState
  /** What the last completed rebalance gives to the member, sorted; empty when it is out. */
  readonly assignment: readonly TopicPartition[]

  /**
   * Enters the group or, in it, takes part in the rebalance under way and starts one if there is
   * none. Called again while it waits, it only replaces what was handed in before.
   *
   * A cooperative member whose last assignment lacks some of what it consumes gives that up and
   * joins again, so that another can have it. It does so first too when the next rebalance has begun
   * by then; otherwise each rebalance may free the partitions of one member only.
   *
   * @param topics names of topics that exist or may come to exist
   * @param owned what the member goes on consuming; an eager strategy passes over it, because its
   * members have given up everything by then
   * @throws {@link InconsistentGroupProtocolError} when the group's members have another strategy
   * @throws {@link ClosedError} when the broker is closed
   */
  join(topics: readonly string[], owned: readonly TopicPartition[]): void

  /** Says that a poll has ended: from now on the next one must begin within `maxPollIntervalMs`. */
  polled(): void

  /** Says that a poll has begun: until it ends the member is not idle and cannot be evicted. */
  pausePollTimer(): void

  /**
   * Stores offsets for the group.
   *
   * @throws {@link CommitFailedError} when the member is not, or no longer, in the group's current
   * generation; one that has to rejoin still is, so that it can commit what it gives up
   * @throws as `OffsetStore.commit`
   */
  commit(offsets: readonly OffsetCommit[], options?: CommitOptions): Promise<void>

  /** Goes out of the group, whose others share its partitions. Does nothing outside of one. */
  leave(): void
}

/** What a member needs to know of its group from the start. */
export interface MembershipOptions {
  readonly strategy: PartitionAssignmentStrategy
  /** How long a member may stay away from polling, milliseconds, at least 1. */
  readonly maxPollIntervalMs: number
  /**
   * Called after each change of state, and for one that {@link MembershipOptions.followsTopics} when any
   * topics have changed. Must not throw.
   */
  readonly onChange: () => void
  /**
   * Whether it may want topics that it has not joined for, as one that subscribes by a pattern.
   * @defaultValue it does
   */
  readonly followsTopics?: () => boolean
}
