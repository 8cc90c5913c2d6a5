import type { Partition } from '../broker/partition.ts'
import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'

/** Changes of the epoch that are remembered: nobody goes back further by far. */
const MAX_EPOCH_CHANGES = 1000

/** Where records of another epoch begin among those that were handed out, and the epoch before. */
interface EpochChange {
  readonly offset: number
  readonly epochBefore: number | null
}

/** What a consumer knows about one of its partitions, from the assignment on until it is given up. */
export class AssignedPartition implements TopicPartition {
  readonly topic: string
  readonly partition: number
  /** The key of {@link topicPartitionKey}. */
  readonly key: string
  /** Offset of the next record to hand out; `null` until somebody needs to know it. */
  position: number | null = null
  /**
   * Leader epoch of the last record before `position`, as it was read or committed; `null` where
   * that is not known, as after a seek.
   */
  leaderEpoch: number | null = null
  /** Whether the application has chosen the position, and not what was read or committed. */
  isSought = false
  /** How often it has moved in other ways than by handing out. */
  moveCount = 0
  /** Which of the application's seeks has moved it last, by the order of their calls; 0 for none. */
  lastSeek = 0
  /** Of what was handed out since the position was chosen, in offset order. */
  #epochChanges: EpochChange[] = []
  /** From where on {@link AssignedPartition.epochBefore} can tell. */
  #epochsFrom = 0
  /** Where a poll has begun to take records, and which poll that was, by their order; `null` for none. */
  #takenFrom: number | null = null
  #takenBy = 0
  /** Where the position is to be looked up, in place of the committed offset. */
  reset: 'earliest' | 'latest' | null = null
  #isPaused = false
  #isGivenUp = false
  /** The log that `position` belongs to; another one of the same name is another topic. */
  source: Partition | null = null
  /** Of the topic that `source` is of; `null` without one. */
  topicId: string | null = null
  /**
   * Id of the topic that the last record was handed out of, or the last seek was in; `null` for none.
   * Whoever names an offset of the partition means that topic. The log itself would be kept in memory
   * by it, also when it is long gone.
   */
  seenTopicId: string | null = null
  /** When the partition was read last, as a count of reads: who waits longest is read first. */
  lastRead = 0
  /**
   * High watermark up to which a read at `position` has found nothing; `null` where there was no such
   * read. Offsets are missing there, as a power loss or compaction leaves them.
   */
  emptyUpTo: number | null = null

  /** Called when it has been moved, paused, resumed or given up, and not by handing out. */
  onTouched: () => void = () => undefined

  constructor({ topic, partition }: TopicPartition) {
    this.topic = topic
    this.partition = partition
    this.key = topicPartitionKey({ topic, partition })
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  set isPaused(isPaused: boolean) {
    this.#isPaused = isPaused
    this.onTouched()
  }

  /** Whether the consumer has it no more, which is for good: who gets it back begins anew. */
  get isGivenUp(): boolean {
    return this.#isGivenUp
  }

  giveUp(): void {
    this.#isGivenUp = true
    this.onTouched()
  }

  /** Moves to `offset`, whether or not there is anything. */
  seek(offset: number): void {
    this.moveCount += 1
    this.#takenFrom = null
    this.position = offset
    this.reset = null
    this.leaderEpoch = null
    this.isSought = true
    this.emptyUpTo = null
    this.#epochsFrom = offset
    if (this.#epochChanges.length > 0) this.#epochChanges = []
    this.onTouched()
  }

  /** Begins where a group has committed. */
  resume(offset: number, leaderEpoch: number | null): void {
    this.seek(offset)
    this.leaderEpoch = leaderEpoch
    this.isSought = false
  }

  /** Moves along behind records of one epoch that are handed out, or behind offsets that hold none. */
  moveTo(position: number, leaderEpoch: number): void {
    const epoch = leaderEpoch < 0 ? null : leaderEpoch
    if (epoch !== this.leaderEpoch) this.#noteEpochChange(this.position ?? position)
    this.position = position
    this.emptyUpTo = null
    this.leaderEpoch = epoch
    this.isSought = false
  }

  #noteEpochChange(offset: number): void {
    this.#epochChanges.push({ offset, epochBefore: this.leaderEpoch })
    if (this.#epochChanges.length <= MAX_EPOCH_CHANGES) return
    const [forgotten] = this.#epochChanges.splice(0, MAX_EPOCH_CHANGES / 2).slice(-1)
    this.#epochsFrom = (forgotten?.offset ?? offset) + 1
  }

  /** A poll is about to take records. */
  startTaking(poll: number): void {
    if (this.#takenFrom !== null && this.#takenBy === poll) return
    this.#takenFrom = this.position
    this.#takenBy = poll
  }

  /** Whether the poll has taken records. */
  isTakenBy(poll: number): boolean {
    return this.#takenBy === poll
  }

  /** The position but for what a poll has taken since it has begun: nobody has been handed that. */
  positionBefore(poll: number): number | null {
    if (this.position === null || this.#takenBy !== poll) return this.position
    return this.#takenFrom ?? this.position
  }

  /**
   * Leader epoch of the last record before an offset up to the position, as it was handed out; `null` where
   * that is not known. The log may have others there by now.
   */
  epochBefore(offset: number): number | null {
    if (this.position === null || offset > this.position || offset < this.#epochsFrom) return null
    let epoch = this.leaderEpoch
    for (let slot = this.#epochChanges.length - 1; slot >= 0; slot -= 1) {
      const change = this.#epochChanges[slot]
      if (change === undefined || offset > change.offset) break
      epoch = change.epochBefore
    }
    return epoch
  }

  /** Moves to one end of the log, as it is when the position is needed next. */
  seekTo(end: 'earliest' | 'latest'): void {
    this.moveCount += 1
    this.#takenFrom = null
    this.position = null
    this.reset = end
    this.onTouched()
  }

  toTopicPartition(): TopicPartition {
    return { topic: this.topic, partition: this.partition }
  }
}
