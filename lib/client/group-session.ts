import type { GroupMembership } from '../broker/group-membership.ts'
import type { CommitOptions, OffsetCommit } from '../broker/offset-and-metadata.ts'
import { areSameNames, topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import { ReadOnlyError } from '../errors.ts'
import { throwFailures } from '../errors/several-failures.ts'
import type { ConsumerContext } from './consumer-context.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import { ListenerCalls } from './listener-calls.ts'
import type { CommitTarget } from './offset-committer.ts'
import type { SubscriptionState } from './subscription-state.ts'

type GroupOptions = Pick<
  ResolvedConsumerOptions<unknown, unknown>,
  'groupId' | 'partitionAssignmentStrategy' | 'maxPollIntervalMs'
>

/** What a session needs from its consumer. */
export interface GroupSessionOwner {
  /** Called when the group has changed and `drive` has work to do. */
  onChange(): void
  /** Called when partitions are about to be given up. */
  commitConsumed(): Promise<void>
}

/**
 * A consumer's membership in its group: joins, gives up partitions, accepts new ones, and calls the
 * listener. All of that happens inside `drive`, which a poll calls.
 *
 * Calls of `drive` must not overlap. All other calls may be made at any time, also by the listener.
 */
export class GroupSession implements CommitTarget {
  /** The application's listener. */
  readonly listener: ListenerCalls = new ListenerCalls()
  readonly #context: ConsumerContext
  readonly #options: GroupOptions
  readonly #isCooperative: boolean
  readonly #subscription: SubscriptionState
  readonly #owner: GroupSessionOwner
  #member: GroupMembership | null = null
  /** A member that has yet to leave the group. */
  #departing: GroupMembership | null = null
  #departure: Promise<void> | null = null
  #generation = -1
  #joinedTopics: readonly string[] = []
  /** Keys of the partitions whose revocation or loss the listener is being notified of. */
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

  /** Whether there is a member that has to poll in time. */
  get hasMember(): boolean {
    return this.#member !== null
  }

  /** Called when a poll starts: from now on the consumer is not idle. */
  startPoll(): void {
    this.#member?.pausePollTimer()
  }

  /** Called when a poll ends: the time until the next poll counts from now on. */
  endPoll(): void {
    this.#member?.polled()
  }

  /** Commits offsets as the member, or for the group if there is no member. */
  commit(offsets: readonly OffsetCommit[], options?: CommitOptions): Promise<void> {
    if (this.#context.readOnly) throw new ReadOnlyError('the broker is open for reading only')
    const member = this.#member ?? this.#departing
    if (member !== null && member.state !== 'unjoined') return member.commit(offsets, options)
    const { groupId } = this.#options
    if (groupId === null) throw new TypeError('there is no group to commit for')
    return this.#context.coordinator.commit(groupId, offsets, options)
  }

  /**
   * Resolves when all commits called before have ended; `null` if all have. Their errors are
   * reported to their callers.
   *
   * Partitions that are given up are assigned to the next owner only after these commits, or it
   * would start at older offsets.
   */
  commitsEnded(): Promise<void> | null {
    const { groupId } = this.#options
    return groupId === null ? null : this.#context.coordinator.commitsEnded(groupId)
  }

  /**
   * Does what the group requires, until the only thing left is to wait.
   *
   * @throws the error of the listener, after everything else is done
   */
  async drive(): Promise<void> {
    await this.#settleDeparture()
    // A member created after the close would never leave.
    if (this.#isEnded || !this.#subscription.isSubscribed) return
    const member = (this.#member ??= this.#createMember())
    for (;;) {
      const isSettled = await this.#step(member)
      throwFailures(this.listener.takeFailure())
      if (isSettled || this.#member !== member) return
    }
  }

  /** Prevents further joins: the consumer is closing. */
  end(): void {
    this.#isEnded = true
  }

  /**
   * Gives up all partitions: commits, calls the listener, and leaves the group once no commit is in
   * progress. When this returns, the listener has been called while the partitions were still
   * assigned. The promise covers the rest.
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
    if (owned.length > 0 && isLost) work.push(this.listener.tellLost(owned))
    if (owned.length > 0 && !isLost) work.push(this.listener.tellRevoked(owned))
    const departure = this.#leaveAfter(member, work)
    departure.catch(() => undefined)
    this.#departure = departure
    return departure
  }

  async #leaveAfter(member: GroupMembership, work: readonly Promise<void>[]): Promise<void> {
    const results = await Promise.allSettled(work)
    const ended = this.commitsEnded()
    if (ended !== null) await ended
    // Partitions that a listener is still giving up in a poll must not get a new owner before it
    // has ended. This does not wait for it, because the listener may be waiting for this call.
    if (this.listener.isRunning)
      this.listener.afterwards(() => void this.#leaveAfterCommits(member))
    else this.#leave(member)
    // A poll may be waiting for the listener.
    this.#owner.onChange()
    const failures = results.flatMap((each): unknown[] =>
      each.status === 'rejected' ? [each.reason] : [],
    )
    throwFailures([...failures, ...this.listener.takeFailure()])
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
    // The member is created inside a poll.
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
        // Partitions revoked by the last rebalance must be released before the next one divides
        // them.
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

  /** Gives up the partitions that must be released before a rebalance. */
  async #giveUp(member: GroupMembership): Promise<void> {
    await this.#commitConsumed()
    if (this.#member !== member) return
    const owned = this.#subscription.assignment()
    const topics = new Set(this.#topics())
    const unwanted = this.#isCooperative ? owned.filter(({ topic }) => !topics.has(topic)) : owned
    // With an eager strategy the listener is called for every rebalance.
    if (unwanted.length > 0 || !this.#isCooperative) await this.#revoke(member, unwanted)
    if (unwanted.length > 0) await this.commitsEnded()
  }

  /** Accepts the assignment of a rebalance. There may be more to do afterwards. */
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
    await this.listener.tellAssigned(added)
    // Released partitions reach their next owner only through another rebalance.
    if (removed.length > 0) await this.commitsEnded()
    if (removed.length > 0 && this.#member === member) this.#join(member)
    return false
  }

  async #revoke(
    member: GroupMembership,
    partitions: readonly TopicPartition[],
    { isLost = false } = {},
  ): Promise<void> {
    // A listener that unsubscribes or closes must not be told of the same partitions again.
    this.#revoking = new Set(partitions.map(topicPartitionKey))
    if (isLost) await this.listener.tellLost(partitions)
    else await this.listener.tellRevoked(partitions)
    this.#revoking = new Set()
    if (this.#member !== member) return
    this.#subscription.setAssigned(without(this.#subscription.assignment(), partitions))
  }

  async #lose(member: GroupMembership): Promise<void> {
    const owned = this.#subscription.assignment()
    if (owned.length > 0) await this.#revoke(member, owned, { isLost: true })
    if (this.#member === member) this.#generation = -1
  }

  /** Partitions are given up even if their offsets cannot be stored. */
  async #commitConsumed(): Promise<void> {
    try {
      await this.#owner.commitConsumed()
    } catch (error) {
      this.listener.keepFailure(error)
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
