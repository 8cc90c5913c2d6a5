import { types } from 'node:util'
import type { ConsumerRecord, TopicPartition } from '../index.ts'

/** A record on its way to the target. */
export interface PushEntry<K, V> {
  readonly record: ConsumerRecord<K, V>
  readonly partition: PushPartition<K, V>
  /** Offset of the record when it was taken, as a write may change the record. */
  readonly offset: number
  /** Leader epoch of the record when it was taken. */
  readonly leaderEpoch: number | null
  isDone: boolean
  /** Whether a write has received the record, even if it waits for a retry. */
  isStarted: boolean
  /** Whether a write has received the record and does not wait for a retry. */
  isInWrite: boolean
}

/** Records that must be written one after another. */
export interface PushLane<K, V> {
  readonly key: string
  readonly waiting: PushEntry<K, V>[]
  isBusy: boolean
}

/** Whether a write has received a later record, which no commit can cover without this one. */
export function isInFront<K, V>({ offset, partition }: PushEntry<K, V>): boolean {
  return offset < partition.startedOffset
}

/** A partition as a key of a map. */
export function partitionKey({ topic, partition }: TopicPartition): string {
  return `${partition} ${topic}`
}

/** The records of one partition that have been taken and are not committed. */
export class PushPartition<K, V> {
  readonly topic: string
  readonly partition: number
  /** Id of the records' topic. Another topic of the same name has other records. */
  readonly topicId: string | null
  /** Identifies the current assignment. It differs once the partition was revoked and returned. */
  readonly assignment: object | null
  readonly #entries: PushEntry<K, V>[] = []
  readonly #over: AbortController = new AbortController()
  readonly #draining: AbortController = new AbortController()
  /** Leader epoch of the last record before {@link PushPartition.doneOffset}, `null` if unknown. */
  doneEpoch: number | null
  /** Number of entries that are done. */
  #doneCount = 0
  /** Offset after the last record that was taken. */
  nextOffset = -1
  /** Offset after the last record passed to a write: committable once all before it is done. */
  startedOffset = -1

  /** @param doneEpoch leader epoch of the record before the first one */
  constructor(
    { topic, partition }: TopicPartition,
    {
      topicId,
      assignment,
    }: { readonly topicId: string | null; readonly assignment: object | null },
    doneEpoch: number | null,
  ) {
    this.topic = topic
    this.partition = partition
    this.topicId = topicId
    this.assignment = assignment
    this.doneEpoch = doneEpoch
  }

  /** Whether it is given up. Later acknowledgements are ignored. */
  get isOver(): boolean {
    return this.over.aborted
  }

  /** Aborted when it is given up. */
  get over(): AbortSignal {
    return this.#over.signal
  }

  giveUp(): void {
    this.#over.abort()
  }

  /** Aborted when it is to be given up once its writes have ended. */
  get draining(): AbortSignal {
    return this.#draining.signal
  }

  drain(): void {
    this.#draining.abort()
  }

  add(record: ConsumerRecord<K, V>, leaderEpoch: number | null): PushEntry<K, V> {
    const { offset } = record
    const state = { isDone: false, isStarted: false, isInWrite: false }
    const entry = { record, partition: this, offset, leaderEpoch, ...state }
    this.#entries.push(entry)
    this.nextOffset = offset + 1
    return entry
  }

  /** A write has received these records, in their order. */
  start(entries: readonly PushEntry<K, V>[]): void {
    for (const each of entries) {
      each.isStarted = true
      each.isInWrite = true
    }
    const offset = entries.at(-1)?.offset ?? -1
    this.startedOffset = Math.max(this.startedOffset, offset + 1)
  }

  /** These records are not retried any more, so no later record can be committed. */
  giveBack(entries: readonly PushEntry<K, V>[]): void {
    for (const each of entries) each.isInWrite = false
    const offset = entries[0]?.offset ?? this.startedOffset
    this.startedOffset = Math.min(this.startedOffset, offset)
  }

