import { CommitFailedError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import { onMicrotask } from '../platform/event-loop.ts'
import type { GroupMember, PartitionAssignmentStrategy } from './assignors/assignor.ts'
import { assignorFor } from './assignors/assignor.ts'
import type { ConsumerGroup } from './consumer-group.ts'
import type { GroupMembership, MembershipOptions, MembershipState } from './group-membership.ts'
import type { CommitOptions, OffsetCommit } from './offset-and-metadata.ts'
import { topicPartitionKey, type TopicPartition } from './topic-partition.ts'

/** What a member needs from the coordinator. */
export interface SessionContext {
  readonly clock: Clock
  /** @throws {@link ClosedError} */
  ensureOpen(): void
  newMemberId(groupId: string): string
  groupFor(groupId: string): ConsumerGroup
  commit(groupId: string, offsets: readonly OffsetCommit[], options?: CommitOptions): Promise<void>
}

const NO_GENERATION = -1
const NOTHING: readonly TopicPartition[] = Object.freeze([])

/**
 * A membership, seen from both sides: the consumer calls the methods of {@link GroupMembership},
 * and the group calls the others.
 */
export class MemberSession implements GroupMembership {
  readonly strategy: PartitionAssignmentStrategy
  readonly #context: SessionContext
  readonly #groupId: string
  readonly #options: MembershipOptions
  readonly #isCooperative: boolean
  #memberId: string
  /** `null` outside a group. */
  #group: ConsumerGroup | null = null
  #state: MembershipState = 'unjoined'
  #generation = NO_GENERATION
  #lastGeneration = NO_GENERATION
  #topics: readonly string[] = []
  #assignment: readonly TopicPartition[] = NOTHING
  /** Cooperative: all partitions the member may be consuming, as far as it has reported. */
  #held: readonly TopicPartition[] = NOTHING
  #isIdUsed = false
  #isPolling = false
  #isOverdue = false
  #isNotifying = false
  #pollTimer: Timer | null = null

  constructor(context: SessionContext, groupId: string, options: MembershipOptions) {
    this.#context = context
    this.#groupId = groupId
    this.#options = options
    this.strategy = options.strategy
    this.#isCooperative = assignorFor(options.strategy).protocol === 'cooperative'
    this.#memberId = context.newMemberId(groupId)
  }

  get memberId(): string {
    return this.#memberId
  }

  get generation(): number {
    return this.#generation
  }

  get state(): MembershipState {
    return this.#state
  }

  get assignment(): readonly TopicPartition[] {
    return this.#assignment
  }

  /** The highest generation the member was ever in, including earlier stays in the group. */
  get lastGeneration(): number {
    return this.#lastGeneration
  }

  /** Names of the topics the member subscribes to. */
  get topics(): readonly string[] {
    return this.#topics
  }

  /** See {@link MembershipOptions}. */
  get followsTopics(): boolean {
    return this.#options.followsTopics?.() ?? true
  }

  join(topics: readonly string[], owned: readonly TopicPartition[]): void {
    this.#context.ensureOpen()
    const group = this.#group ?? this.#enter()
    this.#topics = [...topics]
    const held = new Set(this.#held.map(topicPartitionKey))
    // Partitions that the member was never assigned, or has lost, are not its own, whatever it
    // says.
    this.#held = owned.filter((each) => held.has(topicPartitionKey(each)))
    this.#changeTo('joining')
    group.rebalance()
  }

  /** Whether the member has exceeded its poll interval and is still in the group. */
  get isOverdue(): boolean {
    return this.#isOverdue
  }

  polled(): void {
    this.#isPolling = false
    this.#stopPollTimer()
    if (this.#group !== null) this.#startPollTimer()
  }

  pausePollTimer(): void {
    this.#isPolling = true
    this.#stopPollTimer()
  }

  async commit(offsets: readonly OffsetCommit[], options?: CommitOptions): Promise<void> {
    this.#context.ensureOpen()
    if (this.#group === null) {
      throw new CommitFailedError(
        this.#groupId,
        this.#state === 'lost'
          ? `member ${this.#memberId} did not poll within maxPollIntervalMs ` +
              `(${this.#options.maxPollIntervalMs} ms) and was evicted`
          : `member ${this.#memberId} is not in the group`,
      )
    }
    if (this.#generation !== this.#group.generation) {
      throw new CommitFailedError(
        this.#groupId,
        `member ${this.#memberId} has generation ${this.#generation}, ` +
          `but the group has generation ${this.#group.generation}`,
      )
    }
    await this.#context.commit(this.#groupId, offsets, options)
  }

  leave(): void {
    this.#exit('unjoined')?.remove(this)
  }

  /**
   * Input for the assignor. An eager member starts from its last assignment, which `sticky`
   * preserves.
   */
  toGroupMember(): GroupMember {
    return {
      memberId: this.#memberId,
      topics: this.#topics,
      ownedPartitions: this.#isCooperative ? this.#held : this.#assignment,
      generation: this.#generation,
    }
  }

  /** Called when a rebalance has begun. */
  needRejoin(): void {
    this.#changeTo('rejoin-needed')
  }

  /** Called when a rebalance has ended. */
  assign(generation: number, assignment: readonly TopicPartition[]): void {
    const given = new Set(assignment.map(topicPartitionKey))
    // The member holds the partitions that it has to give up until it joins without them.
    const surplus = this.#held.filter((each) => !given.has(topicPartitionKey(each)))
    this.#held = [...assignment, ...surplus]
    this.#generation = generation
    this.#lastGeneration = generation
    this.#assignment = assignment
    this.#changeTo('stable')
  }

  /** Called when the member is removed without having left. */
  lose(): void {
    this.#exit('lost')
    this.notify()
  }

  /** Calls `onChange` soon, once for all changes until then. */
  notify(): void {
    if (this.#isNotifying) return
    this.#isNotifying = true
    onMicrotask(() => {
      this.#isNotifying = false
      if (this.#state !== 'unjoined') this.#options.onChange()
    })
  }

  #enter(): ConsumerGroup {
    const group = this.#context.groupFor(this.#groupId)
    group.admit(this)
    this.#group = group
    // The old id may still be in a log or message: it must not identify two different stays in the
    // group.
    if (this.#isIdUsed) this.#memberId = this.#context.newMemberId(this.#groupId)
    this.#isIdUsed = true
    if (!this.#isPolling) this.#startPollTimer()
    return group
  }

  /** @returns the group that the member was in. */
  #exit(state: 'unjoined' | 'lost'): ConsumerGroup | null {
    const group = this.#group
    this.#group = null
    this.#stopPollTimer()
    this.#generation = NO_GENERATION
    this.#assignment = NOTHING
    this.#held = NOTHING
    this.#state = state
    return group
  }

  #changeTo(state: MembershipState): void {
    if (this.#state === state) return
    this.#state = state
    this.notify()
  }

  #startPollTimer(): void {
    this.#pollTimer = this.#context.clock.startTimer(
      () => {
        this.#pollTimer = null
        this.#isOverdue = true
        this.#group?.missedPoll(this)
      },
      this.#options.maxPollIntervalMs,
      { background: true },
    )
  }

  #stopPollTimer(): void {
    this.#pollTimer?.cancel()
    this.#pollTimer = null
    this.#isOverdue = false
  }
}
