import { InconsistentGroupProtocolError } from '../errors.ts'
import { assignorFor, type PartitionAssignmentStrategy } from './assignors/assignor.ts'
import type { MembershipState } from './group-membership.ts'
import type { MemberSession } from './member-session.ts'
import type { TopicPartition } from './topic-partition.ts'

/** State of a group, by Kafka's names. `PreparingRebalance`: some member has yet to join. */
export type GroupState = 'Empty' | 'PreparingRebalance' | 'Stable'

/** Description of one group member. */
export interface MemberDescription {
  readonly memberId: string
  /** Partitions that the last completed rebalance assigned to the member, sorted. */
  readonly assignment: readonly TopicPartition[]
}

/** Dependencies of {@link ConsumerGroup}. */
export interface ConsumerGroupOptions {
  readonly groupId: string
  /** Number of partitions of every existing topic. */
  readonly partitionCounts: () => ReadonlyMap<string, number>
  /** Called when the last member has left. */
  readonly onEmpty: () => void
}

/**
 * The members of one group, and how its partitions are assigned to them.
 *
 * A rebalance begins when a member enters, leaves or joins again, and when the topics change. It
 * ends, with the next generation, when every member has joined since. Until then nobody is assigned
 * anything, so a partition that a member gave up before it joined is free when it is assigned
 * again.
 *
 * Everything happens synchronously inside the call that causes it; members are notified later.
 */
export class ConsumerGroup {
  readonly groupId: string
  readonly #options: ConsumerGroupOptions
  readonly #members: Set<MemberSession> = new Set()
  #generation = 0
  /** Partition counts of the subscribed topics at the last rebalance; 0 for a missing topic. */
  #assignedCounts: ReadonlyMap<string, number> = new Map()

  constructor(options: ConsumerGroupOptions) {
    this.groupId = options.groupId
    this.#options = options
  }

  /** Number of the last completed rebalance; 0 before the first. */
  get generation(): number {
    return this.#generation
  }

  get state(): GroupState {
    if (this.#members.size === 0) return 'Empty'
    return this.#allAre('stable') ? 'Stable' : 'PreparingRebalance'
  }

  /** How partitions are assigned; `null` while the group has no members. */
  get strategy(): PartitionAssignmentStrategy | null {
    for (const member of this.#members) return member.strategy
    return null
  }

  /** The members, in the order in which they entered. */
  members(): MemberDescription[] {
    return [...this.#members].map(({ memberId, assignment }) => ({ memberId, assignment }))
  }

  /**
   * Checks that a member with this strategy could enter.
   *
   * @throws {@link InconsistentGroupProtocolError} when the members that are not overdue have
   * another one
   */
  ensureConsistent(strategy: PartitionAssignmentStrategy): void {
    if (this.isDeserted || this.strategy === strategy) return
    throw new InconsistentGroupProtocolError(
      `group '${this.groupId}' has members with partitionAssignmentStrategy '${this.strategy}', ` +
        `but this consumer has '${strategy}': all consumers of a group must use the same one`,
    )
  }

  /** Adds a member, which then has to join. @throws as {@link ConsumerGroup.ensureConsistent} */
  admit(member: MemberSession): void {
    this.ensureConsistent(member.strategy)
    this.#members.add(member)
  }

  /** Whether the group is empty, or every member has exceeded its poll interval. */
  get isDeserted(): boolean {
    return [...this.#members].every(({ isOverdue }) => isOverdue)
  }

  /**
   * Called when a member has exceeded its poll interval. It is removed if a rebalance is waiting
   * for it, or if another member could take over its partitions. Otherwise its next poll would get
   * the same partitions back, and with them each record whose handling takes so long, without end.
   */
  missedPoll(member: MemberSession): void {
    const { topics } = member
    const others = [...this.#members].filter(({ isOverdue }) => !isOverdue)
    const isReplaceable = others.some((other) => other.topics.some((each) => topics.includes(each)))
    if (isReplaceable || this.state !== 'Stable') this.rebalance()
  }

  /** Removes overdue members, unless all are overdue: a rebalance would wait for them. */
  #putOutOverdue(): void {
    if (this.isDeserted) return
    for (const member of [...this.#members]) {
      if (!member.isOverdue) continue
      this.#members.delete(member)
      member.lose()
    }
  }

  /** Starts a rebalance unless one is under way, and completes it if no member is missing. */
  rebalance(): void {
    this.#putOutOverdue()
    for (const member of this.#members) {
      if (member.state === 'stable') member.needRejoin()
    }
    if (this.#allAre('joining')) this.#assign()
  }

  /** Removes a member that the others may have been waiting for. */
  remove(member: MemberSession): void {
    if (!this.#members.delete(member)) return
    if (this.#members.size === 0) this.#options.onEmpty()
    else this.rebalance()
  }

  /**
   * Called when topics or partitions were created or deleted. Members that subscribe by a pattern
   * are notified, because they may now want other topics. If the group's own topics changed, it
   * rebalances.
   *
   * @param partitionCounts of every existing topic
   */
  topicsChanged(partitionCounts: ReadonlyMap<string, number>): void {
    for (const member of this.#members) if (member.followsTopics) member.notify()
    if (this.state !== 'Stable') return
    // All members have joined since they last changed their subscription, so these are the topics.
    const hasChanged = [...this.#assignedCounts].some(
      ([topic, count]) => (partitionCounts.get(topic) ?? 0) !== count,
    )
    if (hasChanged) this.rebalance()
  }

  /** Removes all members without a rebalance. */
  close(): void {
    const members = [...this.#members]
    this.#members.clear()
    for (const member of members) member.lose()
  }

  #allAre(state: MembershipState): boolean {
    for (const member of this.#members) {
      if (member.state !== state) return false
    }
    return true
  }

  #assign(): void {
    const { strategy } = this
    if (strategy === null) return
    const partitionCounts = this.#options.partitionCounts()
    const members = [...this.#members]
    const assignment = assignorFor(strategy).assign(
      partitionCounts,
      members.map((member) => member.toGroupMember()),
    )
    // An emptied group restarts at 0, and a member that returns to it must not see a number twice.
    this.#generation = 1 + Math.max(this.#generation, ...members.map((each) => each.lastGeneration))
    this.#assignedCounts = this.#subscribedCounts(partitionCounts)
    for (const member of members) {
      member.assign(this.#generation, frozen(assignment.get(member.memberId) ?? []))
    }
  }

  #subscribedCounts(partitionCounts: ReadonlyMap<string, number>): Map<string, number> {
    const topics = [...this.#members].flatMap((member) => member.topics)
    return new Map(topics.map((topic) => [topic, partitionCounts.get(topic) ?? 0]))
  }
}

/** Assignments appear in descriptions, and members start their next assignment from them. */
function frozen(partitions: readonly TopicPartition[]): readonly TopicPartition[] {
  return Object.freeze(partitions.map((each) => Object.freeze({ ...each })))
}
