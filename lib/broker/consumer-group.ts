import { InconsistentGroupProtocolError } from '../errors.ts'
import { assignorFor, type PartitionAssignmentStrategy } from './assignors/assignor.ts'
import type { MembershipState } from './group-membership.ts'
import type { MemberSession } from './member-session.ts'
import type { TopicPartition } from './topic-partition.ts'

/** Where a group stands; Kafka's names. `PreparingRebalance`: some member has yet to join. */
export type GroupState = 'Empty' | 'PreparingRebalance' | 'Stable'

/** A member as others see it. */
export interface MemberDescription {
  readonly memberId: string
  /** What the last completed rebalance gives to it, sorted. */
  readonly assignment: readonly TopicPartition[]
}

/** What a {@link ConsumerGroup} works with. */
export interface ConsumerGroupOptions {
  readonly groupId: string
  /** Number of partitions of every topic that there is. */
  readonly partitionCounts: () => ReadonlyMap<string, number>
  /** Called when the last member has gone. */
  readonly onEmpty: () => void
}

/**
 * The members of one group, and who of them gets what.
 *
 * A rebalance begins with whoever comes, goes or joins anew, and with a change of the topics. It
 * ends, with the next generation, when every member has joined since: until then nobody gets
 * anything, so what a member has given up before it joined is free when it is given away.
 *
 * Everything happens inside the call that causes it, without waiting; members hear of it later.
 */
export class ConsumerGroup {
  readonly groupId: string
  readonly #options: ConsumerGroupOptions
  readonly #members: Set<MemberSession> = new Set()
  #generation = 0
  /** What the last rebalance knew of the topics that members subscribe to; 0 for a missing one. */
  #assignedCounts: ReadonlyMap<string, number> = new Map()

  constructor(options: ConsumerGroupOptions) {
    this.groupId = options.groupId
    this.#options = options
  }

  /** Number of the last completed rebalance, 0 before the first. */
  get generation(): number {
    return this.#generation
  }

  get state(): GroupState {
    if (this.#members.size === 0) return 'Empty'
    return this.#allAre('stable') ? 'Stable' : 'PreparingRebalance'
  }

  /** How partitions are divided; `null` while there is nobody to divide them among. */
  get strategy(): PartitionAssignmentStrategy | null {
    for (const member of this.#members) return member.strategy
    return null
  }

  /** The members in the order in which they came. */
  members(): MemberDescription[] {
    return [...this.#members].map(({ memberId, assignment }) => ({ memberId, assignment }))
  }

  /**
   * Whether a member with this strategy could enter.
   *
   * @throws {@link InconsistentGroupProtocolError} when those who are in, and are to stay, have another one
   */
  ensureConsistent(strategy: PartitionAssignmentStrategy): void {
    if (this.isDeserted || this.strategy === strategy) return
    throw new InconsistentGroupProtocolError(
      `group '${this.groupId}' has members with partitionAssignmentStrategy '${this.strategy}', ` +
        `this consumer has '${strategy}': all consumers of a group need the same`,
    )
  }

  /** Takes in a member, which then has to join. @throws as {@link ConsumerGroup.ensureConsistent} */
  admit(member: MemberSession): void {
    this.ensureConsistent(member.strategy)
    this.#members.add(member)
  }

  /** Whether nobody is in, or only who has stayed away from polling for too long. */
  get isDeserted(): boolean {
    return [...this.#members].every(({ isOverdue }) => isOverdue)
  }

  /**
   * A member has stayed away from polling for too long. It is let go of if a rebalance waits for it, or
   * somebody else could have its partitions. Where that is not so it would get them again by its next poll,
   * and with them each record whose handling takes so long, without end.
   */
  missedPoll(member: MemberSession): void {
    const { topics } = member
    const others = [...this.#members].filter(({ isOverdue }) => !isOverdue)
    const isReplaceable = others.some((other) => other.topics.some((each) => topics.includes(each)))
    if (isReplaceable || this.state !== 'Stable') this.rebalance()
  }

  /** Unless there is nobody else: a rebalance would wait for them. */
  #putOutOverdue(): void {
    if (this.isDeserted) return
    for (const member of [...this.#members]) {
      if (!member.isOverdue) continue
      this.#members.delete(member)
      member.lose()
    }
  }

  /** Begins a rebalance unless one is under way, and ends it if there is nobody to wait for. */
  rebalance(): void {
    this.#putOutOverdue()
    for (const member of this.#members) {
      if (member.state === 'stable') member.needRejoin()
    }
    if (this.#allAre('joining')) this.#assign()
  }

  /** Lets go of a member, for whom the others may have been waiting. */
  remove(member: MemberSession): void {
    if (!this.#members.delete(member)) return
    if (this.#members.size === 0) this.#options.onEmpty()
    else this.rebalance()
  }

  /**
   * Topics or partitions have come or gone. Members that subscribe by a pattern hear of it, because they
   * may want others now; where those that the group has already are concerned, a rebalance begins.
   *
   * @param partitionCounts of every topic that there is by now
   */
  topicsChanged(partitionCounts: ReadonlyMap<string, number>): void {
    for (const member of this.#members) if (member.followsTopics) member.notify()
    if (this.state !== 'Stable') return
    // All have joined since they last said what they subscribe to, so these are the topics.
    const hasChanged = [...this.#assignedCounts].some(
      ([topic, count]) => (partitionCounts.get(topic) ?? 0) !== count,
    )
    if (hasChanged) this.rebalance()
  }

  /** Puts all members out, without a rebalance. */
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
    // A group that was empty starts from 0, and who comes back to it must not see a number again.
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

/** An assignment is shown to whoever asks for a description, and members begin the next one from it. */
function frozen(partitions: readonly TopicPartition[]): readonly TopicPartition[] {
  return Object.freeze(partitions.map((each) => Object.freeze({ ...each })))
}
