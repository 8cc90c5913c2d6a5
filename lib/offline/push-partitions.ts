import type { Consumer, ConsumerRecord } from '../index.ts'
import { partitionKey, PushPartition, type PushEntry } from './push-queue.ts'

/**
 * The partitions from which a push has taken records. A consumer may have thousands, so what is
 * needed after each write is tracked as it changes, instead of searching all partitions.
 */
export class PushPartitions<K, V> {
  readonly #consumer: Consumer<K, V>
  readonly #all: Map<string, PushPartition<K, V>> = new Map()
  /** Partitions in which more may be acknowledged than committed. */
  readonly #uncommitted: Set<PushPartition<K, V>> = new Set()
  /** The assignment at the last comparison; `null` forces the next comparison. */
  #comparedWith: object | null = null
  #heldBack = 0
  /** Those whose first unacknowledged record keeps a place, see {@link PushPartition.lacksFirst}. */
  readonly #lacking: Set<PushPartition<K, V>> = new Set()

  constructor(consumer: Consumer<K, V>) {
    this.#consumer = consumer
  }

  /** Acknowledged records that no commit can cover because an earlier one is unacknowledged. */
  get heldBack(): number {
    return this.#heldBack
  }

  /** Number of partitions for which {@link PushPartition.lacksFirst} holds. */
  get lackingFirst(): number {
    return this.#lacking.size
  }

  get all(): PushPartition<K, V>[] {
    return [...this.#all.values()]
  }

  get(key: string): PushPartition<K, V> | undefined {
    return this.#all.get(key)
  }

  /** Whether the consumer still has the assignment and the topic of its records. */
  isCurrent(partition: PushPartition<K, V>): boolean {
    const { controls } = this.#consumer
    const { topicId, assignment } = partition
    return (
      topicId === controls.topicIdOf(partition) && assignment === controls.assignmentOf(partition)
    )
  }

  /** Whether the consumer, since it returned a record, was moved back or lost the partition. */
  comesAgain(record: ConsumerRecord<K, V>): boolean {
    const position = this.#consumer.controls.returnedUpTo(record)
    return position === null || position <= record.offset
  }

  /** Takes up the partition of a record, beginning with the record. */
  begin(record: ConsumerRecord<K, V>): PushPartition<K, V> {
    const { controls } = this.#consumer
    const topicId = controls.topicIdOf(record)
    const assignment = controls.assignmentOf(record)
    const doneEpoch = controls.epochBefore(record, record.offset)
    const partition = new PushPartition<K, V>(record, { topicId, assignment }, doneEpoch)
    this.#all.set(partitionKey(record), partition)
    // The start is committed too: without it the next owner may start at the end of the log.
    this.#uncommitted.add(partition)
    this.#comparedWith = null
    return partition
  }

  /** Adds a record that has been taken. */
  add(
    partition: PushPartition<K, V>,
    record: ConsumerRecord<K, V>,
    leaderEpoch: number | null,
  ): PushEntry<K, V> {
    // It follows offsets without records.
    if (!partition.isUnfinished && record.offset > partition.nextOffset) {
      this.#uncommitted.add(partition)
    }
    return partition.add(record, leaderEpoch)
  }

  /** A write has received these records of one partition. */
  start(partition: PushPartition<K, V>, entries: readonly PushEntry<K, V>[]): void {
    partition.start(entries)
    this.#compareFirst(partition)
  }

  /** Notes that these records of one partition are not retried any more. */
  giveBack(partition: PushPartition<K, V>, entries: readonly PushEntry<K, V>[]): void {
    partition.giveBack(entries)
    this.#compareFirst(partition)
  }

  #compareFirst(partition: PushPartition<K, V>): void {
    if (partition.lacksFirst && !partition.isOver) this.#lacking.add(partition)
    else this.#lacking.delete(partition)
  }

  /** Marks these records of one partition as processed. */
  finish(partition: PushPartition<K, V>, entries: readonly PushEntry<K, V>[]): void {
    const before = partition.heldBack
    partition.finish(entries)
    this.#compareFirst(partition)
    if (partition.isOver) return
    this.#heldBack += partition.heldBack - before
    this.#uncommitted.add(partition)
  }

  /**
   * The partitions that the consumer no longer has.
   *
   * @throws {@link ClosedError} if the consumer is closed
   */
  lost(): PushPartition<K, V>[] {
    const { controls } = this.#consumer
    controls.ensureOpen()
    const { assigned } = controls
    if (assigned === this.#comparedWith) return []
    this.#comparedWith = assigned
    return this.all.filter((each) => !this.#isOwned(each))
  }

  /**
   * Removes and returns the partitions that have something to commit.
   *
   * @param draining are included even if they are no longer assigned
   * @throws {@link ClosedError} if the consumer is closed
   */
  takeUncommitted(draining: ReadonlySet<PushPartition<K, V>>): PushPartition<K, V>[] {
    const { controls } = this.#consumer
    controls.ensureOpen()
    const taken: PushPartition<K, V>[] = []
    for (const each of this.#uncommitted) {
      if (!this.#isOwned(each) && !draining.has(each)) continue
      this.#uncommitted.delete(each)
      taken.push(each)
    }
    return taken
  }

  /** One poll may give up a partition and get it back: then another owner may have gone on. */
  #isOwned(partition: PushPartition<K, V>): boolean {
    const current = this.#consumer.controls.assignmentOf(partition)
    return current !== null && current === partition.assignment
  }

  /** Puts back partitions that have not been committed. */
  putBack(partitions: readonly PushPartition<K, V>[]): void {
    for (const each of partitions) if (!each.isOver) this.#uncommitted.add(each)
  }

  /**
   * Has unacknowledged records delivered again, in partitions that the consumer keeps.
   *
   * @param isReadOn see `PartitionControls.goBack`
   */
  goBack(partitions: readonly PushPartition<K, V>[], isReadOn = false): void {
    const { controls } = this.#consumer
    for (const each of partitions) {
      if (!each.isUnfinished || !this.#isOwned(each)) continue
      const { topicId, doneOffset: offset, doneEpoch: leaderEpoch } = each
      controls.goBack(each, { offset, topicId, leaderEpoch, isReadOn })
    }
  }

  /** Gives up partitions. */
  forget(partitions: readonly PushPartition<K, V>[]): void {
    for (const each of partitions) {
      const key = partitionKey(each)
      if (this.#all.get(key) === each) {
        this.#all.delete(key)
        this.#heldBack -= each.heldBack
      }
      this.#uncommitted.delete(each)
      this.#lacking.delete(each)
      each.giveUp()
    }
  }
}
