import { withinEpoch } from '../broker/consumed-partition.ts'
import type { OffsetAndMetadata, OffsetCommit } from '../broker/offset-and-metadata.ts'
import { cutOff } from '../broker/iteration-place.ts'
import type { Partition } from '../broker/partition.ts'
import { outOfRange } from '../broker/record-deletion.ts'
import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import { refuseThenable } from '../checks.ts'
import { NoOffsetForPartitionError, UnknownTopicOrPartitionError } from '../errors.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import type { ConsumerContext } from './consumer-context.ts'
import type { AutoOffsetReset, OffsetReset, ResolvedConsumerOptions } from './consumer-options.ts'

/** Finds out where to read on in a partition, when it is needed and not before. Never waits. */
export class PositionResolver {
  readonly #context: Pick<ConsumerContext, 'topic' | 'coordinator' | 'readOnly'>
  readonly #groupId: string | null
  readonly #autoOffsetReset: AutoOffsetReset
  readonly #onOffsetReset: ((reset: OffsetReset) => void) | null
  readonly #onForgotten: (state: AssignedPartition) => void
  /** What the group is about to have committed, and of which topic. */
  readonly #committing: Map<string, OffsetCommit & { readonly topicId: string | null }> = new Map()

  /** @param onForgotten called when what was read of a partition does not count any more */
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

  /** Whether another process appends, so that nobody here is told of what is new. */
  get readOnly(): boolean {
    return this.#context.readOnly
  }

  /**
   * The log to read from.
   *
   * When the topic has been deleted, created anew or not, the position is forgotten: it counted the
   * records of another log.
   *
   * @returns `null` while there is no such partition
   */
  source(state: AssignedPartition): Partition | null {
    const topic = this.#context.topic(state.topic)
    const source = topic?.partitions[state.partition] ?? null
    if (source === state.source) return source
    // What was sought was sought in the other log, or where there was none.
    state.position = null
    state.reset = null
    if (state.source !== null) this.#onForgotten(state)
    state.source = source
    state.topicId = source === null ? null : (topic?.id ?? null)
    state.onTouched()
    return source
  }

  /** @throws {@link UnknownTopicOrPartitionError} when there is no such partition */
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

