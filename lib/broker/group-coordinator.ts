import { checkWholeNumber, describeValue, isWellFormed } from '../checks.ts'
import {
  ClosedError,
  CommitFailedError,
  GroupIdNotFoundError,
  GroupNotEmptyError,
  InvalidGroupIdError,
} from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import type { Random } from '../platform/random.ts'
import { assignorFor, type PartitionAssignmentStrategy } from './assignors/assignor.ts'
import { ConsumerGroup, type GroupState, type MemberDescription } from './consumer-group.ts'
import type { GroupMembership, MembershipOptions } from './group-membership.ts'
import { MemberSession, type SessionContext } from './member-session.ts'
import type { CommitOptions, OffsetAndMetadata, OffsetCommit } from './offset-and-metadata.ts'
import type { CommittedOffset, OffsetStore } from './offset-store.ts'
import { compareNames, type TopicPartition } from './topic-partition.ts'

/** What a {@link GroupCoordinator} works with. */
export interface GroupCoordinatorOptions {
  readonly clock: Clock
  readonly random: Random
  readonly offsets: OffsetStore
  /** Number of partitions of every topic that groups may subscribe to. */
  readonly partitionCounts: () => ReadonlyMap<string, number>
}

/** A consumer group as it is now. */
export interface GroupDescription {
  readonly groupId: string
  readonly state: GroupState
  /** Number of the last completed rebalance; 0 before the first, and when the group has no members. */
  readonly generation: number
  /** `null` when the group has no members. */
  readonly strategy: PartitionAssignmentStrategy | null
  readonly members: readonly MemberDescription[]
  /** What the group has committed, sorted by partition. */
  readonly offsets: readonly CommittedOffset[]
}

/** What the length field of a string in the internal topic can say. */
const MAX_GROUP_ID_BYTES = 0x7fff

/**
 * Divides partitions among the consumers of a group, and keeps what groups have committed.
 *
 * A group exists while it has members or offsets. All calls may overlap; each has its effect before
 * it returns, and consumers hear of it in a microtask.
 */
export class GroupCoordinator {
  readonly #options: GroupCoordinatorOptions
  /** Those with members. */
  readonly #groups: Map<string, ConsumerGroup> = new Map()
  readonly #context: SessionContext
  #memberCount = 0
  #isClosed = false

