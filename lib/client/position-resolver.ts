import { withinEpoch } from '../broker/consumed-partition.ts'
import type { OffsetAndMetadata, OffsetCommit } from '../broker/offset-and-metadata.ts'
import { cutOff } from '../broker/iteration-place.ts'
import type { Partition } from '../broker/partition.ts'
import { outOfRange } from '../broker/record-deletion.ts'
import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import { refuseThenable } from '../checks.ts'
import { NoOffsetForPartitionError, UnknownTopicOrPartitionError } from '../errors.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import { CommitsInProgress } from './commits-in-progress.ts'
import type { ConsumerContext } from './consumer-context.ts'
import type { AutoOffsetReset, OffsetReset, ResolvedConsumerOptions } from './consumer-options.ts'

/** Determines the position of a partition when it is needed, without a wait. */
export class PositionResolver {
  readonly #context: Pick<ConsumerContext, 'topic' | 'coordinator' | 'readOnly'>
  readonly #groupId: string | null
  readonly #autoOffsetReset: AutoOffsetReset
  readonly #onOffsetReset: ((reset: OffsetReset) => void) | null
  readonly #onForgotten: (state: AssignedPartition) => void
  readonly #committing: CommitsInProgress = new CommitsInProgress()

  /** @param onForgotten called when what was read from a partition no longer counts */
  constructor(
    context: Pick<ConsumerContext, 'topic' | 'coordinator' | 'readOnly'>,
    options: Pick<
      ResolvedConsumerOptions<unknown, unknown>,
      'groupId' | 'autoOffsetReset' | 'onOffsetReset'
    >,
    onForgotten: (state: AssignedPartition) => void,
  ) {
    this.#context = context
    this.#groupId = options.groupId
    this.#autoOffsetReset = options.autoOffsetReset
    this.#onOffsetReset = options.onOffsetReset
    this.#onForgotten = onForgotten
  }

  /** Whether another process appends, so that this process is not notified of new records. */
  get readOnly(): boolean {
    return this.#context.readOnly
  }

  /**
   * Returns the log to read from.
   *
   * If the topic has been deleted, whether or not it was created again, the position is forgotten:
   * it referred to another log.
   *
   * @returns `null` while there is no such partition
   */
  source(state: AssignedPartition): Partition | null {
    const topic = this.#context.topic(state.topic)
    const source = topic?.partitions[state.partition] ?? null
    if (source === state.source) return source
    // A seek referred to the other log, or was made while there was none.
    state.position = null
    state.reset = null
    if (state.source !== null) this.#onForgotten(state)
    state.source = source
    state.hasSeenEnd = false
    state.topicId = source === null ? null : (topic?.id ?? null)
    state.onTouched()
    return source
  }

  /** Returns the partition. @throws {@link UnknownTopicOrPartitionError} when it does not exist */
  ensureExists({ topic, partition }: TopicPartition): Partition {
    const found = this.#context.topic(topic)
    const source = found?.partitions[partition]
    if (source !== undefined) return source
    const reason =
      found === undefined
        ? `there is no topic '${topic}'`
        : `topic '${topic}' has ${found.partitions.length} partitions, numbered from 0`
    throw new UnknownTopicOrPartitionError(
      topic,
      partition,
      `partition ${topicPartitionKey({ topic, partition })} does not exist: ${reason}`,
    )
  }

