import type { Consumer, ConsumerRecord } from '../index.ts'
import { partitionKey, type PushEntry, type PushPartition } from './push-queue.ts'

/**
 * The partitions of a push that it has taken records of. A consumer may have thousands: what is asked for with
 * each write that ends is counted and noted as it changes, and not looked up in all of them.
 */
export class PushPartitions<K, V> {
  readonly #consumer: Consumer<K, V>
  readonly #all: Map<string, PushPartition<K, V>> = new Map()
  /** Those of which more may be acknowledged than is committed. */
  readonly #uncommitted: Set<PushPartition<K, V>> = new Set()
  /** What was assigned when they were last compared with it; `null` when they are to be compared in any case. */
  #comparedWith: object | null = null
  #heldBack = 0

  constructor(consumer: Consumer<K, V>) {
    this.#consumer = consumer
  }

  /** Records that are acknowledged, and that no commit can cover because one in front of them is not. */
  get heldBack(): number {
    return this.#heldBack
  }

  get all(): PushPartition<K, V>[] {
    return [...this.#all.values()]
  }

  get(key: string): PushPartition<K, V> | undefined {
    return this.#all.get(key)
  }

  set(key: string, partition: PushPartition<K, V>): void {
    this.#all.set(key, partition)
    // Where it begins is committed as well: who comes next may be sent to the end of the log without it.
    this.#uncommitted.add(partition)
    this.#comparedWith = null
  }

  /** A record has been taken. */
  add(
    partition: PushPartition<K, V>,
    record: ConsumerRecord<K, V>,
    leaderEpoch: number | null,
  ): PushEntry<K, V> {
    // Behind offsets that hold no records.
    if (!partition.isUnfinished && record.offset > partition.nextOffset) {
      this.#uncommitted.add(partition)
    }
    return partition.add(record, leaderEpoch)
  }

  /** These records of one partition are dealt with. */
  finish(partition: PushPartition<K, V>, entries: readonly PushEntry<K, V>[]): void {
    const before = partition.heldBack
    partition.finish(entries)
    if (partition.isOver) return
    this.#heldBack += partition.heldBack - before
    this.#uncommitted.add(partition)
  }

  /**
   * Those that the consumer has no more.
   *
   * @throws {@link ClosedError} when it is closed
   */
  lost(): PushPartition<K, V>[] {
    const { controls } = this.#consumer
    controls.ensureOpen()
    const { assigned } = controls
    if (assigned === this.#comparedWith) return []
    this.#comparedWith = assigned
    return this.all.filter((each) => controls.assignmentOf(each) === null)
  }

  /**
   * Those that have something to commit, which are noted no more.
   *
   * @param draining are given also where they are not assigned any more
   * @throws {@link ClosedError} when the consumer is closed
   */
  takeUncommitted(draining: ReadonlySet<PushPartition<K, V>>): PushPartition<K, V>[] {
    const { controls } = this.#consumer
    controls.ensureOpen()
    const taken: PushPartition<K, V>[] = []
    for (const each of this.#uncommitted) {
      if (controls.assignmentOf(each) === null && !draining.has(each)) continue
      this.#uncommitted.delete(each)
      taken.push(each)
    }
    return taken
  }

  /** They have not been committed. */
  putBack(partitions: readonly PushPartition<K, V>[]): void {
    for (const each of partitions) if (!each.isOver) this.#uncommitted.add(each)
  }

  /** Gives them up. */
  forget(partitions: readonly PushPartition<K, V>[]): void {
    for (const each of partitions) {
      const key = partitionKey(each)
      if (this.#all.get(key) === each) {
        this.#all.delete(key)
        this.#heldBack -= each.heldBack
      }
      this.#uncommitted.delete(each)
      each.giveUp()
    }
  }
}
