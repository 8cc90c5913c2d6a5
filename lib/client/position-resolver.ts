import type { OffsetAndMetadata } from '../broker/offset-and-metadata.ts'
import type { Partition } from '../broker/partition.ts'
import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'
import {
  NoOffsetForPartitionError,
  OffsetOutOfRangeError,
  UnknownTopicOrPartitionError,
} from '../errors.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import type { ConsumerContext } from './consumer-context.ts'
import type { AutoOffsetReset } from './consumer-options.ts'

/** Finds out where to read on in a partition, when it is needed and not before. Never waits. */
export class PositionResolver {
  readonly #context: Pick<ConsumerContext, 'topic' | 'coordinator'>
  readonly #groupId: string | null
  readonly #autoOffsetReset: AutoOffsetReset
  readonly #onForgotten: (state: AssignedPartition) => void

  /** @param onForgotten called when the log of a partition is not the one it was read from */
  constructor(
    context: Pick<ConsumerContext, 'topic' | 'coordinator'>,
    options: { readonly groupId: string | null; readonly autoOffsetReset: AutoOffsetReset },
    onForgotten: (state: AssignedPartition) => void,
  ) {
    this.#context = context
    this.#groupId = options.groupId
    this.#autoOffsetReset = options.autoOffsetReset
    this.#onForgotten = onForgotten
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
    const source = this.#context.topic(state.topic)?.partitions[state.partition] ?? null
    if (source === state.source) return source
    if (state.source !== null) {
      state.position = null
      this.#onForgotten(state)
    }
    state.source = source
    return source
  }

  /** @throws {@link UnknownTopicOrPartitionError} when there is no such partition */
  ensureExists({ topic, partition }: TopicPartition): void {
    const found = this.#context.topic(topic)
    if (found?.partitions[partition] !== undefined) return
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

  /** What the group has committed; `null` for nothing, or without a group. */
  committed(partition: TopicPartition): OffsetAndMetadata | null {
    if (this.#groupId === null) return null
    return this.#context.coordinator.committed(this.#groupId, partition)
  }

  /**
   * The offset to read next: where it stands, or what `seekToBeginning` or `seekToEnd` asked for, or
   * what the group has committed, or what `autoOffsetReset` says.
   *
   * @throws {@link NoOffsetForPartitionError} when `autoOffsetReset` is `'none'` and there is no other
   * @throws {@link OffsetOutOfRangeError} when it is `'none'` and the log does not hold what was
   * committed
   */
  resolve(state: AssignedPartition, source: Partition): number {
    if (state.position !== null) return state.position
    const position =
      state.reset === null ? this.#startOf(state, source) : endOf(source, state.reset)
    state.seek(position)
    return position
  }

  /**
   * Moves a position that the log does not hold to where `autoOffsetReset` says.
   *
   * @returns whether it did: with `'none'` it does not
   */
  resetOutOfRange(state: AssignedPartition, source: Partition): boolean {
    if (this.#autoOffsetReset === 'none') return false
    state.seek(endOf(source, this.#autoOffsetReset))
    return true
  }

  #startOf(state: AssignedPartition, source: Partition): number {
    const committed = this.committed(state)
    if (committed !== null && isInRange(committed.offset, source)) return committed.offset
    if (this.#autoOffsetReset !== 'none') return endOf(source, this.#autoOffsetReset)
    if (committed !== null) throw outOfRange(committed.offset, source)
    throw new NoOffsetForPartitionError(state.topic, state.partition)
  }
}

function endOf(source: Partition, end: 'earliest' | 'latest'): number {
  return end === 'earliest' ? source.logStartOffset : source.highWatermark
}

function isInRange(offset: number, source: Partition): boolean {
  return offset >= source.logStartOffset && offset <= source.logEndOffset
}

function outOfRange(offset: number, source: Partition): OffsetOutOfRangeError {
  const { topic, index, logStartOffset, logEndOffset } = source
  return new OffsetOutOfRangeError({
    topic,
    partition: index,
    offset,
    logStartOffset,
    logEndOffset,
  })
}
