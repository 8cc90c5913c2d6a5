import type { PartitionAssignmentStrategy } from '../../lib/broker/assignors/assignor.ts'
import { GroupCoordinator } from '../../lib/broker/group-coordinator.ts'
import type { GroupMembership } from '../../lib/broker/group-membership.ts'
import { OffsetStore } from '../../lib/broker/offset-store.ts'
import { topicPartitionKey, type TopicPartition } from '../../lib/broker/topic-partition.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { FakeOffsetsPartition } from './fake-offsets-partition.ts'

export const MAX_POLL_INTERVAL_MS = 1000

/** A coordinator on a clock that stands still, with topics that a test can change. */
export class GroupHarness {
  readonly clock: ManualClock = new ManualClock()
  readonly topics: Map<string, number>
  readonly offsetsPartition: FakeOffsetsPartition = new FakeOffsetsPartition()
  readonly offsets: OffsetStore
  readonly coordinator: GroupCoordinator
  readonly consumers: GroupConsumer[] = []

  constructor(topics: Readonly<Record<string, number>> = { t: 4 }) {
    this.topics = new Map(Object.entries(topics))
    const data = {
      ensureDurable: () => Promise.resolve(),
      space: null,
      log: { reader: { epochOf: () => null, endOffsetForEpoch: () => null } },
    }
    this.offsets = new OffsetStore({
      clock: this.clock,
      readOnly: false,
      openTopic: () => Promise.resolve({ partitions: [this.offsetsPartition] }),
      dataPartition: () => data,
    })
    this.coordinator = new GroupCoordinator({
      clock: this.clock,
      random: new SeededRandom(1),
      offsets: this.offsets,
      followOffsets: () => Promise.resolve(),
      partitionCounts: () => this.topics,
    })
  }

  /** A consumer that has not polled yet. */
  consumer(
    strategy: PartitionAssignmentStrategy = 'range',
    topics: readonly string[] = ['t'],
    groupId = 'g',
  ): GroupConsumer {
    const consumer = new GroupConsumer(this.coordinator, groupId, strategy, topics)
    this.consumers.push(consumer)
    return consumer
  }

  changeTopic(topic: string, partitionCount: number): void {
    if (partitionCount === 0) this.topics.delete(topic)
    else this.topics.set(topic, partitionCount)
    this.coordinator.topicsChanged()
  }

  /**
   * Lets all consumers poll in turn until nothing changes any more.
   *
   * @param limit the number of rounds in which this must happen
   */
  settle(limit = 12): void {
    for (let round = 0; round < limit; round++) {
      const changes = this.consumers.filter((consumer) => consumer.poll())
      if (changes.length === 0) return
    }
    throw new Error(`the group has not settled in ${limit} rounds`)
  }

  /** The owner of each partition: `{ t-0: 'consumer-g-1' }`; fails if two consume the same one. */
  owners(): Map<string, string> {
    const owners = new Map<string, string>()
    for (const consumer of this.consumers) {
      for (const key of consumer.owned.keys()) {
        const name = consumer.name
        const other = owners.get(key)
        if (other !== undefined) throw new Error(`${key} belongs to ${other} and to ${name}`)
        owners.set(key, name)
      }
    }
    return owners
  }

  /** Keys of all partitions to which a consumer in the group subscribes. */
  wanted(): string[] {
    const topics = new Set(
      this.consumers.filter(({ isClosed }) => !isClosed).flatMap((consumer) => consumer.topics),
    )
    return [...topics].flatMap((topic) =>
      Array.from({ length: this.topics.get(topic) ?? 0 }, (_, index) => `${topic}-${index}`),
    )
  }
}

/** The group side of a poll loop, without records. */
export class GroupConsumer {
  readonly membership: GroupMembership
  readonly strategy: PartitionAssignmentStrategy
  topics: readonly string[]
  /** Rejoins without having read its last assignment, which is allowed but slow. */
  isHasty = false
  isClosed = false
  changeCount = 0
  #owned: Map<string, TopicPartition> = new Map()
  #seenGeneration = -1

  constructor(
    coordinator: GroupCoordinator,
    groupId: string,
    strategy: PartitionAssignmentStrategy,
    topics: readonly string[],
  ) {
    this.strategy = strategy
    this.topics = topics
    this.membership = coordinator.createMember(groupId, {
      strategy,
      maxPollIntervalMs: MAX_POLL_INTERVAL_MS,
      onChange: () => {
        this.changeCount += 1
      },
    })
  }

  /** The member id without its random end. */
  get name(): string {
    return this.membership.memberId.split('-').slice(0, 3).join('-')
  }

  /** The partitions that this consumer reads; none after it is lost. */
  get owned(): ReadonlyMap<string, TopicPartition> {
    return this.membership.state === 'lost' ? new Map() : this.#owned
  }

  /** Keys of the partitions that it reads. */
  get keys(): string[] {
    return [...this.owned.keys()]
  }

  /** One poll: does what the state requires. Returns whether there was anything to do. */
  poll(): boolean {
    if (this.isClosed) return false
    this.membership.pausePollTimer()
    const hasActed = this.#act()
    this.membership.polled()
    return hasActed
  }

  /** Starts a rebalance with other topics. */
  subscribe(topics: readonly string[]): void {
    this.topics = topics
    const { state } = this.membership
    if (state === 'stable' || state === 'joining') this.#join()
  }

  close(): void {
    this.isClosed = true
    this.#owned.clear()
    this.membership.leave()
  }

  #act(): boolean {
    switch (this.membership.state) {
      case 'lost':
        this.#owned.clear()
        this.#join()
        return true
      case 'unjoined':
        this.#join()
        return true
      case 'rejoin-needed':
        if (!this.isHasty) this.#takeAssignment()
        this.#join()
        return true
      case 'joining':
        return false
      case 'stable': {
        if (this.#seenGeneration === this.membership.generation) return false
        const hasRevoked = this.#takeAssignment()
        if (hasRevoked) this.#join()
        return true
      }
    }
  }

  #join(): void {
    if (this.strategy !== 'cooperative-sticky') this.#owned.clear()
    this.membership.join(this.topics, [...this.#owned.values()])
  }

  /** @returns whether any partition had to be given up. */
  #takeAssignment(): boolean {
    const { generation, assignment } = this.membership
    this.#seenGeneration = generation
    const given = new Map(assignment.map((each) => [topicPartitionKey(each), each]))
    const hasRevoked = [...this.#owned.keys()].some((key) => !given.has(key))
    this.#owned = given
    return hasRevoked
  }
}
