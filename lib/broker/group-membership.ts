import type { PartitionAssignmentStrategy } from './assignors/assignor.ts'
import type { CommitOptions, OffsetCommit } from './offset-and-metadata.ts'
import type { TopicPartition } from './topic-partition.ts'

/**
 * State of a member.
 *
 * - `unjoined`: in no group, before the first `join` and after `leave`.
 * - `joining`: waits for the others to join, or to be evicted.
 * - `stable`: may own its assignment.
 * - `rejoin-needed`: a rebalance has begun and waits for this member.
 * - `lost`: evicted, or the broker was closed; its partitions may belong to another member by now.
 */
export type MembershipState = 'unjoined' | 'joining' | 'stable' | 'rejoin-needed' | 'lost'

/**
 * One consumer's membership in a group. Nothing here waits: a poll loop checks `state` and acts on
 * it.
 *
 * Calls change the state at once. `onChange` follows in a microtask, so that it never runs inside a
 * call of its own consumer.
 */
export interface GroupMembership {
  /** `consumer-<group>-<number>-<uuid>`; a new one each time the member has left or was lost. */
  readonly memberId: string
  /**
   * Number of the last completed rebalance the member took part in; -1 before the first and outside
   * a group. No two of its assignments have the same number.
   */
  readonly generation: number
  readonly state: MembershipState
  /**
   * Partitions that the last completed rebalance assigned to the member, sorted; empty outside a
   * group.
   */
  readonly assignment: readonly TopicPartition[]

  /**
   * Enters the group or, for a member, joins the rebalance in progress and starts one if there is
   * none. Calling it again while waiting only replaces the previous arguments.
   *
   * A cooperative member whose last assignment lacks partitions that it consumes gives those up and
   * joins again, so that another member can have them. It does so first even if the next rebalance
   * has begun by then; otherwise each rebalance might free the partitions of one member only.
   *
   * @param topics names of topics that exist or may be created later
   * @param owned partitions that the member goes on consuming; ignored by an eager strategy, whose
   * members have given up everything by then
   * @throws {@link InconsistentGroupProtocolError} when the group's members have another strategy
   * @throws {@link ClosedError} when the broker is closed
   */
  join(topics: readonly string[], owned: readonly TopicPartition[]): void

  /** Marks the end of a poll: from now on the next one must begin within `maxPollIntervalMs`. */
  polled(): void

  /** Marks the start of a poll: until it ends, the member cannot be evicted. */
  pausePollTimer(): void

  /**
   * Stores offsets for the group.
   *
   * @throws {@link CommitFailedError} when the member is not, or no longer, in the group's current
   * generation. A member that has to rejoin still is, so that it can commit what it gives up.
   * @throws as `OffsetStore.commit`
   */
  commit(offsets: readonly OffsetCommit[], options?: CommitOptions): Promise<void>

  /**
   * Leaves the group, whose other members take over its partitions. Does nothing outside a group.
   */
  leave(): void
}

/** Options of a membership, fixed from the start. */
export interface MembershipOptions {
  readonly strategy: PartitionAssignmentStrategy
  /** Longest time between two polls, milliseconds, at least 1. */
  readonly maxPollIntervalMs: number
  /**
   * Called after each change of state and, for a member that
   * {@link MembershipOptions.followsTopics}, when any topics have changed. Must not throw.
   */
  readonly onChange: () => void
  /**
   * Whether the member may want topics that it has not joined for, as with a pattern subscription.
   * @defaultValue true
   */
  readonly followsTopics?: () => boolean
}
