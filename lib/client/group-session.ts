import type { GroupMembership } from '../broker/group-membership.ts'
import type { CommitOptions, OffsetCommit } from '../broker/offset-and-metadata.ts'
import { areSameNames, topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import { ReadOnlyError } from '../errors.ts'
import { throwFailures } from '../errors/several-failures.ts'
import type { ConsumerContext } from './consumer-context.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import { ListenerCalls } from './listener-calls.ts'
import type { CommitTarget } from './offset-committer.ts'
import type { RebalanceListener } from './rebalance-listener.ts'
import type { SubscriptionState } from './subscription-state.ts'

type GroupOptions = Pick<
  ResolvedConsumerOptions<unknown, unknown>,
  'groupId' | 'partitionAssignmentStrategy' | 'maxPollIntervalMs'
>

/** What a session asks of its consumer. */
export interface GroupSessionOwner {
  /** The group has changed, and `drive` has something to do. */
  onChange(): void
  /** Partitions are about to be given up. */
  commitConsumed(): Promise<void>
}

/**
 * A consumer's part in its group: joins, gives partitions up, takes new ones, and tells the
 * listener, always inside `drive`, which a poll calls.
 *
 * Calls of `drive` must not overlap; all others may be made at any time, also by the listener.
 */
export class GroupSession implements CommitTarget {
  readonly #context: ConsumerContext
  readonly #options: GroupOptions
  readonly #isCooperative: boolean
  readonly #subscription: SubscriptionState
  readonly #owner: GroupSessionOwner
  readonly #calls: ListenerCalls = new ListenerCalls()
  #member: GroupMembership | null = null
  /** A member that still has to say goodbye. */
  #departing: GroupMembership | null = null
  #departure: Promise<void> | null = null
  #generation = -1
  #joinedTopics: readonly string[] = []
  /** Keys of the partitions that the listener is just being told are revoked. */
  #revoking: ReadonlySet<string> = new Set()
  #isEnded = false

  constructor(
    context: ConsumerContext,
    options: GroupOptions,
    subscription: SubscriptionState,
    owner: GroupSessionOwner,
  ) {
    this.#context = context
    this.#options = options
    this.#isCooperative = options.partitionAssignmentStrategy === 'cooperative-sticky'
    this.#subscription = subscription
    this.#owner = owner
  }

  /** Whether the application's listener is running. */
  get isInListener(): boolean {
    return this.#calls.isRunning
  }

  /** Whether it is the listener that asks: only until its first await that can be told. */
  get isCalledByListener(): boolean {
    return this.#calls.isCalling
  }

  /** Whether there is a member that has to poll in time. */
  get hasMember(): boolean {
    return this.#member !== null
  }

  /** Calls back once no listener is running, at once where that is so. */
  afterListeners(callback: () => void): void {
    this.#calls.afterwards(callback)
  }

  /** Replaces the listener, from the next callback on. */
  setListener(listener: RebalanceListener): void {
    this.#calls.setListener(listener)
  }

  /** The consumer is in a poll from now on, and so not idle. */
  startPoll(): void {
    this.#member?.pausePollTimer()
  }

  /** From now on the time until the next poll counts. */
  endPoll(): void {
    this.#member?.polled()
  }

  /** Stores offsets as the member it is, or for the group when it is none. */
  commit(offsets: readonly OffsetCommit[], options?: CommitOptions): Promise<void> {
    if (this.#context.readOnly) throw new ReadOnlyError('the broker is open for reading only')
    const member = this.#member ?? this.#departing
    if (member !== null && member.state !== 'unjoined') return member.commit(offsets, options)
    const { groupId } = this.#options
    if (groupId === null) throw new TypeError('there is no group to commit for')
    return this.#context.coordinator.commit(groupId, offsets, options)
  }

  /**
   * Resolves when the commits that were called before have ended, `null` where all have. Whoever called
   * them hears of their errors.
   *
   * What is given up is given to the next owner only behind them, or it would begin at the offsets of before.
   */
  commitsEnded(): Promise<void> | null {
    const { groupId } = this.#options
    return groupId === null ? null : this.#context.coordinator.commitsEnded(groupId)
  }

  /**
   * Does what the group waits for, until there is nothing left to do but wait.
   *
   * @throws what the listener threw, after everything else is done
   */
  async drive(): Promise<void> {
    await this.#settleDeparture()
    // A member that is made behind the close would never leave.
    if (this.#isEnded || !this.#subscription.isSubscribed) return
    const member = (this.#member ??= this.#createMember())
    for (;;) {
      const isSettled = await this.#step(member)
      throwFailures(this.#calls.takeFailure())
      if (isSettled || this.#member !== member) return
    }
  }

  /** Joins no more: the consumer is being closed. */
  end(): void {
    this.#isEnded = true
  }

  /**
   * Gives everything up: commits, tells the listener, leaves the group once no commit is under way. The
   * listener has been called when this returns, and knows the partitions; the promise is for the rest.
   */
  depart(): Promise<void> {
    const member = this.#member
    if (member === null) return this.#departure ?? Promise.resolve()
    this.#member = null
    this.#departing = member
    const isLost = member.state === 'lost'
    const owned = this.#subscription
      .assignment()
      .filter((each) => !this.#revoking.has(topicPartitionKey(each)))
    const work: Promise<void>[] = []
    if (!isLost) work.push(this.#owner.commitConsumed())
    if (owned.length > 0 && isLost) work.push(this.#calls.tellLost(owned))
    if (owned.length > 0 && !isLost) work.push(this.#calls.tellRevoked(owned))
    const departure = this.#leaveAfter(member, work)
    departure.catch(() => undefined)
    this.#departure = departure
    return departure
  }

  async #leaveAfter(member: GroupMembership, work: readonly Promise<void>[]): Promise<void> {
    const results = await Promise.allSettled(work)
    const ended = this.commitsEnded()
    if (ended !== null) await ended
    // What a listener is still giving up in a poll is nobody else's until it has ended. Nobody waits for
    // that here: the listener may be what waits for this.
    if (this.isInListener) this.#calls.afterwards(() => void this.#leaveAfterCommits(member))
    else this.#leave(member)
    // A poll may be waiting for the listener.
    this.#owner.onChange()
    const failures = results.flatMap((each): unknown[] =>
      each.status === 'rejected' ? [each.reason] : [],
    )
    throwFailures([...failures, ...this.#calls.takeFailure()])
  }

  async #leaveAfterCommits(member: GroupMembership): Promise<void> {
    await this.commitsEnded()
    this.#leave(member)
  }

  #leave(member: GroupMembership): void {
    if (this.#departing === member) this.#departing = null
    member.leave()
  }

  async #settleDeparture(): Promise<void> {
    const departure = this.#departure
    try {
      await departure
    } finally {
      if (this.#departure === departure) this.#departure = null
    }
  }

  #createMember(): GroupMembership {
    const { groupId, partitionAssignmentStrategy, maxPollIntervalMs } = this.#options
    if (groupId === null) throw new TypeError('there is no group to join')
    const member = this.#context.coordinator.createMember(groupId, {
      strategy: partitionAssignmentStrategy,
      maxPollIntervalMs,
      onChange: () => {
        this.#owner.onChange()
      },
      followsTopics: () => this.#subscription.type === 'pattern',
    })
    // It is made inside a poll.
    member.pausePollTimer()
    this.#generation = -1
    this.#joinedTopics = []
    return member
  }

  /** @returns whether there is nothing more to do now */
  async #step(member: GroupMembership): Promise<boolean> {
    switch (member.state) {
      case 'joining':
        return true
      case 'stable':
        if (member.generation !== this.#generation) return this.#takeOver(member)
        if (areSameNames(this.#topics(), this.#joinedTopics)) return true
        await this.#giveUp(member)
        break
      case 'rejoin-needed':
        // What the last rebalance took away has to be free before the next one divides it.
        if (this.#isCooperative && member.generation !== this.#generation) {
          return this.#takeOver(member)
        }
        await this.#giveUp(member)
        break
      case 'lost':
        await this.#lose(member)
        break
      case 'unjoined':
        break
    }
    if (this.#member === member) this.#join(member)
    return false
  }

  #join(member: GroupMembership): void {
    this.#joinedTopics = this.#topics()
    const owned = this.#isCooperative ? this.#subscription.assignment() : []
    member.join(this.#joinedTopics, owned)
  }

  #topics(): readonly string[] {
    return this.#subscription.topics(() => this.#context.topicNames())
  }

  /** What has to be given up before a rebalance. */
  async #giveUp(member: GroupMembership): Promise<void> {
    await this.#commitConsumed()
    if (this.#member !== member) return
    const owned = this.#subscription.assignment()
    const topics = new Set(this.#topics())
    const unwanted = this.#isCooperative ? owned.filter(({ topic }) => !topics.has(topic)) : owned
    // An eager listener hears of every rebalance.
    if (unwanted.length > 0 || !this.#isCooperative) await this.#revoke(member, unwanted)
    if (unwanted.length > 0) await this.commitsEnded()
  }

  /** Takes what the rebalance has decided. There may be more to do then. */
  async #takeOver(member: GroupMembership): Promise<false> {
    this.#generation = member.generation
    const target = [...member.assignment]
    const owned = this.#subscription.assignment()
    const added = without(target, owned)
    const removed = without(owned, target)
    if (removed.length > 0) {
      await this.#commitConsumed()
      if (this.#member !== member) return false
      await this.#revoke(member, removed)
      if (this.#member !== member) return false
    }
    this.#subscription.setAssigned(target)
    await this.#calls.tellAssigned(added)
    // What was given up can go to its next owner only by another rebalance.
    if (removed.length > 0) await this.commitsEnded()
    if (removed.length > 0 && this.#member === member) this.#join(member)
    return false
  }

  async #revoke(member: GroupMembership, partitions: readonly TopicPartition[]): Promise<void> {
    this.#revoking = new Set(partitions.map(topicPartitionKey))
    await this.#calls.tellRevoked(partitions)
    this.#revoking = new Set()
    if (this.#member !== member) return
    this.#subscription.setAssigned(without(this.#subscription.assignment(), partitions))
  }

  async #lose(member: GroupMembership): Promise<void> {
    const owned = this.#subscription.assignment()
    if (owned.length > 0) await this.#calls.tellLost(owned)
    if (this.#member !== member) return
    this.#generation = -1
    this.#subscription.setAssigned([])
  }

  /** Partitions are given up even when their offsets cannot be stored. */
  async #commitConsumed(): Promise<void> {
    try {
      await this.#owner.commitConsumed()
    } catch (error) {
      this.#calls.keepFailure(error)
    }
  }
}

function without(
  partitions: readonly TopicPartition[],
  others: readonly TopicPartition[],
): TopicPartition[] {
  const keys = new Set(others.map(topicPartitionKey))
  return partitions.filter((each) => !keys.has(topicPartitionKey(each)))
}