  /** These records are processed. */
  finish(entries: readonly PushEntry<K, V>[]): void {
    for (const each of entries) each.isDone = true
    this.#doneCount += entries.length
    let count = 0
    while (this.#entries[count]?.isDone === true) count += 1
    const [last] = this.#entries.splice(0, count).slice(-1)
    if (last !== undefined) this.doneEpoch = last.leaderEpoch
    this.#doneCount -= count
  }

  /** The first unacknowledged offset: everything below it is acknowledged. */
  get doneOffset(): number {
    return this.#entries[0]?.offset ?? this.nextOffset
  }

  /** Acknowledged records that cannot be committed because an earlier one is unacknowledged. */
  get heldBack(): number {
    return this.#doneCount
  }

  /** Whether the first unacknowledged record still waits for a write, but a later one does not. */
  get lacksFirst(): boolean {
    const [first] = this.#entries
    return first !== undefined && !first.isStarted && first.offset < this.startedOffset
  }

  /**
   * How many records more than there is room for a write may have that begins with this record: one
   * more if a place is kept for it, one fewer if from then on a place must be kept for another one.
   */
  extraRoom({ offset }: PushEntry<K, V>): -1 | 0 | 1 {
    if (offset === this.doneOffset) return this.lacksFirst ? 1 : 0
    return this.startedOffset > this.doneOffset ? 0 : -1
  }

  /** Whether a record after these ones is acknowledged, or may be before it is retried. */
  holdsBack(entries: readonly PushEntry<K, V>[]): boolean {
    // Those of one key have records of other keys between them.
    const first = entries[0]?.offset ?? Infinity
    return this.#entries.some((each) => each.offset > first && (each.isDone || each.isInWrite))
  }

  /** Whether any record that was taken is unacknowledged. */
  get isUnfinished(): boolean {
    return this.doneOffset < this.nextOffset
  }
}

/** Records that wait for a write, in lanes with one write at a time each. */
export class PushQueue<K, V> {
  readonly #orderBy: 'partition' | 'key'
  readonly #lanes: Map<string, PushLane<K, V>> = new Map()
  /** Lanes for which a write can be started, longest waiting first. */
  readonly #ready: Set<PushLane<K, V>> = new Set()
  #unorderedCount = 0
  #size = 0

  constructor(orderBy: 'partition' | 'key') {
    this.#orderBy = orderBy
  }

  /** Number of waiting records. */
  get size(): number {
    return this.#size
  }

  add(entry: PushEntry<K, V>): void {
    const key = this.#laneKey(entry.record)
    let lane = this.#lanes.get(key)
    if (lane === undefined) {
      lane = { key, waiting: [], isBusy: false }
      this.#lanes.set(key, lane)
    }
    lane.waiting.push(entry)
    this.#size += 1
    if (!lane.isBusy) this.#ready.add(lane)
  }

  /**
   * A lane for the next write with the write's records, `null` if none can be started.
   *
   * @param room how many records more may be in flight, see {@link PushPartition.extraRoom}
   * @param isWanted which records may be written now; all by default
   */
  take(
    maxRecords: number,
    room: number,
    isWanted: (entry: PushEntry<K, V>) => boolean = () => true,
  ): { lane: PushLane<K, V>; entries: PushEntry<K, V>[] } | null {
    for (const lane of this.#ready) {
      const [first] = lane.waiting
      const most = Math.min(maxRecords, room + (first?.partition.extraRoom(first) ?? 0))
      let count = 0
      for (const each of lane.waiting) {
        if (count >= most || !isWanted(each)) break
        count += 1
      }
      if (count === 0) continue
      this.#ready.delete(lane)
      const entries = lane.waiting.splice(0, count)
      this.#size -= entries.length
      lane.isBusy = true
      return { lane, entries }
    }
    return null
  }

  /** Whether a record of these partitions waits that precedes one passed to a write. */
  hasInFront(partitions: readonly PushPartition<K, V>[]): boolean {
    const isDue = (entry: PushEntry<K, V>): boolean =>
      isInFront(entry) && partitions.includes(entry.partition)
    return [...this.#lanes.values()].some(({ waiting }) => waiting.some(isDue))
  }

  /** The write of a lane has ended. */
  free(lane: PushLane<K, V>): void {
    lane.isBusy = false
    if (lane.waiting.length > 0) this.#ready.add(lane)
    else this.#lanes.delete(lane.key)
  }

  /** Drops the waiting records of these partitions. Writes in progress keep their lanes. */
  drop(partitions: readonly PushPartition<K, V>[]): void {
    this.#keep(({ partition }) => !partitions.includes(partition))
  }

  /** Drops waiting records of these partitions, except those that precede one passed to a write. */
  dropUnstarted(partitions: readonly PushPartition<K, V>[]): void {
    this.#keep((entry) => !partitions.includes(entry.partition) || isInFront(entry))
  }

  #keep(isKept: (entry: PushEntry<K, V>) => boolean): void {
    for (const lane of [...this.#lanes.values()]) {
      const kept = lane.waiting.filter(isKept)
      this.#size -= lane.waiting.length - kept.length
      lane.waiting.splice(0, lane.waiting.length, ...kept)
      if (kept.length > 0) continue
      this.#ready.delete(lane)
      if (!lane.isBusy) this.#lanes.delete(lane.key)
    }
  }

  #laneKey(record: ConsumerRecord<K, V>): string {
    const place = partitionKey(record)
    if (this.#orderBy === 'partition') return place
    const { key } = record
    if (key === null) {
      this.#unorderedCount += 1
      return `${place} ${this.#unorderedCount}`
    }
    return `${place}/${keyText(key)}`
  }
}

/** The same text for the same key, whatever type the deserializer returns. */
function keyText(key: unknown): string {
  if (types.isUint8Array(key)) return Buffer.from(key).toString('latin1')
  if (typeof key === 'bigint') return `${key}n`
  try {
    return JSON.stringify(key, (_name, each: unknown) =>
      typeof each === 'bigint' ? `${each}n` : each,
    )
  } catch {
    // All keys that JSON cannot represent, such as circular objects, share one order.
    return ''
  }
}