  /**
   * Checks that the partition still belongs to a topic.
   * @throws {@link UnknownTopicOrPartitionError} when it does not
   */
  ensureIsOf(topicPartition: TopicPartition, topicId: string): void {
    this.ensureExists(topicPartition)
    const { topic, partition } = topicPartition
    if (this.#context.topic(topic)?.id === topicId) return
    const key = topicPartitionKey(topicPartition)
    const reason = `the topic of partition ${key} was deleted, and another topic has its name now`
    throw new UnknownTopicOrPartitionError(topic, partition, reason)
  }

  /** The offset that the group has committed; `null` for none, or without a group. */
  committed(partition: TopicPartition): OffsetAndMetadata | null {
    if (this.#groupId === null) return null
    return this.#context.coordinator.committed(this.#groupId, partition)
  }

  /**
   * Limits a consumed offset to what its leader epoch has written: records truncated since then do
   * not count, as for committed offsets.
   */
  offsetWithinEpoch({ topic, partition, offset, leaderEpoch = null }: OffsetCommit): number {
    const source = this.#context.topic(topic)?.partitions[partition] ?? null
    return withinEpoch({ offset, leaderEpoch }, source, this.#context.readOnly).offset
  }

  /**
   * Whether the group's committed offset equals a consumed offset, limited in the same way, and will
   * once the commits in progress have ended, whichever of them fail.
   */
  isCommitted(state: AssignedPartition, offset: number): boolean {
    const consumed = { offset, leaderEpoch: state.epochBefore(offset) }
    const reached = withinEpoch(consumed, state.source, this.#context.readOnly)
    if (this.committed(state)?.offset !== reached.offset) return false
    return this.#committing.areAllAt(state, reached.offset)
  }

  /** Whether an offset after a held record is being committed, by a call since the partition's last move. */
  isBeingCommitted(state: AssignedPartition, heldOffset: number): boolean {
    return this.#committing.covers(state, heldOffset)
  }

  #lastCommit(partition: TopicPartition): OffsetAndMetadata | null {
    if (this.#groupId === null) return null
    return this.#context.coordinator.lastCommit(this.#groupId, partition)
  }

  /**
   * Notes offsets whose commit is in progress. Partitions that are given up may be assigned again
   * at once, and their consumer then continues at these offsets.
   *
   * @returns a function to call once the commit has ended
   */
  noteCommitting(offsets: readonly OffsetCommit[]): () => void {
    const topicIds = offsets.map(({ topic, partition, offset }) => {
      const found = this.#context.topic(topic)
      const source = found?.partitions[partition]
      // A commit beyond the end will be refused.
      return source === undefined || offset > source.logEndOffset ? null : (found?.id ?? null)
    })
    return this.#committing.add(offsets, topicIds)
  }

  /**
   * Returns the offset to read next: the position, or the target of `seekToBeginning` or
   * `seekToEnd`, or the committed offset, or what `autoOffsetReset` selects. If the records that
   * were read or committed last no longer exist, it is the end of the records before them. An end
   * of a log that another process writes is as of the last look.
   *
   * @throws {@link NoOffsetForPartitionError} when `autoOffsetReset` is `'none'` and there is no
   * other offset
   * @throws {@link OffsetOutOfRangeError} when it is `'none'` and the log does not hold what was
   * committed or read
   */
  resolve(state: AssignedPartition, source: Partition): number {
    this.#follow(state, source)
    return this.#settledAt(state, source)
  }

  /**
   * The same for a poll, which must not move to an end that is known from long ago: old records
   * would be returned as new ones.
   *
   * @returns `null` if {@link PositionResolver.lookForEnd} or
   * {@link PositionResolver.lookForCommits} has to look first, because the position was to be
   * something else when it was called
   */
  resolveInPoll(state: AssignedPartition, source: Partition): number | null {
    if (this.#lacksEnd(state, source) || this.lacksCommit(state)) return null
    this.#follow(state, source)
    // A callback for a reset may move it to the end.
    return this.#lacksEnd(state, source) ? null : this.#settledAt(state, source)
  }

  /**
   * Looks for what another process has appended, if the position is to be the end of the log.
   *
   * @returns `null` if no look is needed
   * @throws {@link StorageError} if the look fails
   */
  lookForEnd(state: AssignedPartition): Promise<void> | null {
    state.hasSeenEnd = false
    state.commitSeenFrom = null
    const source = this.source(state)
    if (source === null || !this.#lacksEnd(state, source)) return null
    const note = (): void => {
      state.hasSeenEnd = state.source === source
    }
    return source.refresh().then(note, (error: unknown) => {
      // Whoever comes next notices that the topic is being deleted, or the broker closed.
      if (!source.isClosed) throw error
    })
  }

  /**
   * Whether the position depends on the group's commits, and another process may have stored others.
   */
  lacksCommit(state: AssignedPartition): boolean {
    const { position, reset, source, commitSeenFrom } = state
    if (position !== null || reset !== null || this.#groupId === null) return false
    if (!this.#context.readOnly || source === null || source.isClosed) return false
    const { logStartOffset } = source.log
    if (commitSeenFrom === null) return true
    if (commitSeenFrom === logStartOffset) return false
    // What is deleted below the commit does not matter.
    const commit = this.#lastCommit(state)
    return commit === null || commit.offset < logStartOffset
  }

  /**
   * Looks for what another process has committed. Called after the looks for ends: what has been
   * consumed is committed before it is deleted.
   *
   * @param states those that lack the commit
   * @throws {@link StorageError} if the look fails
   */
  async lookForCommits(states: readonly AssignedPartition[]): Promise<void> {
    const looks = states.map((state) => {
      const { source } = state
      return { state, source, from: source?.log.logStartOffset ?? null }
    })
    await this.#context.coordinator.followOffsets()
    for (const { state, source, from } of looks) {
      if (state.source === source) state.commitSeenFrom = from
    }
  }

  /** Whether the position is to be the end of the log, and another process may have moved that. */
  #lacksEnd(state: AssignedPartition, source: Partition): boolean {
    if (!this.#context.readOnly || state.hasSeenEnd || source.isClosed) return false
    const { position, reset } = state
    if (position === null) return (reset ?? this.#autoOffsetReset) === 'latest'
    // The partition's getter would begin a look at every log, also at those that are not read now.
    const isKept = state.isPaused || position >= source.log.logStartOffset
    return !isKept && this.#autoOffsetReset === 'latest'
  }

  /**
   * Whether the records right before the position no longer exist: they may have been truncated
   * while a read there waited or was in progress. {@link PositionResolver.resolve} then finds
   * another position.
   */
  hasLapsed(state: AssignedPartition, source: Partition): boolean {
    return this.#knownEnd(state, source, state.position ?? 0) !== null
  }

  /** Finds the position, unless it is to be an end, and moves it back behind a truncation. */
  #follow(state: AssignedPartition, source: Partition): void {
    if (state.position === null && state.reset === null) this.#start(state, source)
    const { position } = state
    const end = position === null ? null : this.#knownEnd(state, source, position)
    if (position === null || end === null) return
    if (this.#autoOffsetReset === 'none') throw cutOff(source, position, end)
    this.#reset(state, source, end, 'truncated')
  }

  /** The position, or the end it was asked to move to, including by a callback for a reset. */
  #settledAt(state: AssignedPartition, source: Partition): number {
    if (state.position === null && state.reset !== null) toEnd(state, source, state.reset)
    return state.position ?? 0
  }

  /**
   * Moves a position that the log does not hold: as `autoOffsetReset` says, or, if the records read
   * last have been lost, to the end of the records before them.
   *
   * @returns whether it moved, or will; with `'none'` it does not
   */
  resetOutOfRange(state: AssignedPartition, source: Partition): boolean {
    if (this.#autoOffsetReset === 'none') return false
    // Another process has deleted records since the round began: the next one looks for the end.
    if (this.#lacksEnd(state, source)) return true
    const position = state.position ?? 0
    const end = this.#truncatedTo(state, source, position)
    if (end !== null) this.#reset(state, source, end, 'truncated')
    else {
      const reason = position < source.logStartOffset ? 'deleted' : 'beyond-end'
      this.#reset(state, source, endOf(source, this.#autoOffsetReset), reason)
    }
    return true
  }

  #start(state: AssignedPartition, source: Partition): void {
    // If records below it were truncated since, the move back is reported as for records that were
    // read.
    const committed = this.#committing.last(state.key, state.topicId) ?? this.#lastCommit(state)
    if (committed !== null && committed.offset >= source.logStartOffset) {
      state.resume(committed.offset, committed.leaderEpoch ?? null)
      return
    }
    if (this.#autoOffsetReset === 'none') {
      if (committed !== null) throw outOfRange(source.log, committed.offset, source.logEndOffset)
      throw new NoOffsetForPartitionError(state.topic, state.partition)
    }
    if (committed === null) toEnd(state, source, this.#autoOffsetReset)
    else {
      state.position = committed.offset
      this.#reset(state, source, endOf(source, this.#autoOffsetReset), 'deleted')
    }
  }

  /** The end of the records before a position, if they end before it; otherwise `null`. */
  #truncatedTo(state: AssignedPartition, source: Partition, position: number): number | null {
    // A position set by the application does not depend on the records before it, unless it is the
    // end of the log.
    if (state.isSought && state.leaderEpoch === null) return null
    const end = source.log.reader.endOffsetForEpoch(state.leaderEpoch)
    return end !== null && end < position ? end : null
  }

  /** The same, but `null` if the log may continue after its known end: a fetch finds out. */
  #knownEnd(state: AssignedPartition, source: Partition, position: number): number | null {
    const end = this.#truncatedTo(state, source, position)
    // Another process may have written more than has been read.
    return this.#context.readOnly && end === source.logEndOffset ? null : end
  }

  #reset(
    state: AssignedPartition,
    source: Partition,
    to: number,
    reason: OffsetReset['reason'],
  ): void {
    const from = state.position ?? 0
    if (reason !== 'truncated') seekBehind(state, source, to)
    // It follows what is left of the records that were read, and more of those may be truncated.
    else state.resume(to, source.log.reader.epochOf(to - 1))
    this.#onForgotten(state)
    const told: unknown = this.#onOffsetReset?.({ ...state.toTopicPartition(), from, to, reason })
    refuseThenable('onOffsetReset must not be asynchronous', told)
  }
}

function toEnd(state: AssignedPartition, source: Partition, end: 'earliest' | 'latest'): void {
  seekBehind(state, source, endOf(source, end))
}

/** Records appended from now on must be read, even if they replace truncated ones. */
function seekBehind(state: AssignedPartition, source: Partition, offset: number): void {
  state.seek(offset)
  state.leaderEpoch = source.log.reader.epochOf(offset - 1)
}

function endOf(source: Partition, end: 'earliest' | 'latest'): number {
  return end === 'earliest' ? source.logStartOffset : source.highWatermark
}