  constructor(options: GroupCoordinatorOptions) {
    this.#options = options
    this.#context = {
      clock: options.clock,
      isClosed: () => this.#isClosed,
      newMemberId: (groupId) => this.#newMemberId(groupId),
      groupFor: (groupId) => this.#groupFor(groupId),
      commit: options.offsets.commit.bind(options.offsets),
    }
  }

  /**
   * A place in a group for one consumer, which has yet to join.
   *
   * @throws {@link InvalidGroupIdError} when `groupId` is no id
   * @throws {@link InconsistentGroupProtocolError} when the group's members have another strategy
   * @throws RangeError when there is no such strategy, or `maxPollIntervalMs` is out of range
   * @throws {@link CorruptRecordError} when it is not known what groups have committed
   * @throws {@link ClosedError}
   */
  createMember(groupId: string, options: MembershipOptions): GroupMembership {
    this.#ensureOpen()
    checkGroupId(groupId)
    assignorFor(options.strategy)
    checkWholeNumber('maxPollIntervalMs', options.maxPollIntervalMs, 1, Number.MAX_SAFE_INTEGER)
    this.ensureOffsetsKnown(groupId)
    this.#groups.get(groupId)?.ensureConsistent(options.strategy)
    return new MemberSession(this.#context, groupId, { ...options })
  }

  /**
   * Where the offsets that a group has committed are damaged, or were left on a broker, it may not go on from
   * what was before the damage, or from `autoOffsetReset`, as if nothing were committed.
   *
   * @throws {@link CorruptRecordError} then
   */
  ensureOffsetsKnown(groupId: string): void {
    const damage = this.#options.offsets.damageOf(groupId)
    if (damage !== null) throw damage
  }

  /**
   * Where some are damaged, nobody knows which of them have to go with a topic.
   *
   * @throws {@link CorruptRecordError} then
   */
  ensureAllOffsetsKnown(): void {
    const { damage } = this.#options.offsets
    if (damage !== null) throw damage
  }

  /**
   * The offset that a group goes on from, `null` when it has none for this partition.
   *
   * @throws {@link CorruptRecordError} when that is not known
   */
  committed(groupId: string, topicPartition: TopicPartition): OffsetAndMetadata | null {
    this.ensureOffsetsKnown(groupId)
    return this.#options.offsets.fetch(groupId, topicPartition)
  }

  /**
   * What a group has committed last, also where records below it were cut off since.
   *
   * @throws as {@link GroupCoordinator.committed}
   */
  lastCommit(groupId: string, topicPartition: TopicPartition): OffsetAndMetadata | null {
    this.ensureOffsetsKnown(groupId)
    return this.#options.offsets.lastCommit(groupId, topicPartition)
  }

  /**
   * Stores offsets for consumers that choose their partitions themselves.
   *
   * @throws {@link InvalidGroupIdError} when `groupId` is no id
   * @throws {@link CommitFailedError} while the group has members that poll in time: only they know who
   * owns what
   * @throws {@link CorruptRecordError} when it is not known what groups have committed
   * @throws {@link ClosedError}, or as `OffsetStore.commit`
   */
  async commit(
    groupId: string,
    offsets: readonly OffsetCommit[],
    options?: CommitOptions,
  ): Promise<void> {
    this.#ensureOpen()
    checkGroupId(groupId)
    this.ensureOffsetsKnown(groupId)
    if (this.#membersOf(groupId) !== null) {
      throw new CommitFailedError(
        groupId,
        'it has members that subscribe, and this consumer has assigned its partitions itself',
      )
    }
    await this.#options.offsets.commit(groupId, offsets, options)
    if (offsets.length > 0) this.#clearDeserted(groupId)
  }

  /**
   * Resolves when the commits of a group that were called before have ended, by whomever; `null` where
   * all have.
   */
  commitsEnded(groupId: string): Promise<void> | null {
    return this.#options.offsets.commitsEnded(groupId)
  }

  /** To be called when topics or partitions have come or gone: the groups concerned rebalance. */
  topicsChanged(): void {
    if (this.#groups.size === 0) return
    const partitionCounts = this.#options.partitionCounts()
    for (const group of [...this.#groups.values()]) group.topicsChanged(partitionCounts)
  }

  /**
   * Removes what any group has committed for a topic.
   *
   * @throws {@link CorruptRecordError} when that is not known, or as `OffsetStore.forgetTopic`
   */
  async forgetTopic(topic: string): Promise<void> {
    this.ensureAllOffsetsKnown()
    await this.#options.offsets.forgetTopic(topic)
  }

  /**
   * Removes a group with all that it has committed.
   *
   * @throws {@link InvalidGroupIdError} when `groupId` is no id
   * @throws {@link GroupNotEmptyError} while it has members that poll in time
   * @throws {@link GroupIdNotFoundError} when there is none
   * @throws {@link CorruptRecordError} when it is not known what groups have committed, or as
   * `OffsetStore.forgetGroup`
   */
  async deleteGroup(groupId: string): Promise<void> {
    this.#ensureOpen()
    checkGroupId(groupId)
    this.ensureOffsetsKnown(groupId)
    const ensureEmpty = (): void => {
      const members = this.#membersOf(groupId)
      if (members !== null) throw new GroupNotEmptyError(groupId, members.length)
    }
    ensureEmpty()
    // Once more behind the commits that it waits for: somebody may have joined, and stand where they say.
    const isForgotten = await this.#options.offsets.forgetGroup(groupId, ensureEmpty)
    if (!isForgotten) throw new GroupIdNotFoundError(groupId)
    this.#clearDeserted(groupId)
  }

  /** All groups, sorted by id. */
  describe(): GroupDescription[] {
    const { offsets } = this.#options
    const groupIds = new Set([...this.#groups.keys(), ...offsets.groups()])
    return [...groupIds].sort(compareNames).map((groupId) => {
      const group = this.#groups.get(groupId)
      return {
        groupId,
        state: group?.state ?? 'Empty',
        generation: group?.generation ?? 0,
        strategy: group?.strategy ?? null,
        members: group?.members() ?? [],
        offsets: offsets.offsetsOf(groupId),
      }
    })
  }

  /** Puts all members out: they are lost, and no timer is left. Further calls than reading fail. */
  close(): void {
    this.#isClosed = true
    for (const group of this.#groups.values()) group.close()
    this.#groups.clear()
  }

  /** Members that are in the way of others; `null` where there are none, but who does not poll in time. */
  #membersOf(groupId: string): MemberDescription[] | null {
    const group = this.#groups.get(groupId)
    return group === undefined || group.isDeserted ? null : group.members()
  }

  /** Somebody else has decided where the group stands. */
  #clearDeserted(groupId: string): void {
    const group = this.#groups.get(groupId)
    if (group?.isDeserted !== true) return
    group.close()
    this.#groups.delete(groupId)
  }

  #groupFor(groupId: string): ConsumerGroup {
    let group = this.#groups.get(groupId)
    if (group === undefined) {
      group = new ConsumerGroup({
        groupId,
        partitionCounts: this.#options.partitionCounts,
        onEmpty: () => this.#groups.delete(groupId),
      })
      this.#groups.set(groupId, group)
    }
    return group
  }

  #newMemberId(groupId: string): string {
    this.#memberCount += 1
    const hex = this.#options.random.bytes(16).toString('hex')
    const uuid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
    return `consumer-${groupId}-${this.#memberCount}-${uuid}`
  }

  #ensureOpen(): void {
    if (this.#isClosed) throw new ClosedError('the group coordinator is closed')
  }
}

/**
 * Checks that `groupId` can name a group: text that is not empty and comes back from the disk as it
 * was.
 *
 * @throws {@link InvalidGroupIdError} when it is something else
 */
export function checkGroupId(groupId: unknown): string {
  if (typeof groupId !== 'string' || groupId === '') {
    throw new InvalidGroupIdError(
      `groupId must be a string that is not empty, got ${describeValue(groupId)}`,
    )
  }
  const sizeBytes = Buffer.byteLength(groupId)
  if (sizeBytes > MAX_GROUP_ID_BYTES) {
    throw new InvalidGroupIdError(
      `groupId must have at most ${MAX_GROUP_ID_BYTES} bytes, got ${sizeBytes}`,
    )
  }
  // Two such ids would be one after a restart.
  if (!isWellFormed(groupId)) {
    throw new InvalidGroupIdError('groupId must be well-formed Unicode, got a lone surrogate')
  }
  return groupId
}
