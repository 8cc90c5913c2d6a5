import type { Partition } from '../broker/partition.ts'
import { topicPartitionKey, type TopicPartition } from '../broker/topic-partition.ts'

/** Epoch changes that are remembered. No caller goes back nearly that far. */
const MAX_EPOCH_CHANGES = 1000

/** Number of moves so far, see {@link AssignedPartition.lastMove}. */
let moveCount = 0

/** The last move of any partition: one that is moved or assigned later has a higher `lastMove`. */
export function latestMove(): number {
  return moveCount
}

function nextMove(): number {
  moveCount += 1
  return moveCount
}

/** An offset at which the epoch of the returned records changes, and the epoch before it. */
interface EpochChange {
  readonly offset: number
  readonly epochBefore: number | null
}

/** The state of one assigned partition, from its assignment until it is given up. */
export class AssignedPartition implements TopicPartition {
  readonly topic: string
  readonly partition: number
  /** The key from {@link topicPartitionKey}. */
  readonly key: string
  /** Offset of the next record to return; `null` until it is needed. */
  position: number | null = null
  /**
   * Leader epoch of the last record before `position`, as it was read or committed; `null` if
   * unknown, as after a seek.
   */
  leaderEpoch: number | null = null
  /** Whether the position was set by the application, and not by reading or a committed offset. */
  isSought = false
  /**
   * Number of the last move other than by returning records, in the order of the moves of all
   * partitions. The assignment counts as one.
   */
  lastMove: number = nextMove()
  /**
   * Number of the application's seek that moved it last, in the order of their calls; 0 for none.
   */
  lastSeek = 0
  /** Epoch changes among the records returned since the position was set, in offset order. */
  #epochChanges: EpochChange[] = []
  /** Lowest offset for which {@link AssignedPartition.epochBefore} has an answer. */
  #epochsFrom = 0
  /**
   * The position at which a poll began to take records, and the number of that poll; `null` for
   * none.
   */
  #takenFrom: number | null = null
  #takenBy = 0
  /** The end to move to when the position is needed, instead of the committed offset. */
  reset: 'earliest' | 'latest' | null = null
  #isPaused = false
  #isGivenUp = false
  /** The log that `position` belongs to. Another log of the same name belongs to another topic. */
  source: Partition | null = null
  /** Id of the topic of `source`; `null` without one. */
  topicId: string | null = null
  /**
   * Id of the topic of the last returned record or the last seek; `null` for none. Offsets that
   * callers name for the partition refer to that topic. A reference to the log itself would keep it
   * in memory long after its deletion.
   */
  seenTopicId: string | null = null
  /**
   * When the partition was last read, as a count of reads: the partition that has waited longest is
   * read first.
   */
  lastRead = 0
  /**
   * High watermark up to which a read at `position` found nothing; `null` without such a read.
   * Offsets are missing there, as after a power loss or compaction.
   */
  emptyUpTo: number | null = null
  /**
   * Whether the current round of a poll has looked for the end of the log, which another process
   * writes.
   */
  hasSeenEnd = false
  /**
   * Start of the log when the current round of a poll looked for the group's commits, which another
   * process stores; `null` if it has not. A commit below a later start may not be the latest.
   */
  commitSeenFrom: number | null = null

  /**
   * Called when the partition was moved (other than by returning records), paused, resumed or given
   * up.
   */
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

  /** Whether the consumer has given it up. This is final: a later assignment has a new object. */
  get isGivenUp(): boolean {
    return this.#isGivenUp
  }

  giveUp(): void {
    this.#isGivenUp = true
    this.onTouched()
  }

  /** Moves to `offset`, whether or not the log holds it. */
  seek(offset: number): void {
    this.lastMove = nextMove()
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

  /** Moves to a position that was committed or read. */
  resume(offset: number, leaderEpoch: number | null): void {
    this.seek(offset)
    this.leaderEpoch = leaderEpoch
    this.isSought = false
  }

  /** Advances past returned records of one epoch, or past offsets without records. */
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

  /** Called when a poll is about to take records. */
  startTaking(poll: number): void {
    if (this.#takenFrom !== null && this.#takenBy === poll) return
    this.#takenFrom = this.position
    this.#takenBy = poll
  }

  /** Whether the poll has taken records. */
  isTakenBy(poll: number): boolean {
    return this.#takenBy === poll
  }

  /**
   * The position without the records that the given poll has taken, because it has not returned
   * them yet.
   */
  positionBefore(poll: number): number | null {
    if (this.position === null || this.#takenBy !== poll) return this.position
    return this.#takenFrom ?? this.position
  }

  /**
   * Leader epoch of the last record before an offset up to the position, as it was returned; `null`
   * if unknown. The log may have other records there by now.
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

  /** Moves to one end of the log, determined when the position is next needed. */
  seekTo(end: 'earliest' | 'latest'): void {
    this.lastMove = nextMove()
    this.#takenFrom = null
    this.position = null
    this.reset = end
    this.onTouched()
  }

  toTopicPartition(): TopicPartition {
    return { topic: this.topic, partition: this.partition }
  }
}
