import { topicPartitionKey } from '../broker/topic-partition.ts'
import { CorruptRecordError, LockLostError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { promptIo } from '../platform/prompt-io.ts'
import type { StoredRecord } from '../record/decode.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import type { ConsumerRecord, RecordReader } from './consumer-record.ts'
import type { FetchBuffer } from './fetch-buffer.ts'
import { PartitionReader, type WaitBounds } from './partition-reader.ts'
import type { PositionResolver } from './position-resolver.ts'
import { ReadAhead } from './read-ahead.ts'
import type { SubscriptionState } from './subscription-state.ts'

type FetchOptions = Pick<
  ResolvedConsumerOptions<unknown, unknown>,
  'fetchMinBytes' | 'fetchMaxBytes' | 'maxPartitionFetchBytes' | 'maxPollRecords'
>

/**
 * Reads the assigned partitions into buffers, and takes records from them in turns.
 *
 * The buffers of all partitions together hold at most `fetchMaxBytes`, or one batch of any size.
 * `fetch` and `decode` must not overlap. While they wait, partitions may be assigned, revoked,
 * moved and paused: what was read for a position that is no longer current is discarded.
 */
export class Fetcher<K, V> {
  readonly #options: FetchOptions
  readonly #subscription: SubscriptionState
  readonly #reader: PartitionReader
  readonly #ahead: ReadAhead
  /** `null` if stored records are returned unchanged. */
  readonly #read: RecordReader<K, V> | null
  /** Buffers by partition, in the order of their turns. */
  readonly #buffers: Map<string, FetchBuffer> = new Map()
  /** The buffer from which records were last taken one by one; `null` if it has to be looked up. */
  #inTurn: FetchBuffer | null = null
  #isStopped = false
  /** The assigned partitions when records were last taken. */
  #assigned: ReadonlyMap<string, AssignedPartition> | null = null

  constructor(
    clock: Clock,
    options: FetchOptions,
    partitions: { subscription: SubscriptionState; positions: PositionResolver },
    read: RecordReader<K, V> | null,
  ) {
    this.#options = options
    this.#subscription = partitions.subscription
    this.#reader = new PartitionReader(clock, options.fetchMinBytes, partitions, {
      has: (state) => {
        const buffer = this.#buffers.get(state.key)
        return buffer !== undefined && this.#isCurrent(buffer)
      },
      add: (buffer) => {
        this.#buffers.set(buffer.state.key, buffer)
      },
    })
    this.#ahead = new ReadAhead(options)
    this.#read = read
  }

  /**
   * Reads the partitions that have nothing buffered. Waits only if no record can be returned.
   *
   * @returns whether there is anything new to look at: buffered or newly read data, or a position
   * that was reset
   * @throws what {@link PositionResolver.resolve} throws
   * @throws {@link UnknownTopicOrPartitionError} when a partition that the application has assigned
   * no longer exists
   * @throws the reason of the signal
   */
  fetch(wait: WaitBounds): boolean | Promise<boolean> {
    const hasReady = this.#front() !== null
    // Everything buffered then belongs to paused partitions. The others must not be left to proceed
    // batch by batch.
    const mostBytes = this.#options.fetchMaxBytes / 2
    if (!hasReady && this.#held().bytes > mostBytes) this.#buffers.clear()
    const room = this.#ahead.room({ hasReady, ...this.#held() }, this.#subscription.assigned.size)
    if (room === null) return this.#reader.place()?.then(() => true) ?? true
    return this.#reader.read(room, wait)
  }

  /** See {@link PartitionReader.idle}. */
  idle(maxWaitMs: number, wait: Pick<WaitBounds, 'signal' | 'onWake'>): Promise<void> {
    return this.#reader.idle(maxWaitMs, wait)
  }

  /** Decodes as much as the next poll may return. @returns `null` when done */
  decode(): Promise<unknown> | null {
    const turn = this.#buffers.size === 0 ? null : promptIo.turnIfDue()
    return turn === null ? this.#decode() : turn.then(() => this.#decode())
  }

  /**
   * Takes at most `maxCount` decoded records. They count as consumed only after
   * {@link Fetcher.handOver}.
   *
   * @throws the error of the partition whose turn it is, if no record comes before it
   */
  take(maxCount: number): ConsumerRecord<K, V>[] {
    const taken: ConsumerRecord<K, V>[] = []
    this.#assigned = this.#subscription.assigned
    this.#inTurn = null
    for (;;) {
      const buffer = this.#front()
      if (buffer === null) return taken
      try {
        this.#takeFrom(buffer, maxCount, taken)
      } catch (error) {
        buffer.noteFailure()
        // The next call finds the partition still in front, and throws.
        if (taken.length > 0) return taken
        // Damage stays; any other error is retried.
        const isLasting = error !== buffer.error || error instanceof CorruptRecordError
        if (!isLasting) this.#buffers.delete(buffer.state.key)
        // When the directory is lost, every partition reports that at its end, and others may still
        // have records.
        const mayGoOn = error instanceof LockLostError && error === buffer.error
        if (mayGoOn && this.#front() !== null) continue
        throw error
      }
      if (buffer.isDrained) this.#buffers.delete(buffer.state.key)
      else if (buffer.servedCount >= this.#options.maxPollRecords) this.#moveToBack(buffer)
      // A partition that stopped short has to be decoded further first.
      if (taken.length >= maxCount || !buffer.isDrained) return taken
    }
  }

  /**
   * Called when a poll returns the records taken last.
   *
   * @returns the same records without those of partitions that were given up meanwhile. Their
   * positions were committed without these records, so the next owner receives them.
   */
  handOver(taken: ConsumerRecord<K, V>[]): ConsumerRecord<K, V>[] {
    const { assigned, poll } = this.#subscription
    this.#subscription.poll += 1
    if (assigned === this.#assigned) return taken
    return taken.filter((record) => assigned.get(topicPartitionKey(record))?.isTakenBy(poll))
  }

  /**
   * Takes one record if that requires neither reading, nor decoding, nor another partition's turn.
   *
   * @returns `null` when it does
   * @throws {@link SerializationError}
   */
  takeReady(): ConsumerRecord<K, V> | null {
    const buffer = this.#stillInTurn()
    if (buffer === null || buffer.servedCount >= this.#options.maxPollRecords) return null
    const record = buffer.peek()
    if (record === null) return null
    const read = this.#read
    if (read === null) {
      buffer.skip(record)
      // Without deserializers K and V are Buffer, and a stored record is the result.
      return record as unknown as ConsumerRecord<K, V>
    }
    let taken: ConsumerRecord<K, V>
    try {
      taken = read(record)
    } catch (error) {
      buffer.noteFailure()
      this.#inTurn = null
      throw error
    }
    // A deserializer may have moved the partition, or given it up.
    if (this.#isCurrent(buffer)) buffer.skip(record)
    return taken
  }

  /** Discards all buffers and returns no more records. */
  stop(): void {
    this.#isStopped = true
    this.#reader.stop()
    this.#inTurn = null
    this.#buffers.clear()
  }

  #decode(): Promise<unknown> | null {
    let wantedCount = this.#options.maxPollRecords
    for (const buffer of this.#buffers.values()) {
      if (wantedCount <= 0) return null
      if (!this.#isCurrent(buffer) || buffer.state.isPaused) continue
      const decoding = buffer.decode(wantedCount)
      // Meanwhile partitions may be assigned, revoked and paused.
      if (decoding !== null) return decoding.then(() => this.#decode())
      wantedCount -= buffer.readyCount
    }
    return null
  }

  #takeFrom(buffer: FetchBuffer, maxCount: number, taken: ConsumerRecord<K, V>[]): void {
    const { state } = buffer
    state.startTaking(this.#subscription.poll)
    const read = this.#read
    // Without deserializers K and V are Buffer, and a stored record is the result.
    if (read === null) buffer.takeInto(taken as unknown[] as StoredRecord[], maxCount)
    while (read !== null && taken.length < maxCount) {
      const record = buffer.peek()
      if (record === null) break
      taken.push(read(record))
      // A deserializer may have moved the partition, or given it up.
      if (!this.#isCurrent(buffer)) return
      buffer.skip(record)
      // Or paused it, or closed the consumer.
      if (state.isPaused || this.#isStopped) return
    }
    if (taken.length < maxCount && buffer.error !== null) throw buffer.error
  }

  /** The buffer of the partition whose turn it is. */
  #front(): FetchBuffer | null {
    for (const [key, buffer] of this.#buffers) {
      if (!this.#isCurrent(buffer) || buffer.isOutdated) this.#buffers.delete(key)
      else if (!buffer.state.isPaused) return buffer
    }
    return null
  }

  /**
   * Like {@link Fetcher.#front}, whose result changes only in {@link Fetcher.take} while the buffer
   * stays usable.
   */
  #stillInTurn(): FetchBuffer | null {
    const buffer = this.#inTurn
    if (buffer !== null && !buffer.state.isPaused && this.#isCurrent(buffer)) return buffer
    this.#inTurn = this.#front()
    return this.#inTurn
  }

  #isCurrent(buffer: FetchBuffer): boolean {
    const { error } = buffer
    if (!buffer.isCurrent) return false
    // Damage is reported until the application has moved past it, or it was removed.
    return !(error instanceof CorruptRecordError) || !buffer.isBelowLogStart
  }

  #moveToBack(buffer: FetchBuffer): void {
    buffer.servedCount = 0
    this.#buffers.delete(buffer.state.key)
    this.#buffers.set(buffer.state.key, buffer)
  }

  /** Stored size of all buffers, and of those that are not paused. */
  #held(): { bytes: number; readyBytes: number } {
    const held = { bytes: 0, readyBytes: 0 }
    for (const { sizeBytes, state } of this.#buffers.values()) {
      held.bytes += sizeBytes
      if (!state.isPaused) held.readyBytes += sizeBytes
    }
    return held
  }
}
