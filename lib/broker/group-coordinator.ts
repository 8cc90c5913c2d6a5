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

/** Dependencies of {@link GroupCoordinator}. */
export interface GroupCoordinatorOptions {
  readonly clock: Clock
  readonly random: Random
  readonly offsets: OffsetStore
  /** Number of partitions of every topic that groups may subscribe to. */
  readonly partitionCounts: () => ReadonlyMap<string, number>
  /** Reads what another process has committed by now. */
  readonly followOffsets: () => Promise<void>
}

/** State of a consumer group. */
export interface GroupDescription {
  readonly groupId: string
  readonly state: GroupState
  /**
   * Number of the last completed rebalance; 0 before the first, and while the group has no members.
   */
  readonly generation: number
  /** How partitions are assigned; `null` while the group has no members. */
  readonly strategy: PartitionAssignmentStrategy | null
  readonly members: readonly MemberDescription[]
  /** The group's committed offsets, sorted by partition. */
  readonly offsets: readonly CommittedOffset[]
}

/** Limit of the length field of a string in the internal topic. */
const MAX_GROUP_ID_BYTES = 0x7fff

/**
 * Assigns partitions to the consumers of each group, and stores the groups' committed offsets.
 *
 * A group exists while it has members or offsets. Calls may overlap; each takes effect before it
 * returns, and consumers are notified in a microtask.
 */
export class GroupCoordinator {
  readonly #options: GroupCoordinatorOptions
  /** Groups with members. */
  readonly #groups: Map<string, ConsumerGroup> = new Map()
  readonly #context: SessionContext
  #memberCount = 0
  #isClosed = false

  constructor(options: GroupCoordinatorOptions) {
    this.#options = options
    this.#context = {
      clock: options.clock,
      ensureOpen: this.#ensureOpen.bind(this),
      newMemberId: (groupId) => this.#newMemberId(groupId),
      groupFor: (groupId) => this.#groupFor(groupId),
      commit: options.offsets.commit.bind(options.offsets),
    }
  }

  /**
   * Creates a membership for one consumer, which has yet to join.
   *
   * @throws {@link InvalidGroupIdError} when `groupId` is not a valid id
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
    return new MemberSession(this.#context, groupId, options)
  }

  /**
   * Refuses a group whose committed offsets are damaged, or were left on a Kafka broker. It may not
   * continue from an offset before the damage, or from `autoOffsetReset` as if nothing were
   * committed.
   *
   * @throws {@link CorruptRecordError} in that case
   */
  ensureOffsetsKnown(groupId: string): void {
    const damage = this.#options.offsets.damageOf(groupId)
    if (damage !== null) throw damage
  }

  /**
   * If some committed offsets are damaged, it is unknown which ones to delete together with a
   * topic.
   *
   * @throws {@link CorruptRecordError} in that case
   */
  ensureAllOffsetsKnown(): void {
    const { damage } = this.#options.offsets
    if (damage !== null) throw damage
  }

  /**
   * The offset that a group continues from; `null` when it has none for this partition.
   *
   * @throws {@link CorruptRecordError} when that is not known
   */
  committed(groupId: string, topicPartition: TopicPartition): OffsetAndMetadata | null {
    this.ensureOffsetsKnown(groupId)
    return this.#options.offsets.fetch(groupId, topicPartition)
  }

  /**
   * The last commit of a group, even if records below it were truncated since.
   *
   * @throws as {@link GroupCoordinator.committed}
   */
  lastCommit(groupId: string, topicPartition: TopicPartition): OffsetAndMetadata | null {
    this.ensureOffsetsKnown(groupId)
    return this.#options.offsets.lastCommit(groupId, topicPartition)
  }

  /**
   * In a directory open for reading only: looks for what its owner has committed. Otherwise that is
   * read once a second.
   *
   * @throws {@link StorageError} if the look fails; damage is left to the calls that need the offsets
   */
  followOffsets(): Promise<void> {
    return this.#options.followOffsets()
  }

  /**
   * Stores offsets for consumers that assign their partitions themselves.
   *
   * @throws {@link InvalidGroupIdError} when `groupId` is not a valid id
   * @throws {@link CommitFailedError} while the group has members that poll in time: only they know
   * who owns which partition
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
        'the group has subscribed members, and this consumer is not subscribed',
      )
    }
    await this.#options.offsets.commit(groupId, offsets, options)
    if (offsets.length > 0) this.#clearDeserted(groupId)
  }

  /**
   * Resolves when all commits of the group that were called before, by any consumer, have ended;
   * `null` if they already have.
   */
  commitsEnded(groupId: string): Promise<void> | null {
    return this.#options.offsets.commitsEnded(groupId)
  }

  /** Called when topics or partitions were created or deleted: the groups concerned rebalance. */
  topicsChanged(): void {
    if (this.#groups.size === 0) return
    const partitionCounts = this.#options.partitionCounts()
    for (const group of [...this.#groups.values()]) group.topicsChanged(partitionCounts)
  }

  /**
   * Removes the committed offsets of a topic's partitions from `fromPartition` on.
   *
   * @throws {@link CorruptRecordError} when they are not known, or as `OffsetStore.forgetTopic`
   */
  async forgetTopic(topic: string, fromPartition: number = 0): Promise<void> {
    this.ensureAllOffsetsKnown()
    await this.#options.offsets.forgetTopic(topic, fromPartition)
  }

  /**
   * Removes a group with all its committed offsets.
   *
   * @throws {@link InvalidGroupIdError} when `groupId` is not a valid id
   * @throws {@link GroupNotEmptyError} while it has members that poll in time
   * @throws {@link GroupIdNotFoundError} when there is no such group
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
    // Checked again after the commits it waits for: a member may have joined and rely on them.
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

  /** Removes all members and their timers. Later calls fail, except those that only read. */
  close(): void {
    this.#isClosed = true
    for (const group of this.#groups.values()) group.close()
    this.#groups.clear()
  }

  /** The group's members; `null` if there are none, or none that polls in time. */
  #membersOf(groupId: string): MemberDescription[] | null {
    const group = this.#groups.get(groupId)
    return group === undefined || group.isDeserted ? null : group.members()
  }

  /** Removes the overdue members after another call has decided the group's position. */
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
 * Checks that `groupId` can name a group: a non-empty string that reads back from disk unchanged.
 *
 * @throws {@link InvalidGroupIdError} when it cannot
 */
export function checkGroupId(groupId: unknown): string {
  if (typeof groupId !== 'string' || groupId === '') {
    throw new InvalidGroupIdError(
      `groupId must be a non-empty string, got ${describeValue(groupId)}`,
    )
  }
  const sizeBytes = Buffer.byteLength(groupId)
  if (sizeBytes > MAX_GROUP_ID_BYTES) {
    throw new InvalidGroupIdError(
      `groupId must have at most ${MAX_GROUP_ID_BYTES} bytes, got ${sizeBytes}`,
    )
  }
  // Two such ids would become the same after a restart.
  if (!isWellFormed(groupId)) {
    throw new InvalidGroupIdError('groupId must be well-formed Unicode, got a lone surrogate')
  }
  return groupId
}