  /** @throws {@link UnknownTopicOrPartitionError} when the partition is not of this topic any more */
  ensureIsOf(topicPartition: TopicPartition, topicId: string): void {
    this.ensureExists(topicPartition)
    const { topic, partition } = topicPartition
    if (this.#context.topic(topic)?.id === topicId) return
    const key = topicPartitionKey(topicPartition)
    const reason = `the topic that partition ${key} was of is gone: there is another of its name`
    throw new UnknownTopicOrPartitionError(topic, partition, reason)
  }

  /** What the group has committed; `null` for nothing, or without a group. */
  committed(partition: TopicPartition): OffsetAndMetadata | null {
    if (this.#groupId === null) return null
    return this.#context.coordinator.committed(this.#groupId, partition)
  }

  /**
   * How far somebody has come who has consumed up to an offset: what was cut off since does not count, as in
   * what the group has committed.
   */
  offsetWithinEpoch({ topic, partition, offset, leaderEpoch = null }: OffsetCommit): number {
    const source = this.#context.topic(topic)?.partitions[partition] ?? null
    return withinEpoch({ offset, leaderEpoch }, source, this.#context.readOnly).offset
  }

  /** Whether the group is committed to stand where somebody has come who has consumed up to an offset. */
  isCommitted(state: AssignedPartition, offset: number): boolean {
    const consumed = { offset, leaderEpoch: state.epochBefore(offset) }
    const reached = withinEpoch(consumed, state.source, this.#context.readOnly)
    return this.committed(state)?.offset === reached.offset
  }

  #lastCommit(partition: TopicPartition): OffsetAndMetadata | null {
    if (this.#groupId === null) return null
    return this.#context.coordinator.lastCommit(this.#groupId, partition)
  }

  /**
   * While offsets are being committed of partitions that are given up, whoever is given one of them goes on
   * there: they may be given back at once.
   *
   * @returns what is to be called once that has ended
   */
  noteCommitting(offsets: readonly OffsetCommit[]): () => void {
    const noted = offsets.map((each) => {
      const entry = { ...each, topicId: this.#context.topic(each.topic)?.id ?? null }
      const key = topicPartitionKey(each)
      this.#committing.set(key, entry)
      return { key, entry }
    })
    return () => {
      for (const { key, entry } of noted) {
        if (this.#committing.get(key) === entry) this.#committing.delete(key)
      }
    }
  }

  /**
   * The offset to read next: where it stands, or what `seekToBeginning` or `seekToEnd` asked for, or
   * what the group has committed, or what `autoOffsetReset` says. Where the records that were read or
   * committed last are no more, it is the end of those before them.
   *
   * @throws {@link NoOffsetForPartitionError} when `autoOffsetReset` is `'none'` and there is no other
   * @throws {@link OffsetOutOfRangeError} when it is `'none'` and the log does not hold what was
   * committed or read
   */
  resolve(state: AssignedPartition, source: Partition): number {
    if (state.position === null && state.reset === null) this.#start(state, source)
    const position = this.#settledAt(state, source)
    const end = this.#knownEnd(state, source, position)
    if (end === null) return position
    if (this.#autoOffsetReset === 'none') throw cutOff(source, position, end)
    this.#reset(state, source, end, 'truncated')
    return this.#settledAt(state, source)
  }

  /**
   * Whether the records are no more that the position stands behind: they may have been cut off while a read
   * at it waited, or was under way. {@link PositionResolver.resolve} finds another position.
   */
  hasLapsed(state: AssignedPartition, source: Partition): boolean {
    return this.#knownEnd(state, source, state.position ?? 0) !== null
  }

  /** Where it stands, or is asked to: also by who was told of a reset. */
  #settledAt(state: AssignedPartition, source: Partition): number {
    if (state.position === null && state.reset !== null) toEnd(state, source, state.reset)
    return state.position ?? 0
  }

  /**
   * Moves a position that the log does not hold: where `autoOffsetReset` says, or, when the records
   * that were read last have been lost, to the end of those before them.
   *
   * @returns whether it did: with `'none'` it does not
   */
  resetOutOfRange(state: AssignedPartition, source: Partition): boolean {
    if (this.#autoOffsetReset === 'none') return false
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
    const committing = this.#committing.get(state.key)
    // Where records below it were cut off since, the move back is told as for records that were read.
    const committed = committing?.topicId === state.topicId ? committing : this.#lastCommit(state)
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

  /** Where the records end that a position stands behind, when they end before it; `null` if not. */
  #truncatedTo(state: AssignedPartition, source: Partition, position: number): number | null {
    // A position of the application's own choice stands behind nothing, unless it is the end of the log.
    if (state.isSought && state.leaderEpoch === null) return null
    const end = source.log.reader.endOffsetForEpoch(state.leaderEpoch)
    return end !== null && end < position ? end : null
  }

  /** The same, but where the log may go on behind its known end: then a fetch finds out. */
  #knownEnd(state: AssignedPartition, source: Partition, position: number): number | null {
    const end = this.#truncatedTo(state, source, position)
    // Another process may have written more than has been looked at.
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
    // It stands behind what is left of the records that were read, of which more may be cut off.
    else state.resume(to, source.log.reader.epochOf(to - 1))
    this.#onForgotten(state)
    const told: unknown = this.#onOffsetReset?.({ ...state.toTopicPartition(), from, to, reason })
    refuseThenable('onOffsetReset must not be asynchronous', told)
  }
}

function toEnd(state: AssignedPartition, source: Partition, end: 'earliest' | 'latest'): void {
  seekBehind(state, source, endOf(source, end))
}

/** What is appended from now on is to be read, also where it comes in the place of what is cut off. */
function seekBehind(state: AssignedPartition, source: Partition, offset: number): void {
  state.seek(offset)
  state.leaderEpoch = source.log.reader.epochOf(offset - 1)
}

function endOf(source: Partition, end: 'earliest' | 'latest'): number {
  return end === 'earliest' ? source.logStartOffset : source.highWatermark
}
