import { fetchBatches, type FetchRequest, type FetchResponse } from '../broker/delayed-fetch.ts'
import {
  CorruptRecordError,
  OffsetOutOfRangeError,
  UnknownTopicOrPartitionError,
} from '../errors.ts'
import type { Partition } from '../broker/partition.ts'
import type { Clock } from '../platform/clock.ts'
import { totalSizeBytes } from '../record/record-batch.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import type { ConsumerRecord, RecordReader } from './consumer-record.ts'
import { FetchBuffer } from './fetch-buffer.ts'
import type { PositionResolver } from './position-resolver.ts'
import type { SubscriptionState } from './subscription-state.ts'

type FetchOptions = Pick<
  ResolvedConsumerOptions<unknown, unknown>,
  'fetchMinBytes' | 'fetchMaxBytes' | 'maxPartitionFetchBytes' | 'maxPollRecords'
>

/**
 * So much is read ahead, over all partitions: it is there the moment it is asked for, so more would
 * only make the first record wait, and push out of the processor's cache what comes next.
 */
const READ_AHEAD_BYTES = 4 * 1024 * 1024

/** Of each partition at least so much is read, as one read takes it. */
const MIN_SHARE_BYTES = 64 * 1024

/**
 * While partitions have something buffered the others are looked at once for so many records of each:
 * a look at a thousand of them takes as long as handing out hundreds of records.
 */
const RECORDS_PER_PARTITION = 4

/** So many partitions are read for each that there is room for: most of them may have little. */
const READS_PER_SHARE = 4

interface Wanted {
  readonly state: AssignedPartition
  readonly request: FetchRequest
}

/** How long one {@link Fetcher.fetch} may wait, and what ends the wait. */
export interface FetchWait {
  readonly maxWaitMs: number
  /** By the monotonic clock: from then on less than `fetchMinBytes` will do. */
  readonly deadlineMs: number
  readonly signal: AbortSignal | undefined
  /** Is handed a function that ends the wait, in this step. */
  readonly onWake: (wake: () => void) => void
}

/**
 * Reads the assigned partitions into buffers and hands out records from them, in turns.
 *
 * Buffers of all partitions together hold at most `fetchMaxBytes`, but for one batch of any size.
 * `fetch` and `decode` must not overlap; while they wait, partitions may come, go, move and pause:
 * what was read for a position that is no longer right is thrown away.
 */
export class Fetcher<K, V> {
  readonly #clock: Clock
  readonly #options: FetchOptions
  readonly #subscription: SubscriptionState
  readonly #positions: PositionResolver
  readonly #read: RecordReader<K, V>
  /** In the order of their turns, by partition. */
  readonly #buffers: Map<string, FetchBuffer> = new Map()
  #readCount = 0
  /** All partitions, in the order of their turns to be read as of the last look. */
  #turns: AssignedPartition[] = []
  /** What they were taken from. */
  #turnsOf: SubscriptionState['assigned'] | null = null
  /** Records that may have been handed out since the last look at all partitions. */
  #servedSinceLook = 0

  constructor(
    clock: Clock,
    options: FetchOptions,
    partitions: { subscription: SubscriptionState; positions: PositionResolver },
    read: RecordReader<K, V>,
  ) {
    this.#clock = clock
    this.#options = options
    this.#subscription = partitions.subscription
    this.#positions = partitions.positions
    this.#read = read
  }

  /**
   * Reads the partitions of which nothing is buffered. Waits only when nothing can be handed out.
   *
   * @returns whether there is anything new to look at: what was buffered, or read, or a position
   * that was reset
   * @throws what {@link PositionResolver.resolve} throws
   * @throws {@link UnknownTopicOrPartitionError} when a partition that the application has assigned
   * is gone
   * @throws the reason of the signal
   */
  async fetch(wait: FetchWait): Promise<boolean> {
    const hasReady = this.#front() !== null
    const { fetchMaxBytes, fetchMinBytes } = this.#options
    const mostBytes = Math.max(READ_AHEAD_BYTES, this.#leastBytes)
    const aheadBytes = mostBytes - this.#readyBytes()
    // As much again is for partitions that get something meanwhile, or they would have no turn until
    // nearly all of the others is handed out.
    const lateBytes = hasReady ? mostBytes : 0
    if (hasReady && !this.#isLookDue(aheadBytes, lateBytes)) return true
    const roomBytes = Math.min(fetchMaxBytes - this.#bufferedBytes(), aheadBytes + lateBytes)
    // Who waits for many bytes may need what all of them have.
    const isAnyEnough = hasReady || fetchMinBytes <= 1
    const shareCount = Math.ceil(Math.max(1, roomBytes) / MIN_SHARE_BYTES)
    const mostCount = isAnyEnough ? READS_PER_SHARE * shareCount : Infinity
    const wanted = this.#wanted(hasReady, aheadBytes, mostCount)
    const maxWaitMs = hasReady ? 0 : wait.maxWaitMs
    if (maxWaitMs === 0 && (wanted.length === 0 || (hasReady && roomBytes <= 0))) return hasReady
    // Paused partitions may fill all the room there is. The others go on batch by batch then.
    const maxBytes = Math.max(1, roomBytes)
    const minBytes = Math.min(fetchMinBytes, maxBytes)
    const responses = await fetchBatches(
      this.#clock,
      wanted.map(({ request }) => request),
      {
        minBytes,
        maxBytes,
        maxWaitMs,
        signal: wait.signal,
        onWake: wait.onWake,
      },
    )
    // What ended the wait may be neither its time nor the bytes.
    const isOver = hasReady || this.#clock.monotonic() >= wait.deadlineMs
    if (!isOver && !isEnough(responses, minBytes)) return false
    let hasProgressed = hasReady
    for (const [slot, response] of responses.entries()) {
      const state = wanted[slot]?.state
      if (state !== undefined && this.#accept(state, response)) hasProgressed = true
    }
    return hasProgressed
  }

  /** Decodes as much as the next poll may hand out. */
  async decode(): Promise<void> {
    let wantedCount = this.#options.maxPollRecords
    for (const buffer of [...this.#buffers.values()]) {
      if (wantedCount <= 0) return
      if (!this.#isCurrent(buffer) || buffer.state.isPaused) continue
      await buffer.decode(wantedCount)
      wantedCount -= buffer.readyCount
    }
  }

  /**
   * Hands out at most `maxCount` records of those that are decoded.
   *
   * @throws the error of the partition whose turn it is, when no record comes before it
   */
  take(maxCount: number): ConsumerRecord<K, V>[] {
    const taken: ConsumerRecord<K, V>[] = []
    for (;;) {
      const buffer = this.#front()
      if (buffer === null) return taken
      try {
        this.#takeFrom(buffer, maxCount, taken)
      } catch (error) {
        // The next call finds the partition still in front, and throws.
        if (taken.length > 0) return taken
        // Damage stays, everything else is tried again.
        const isLasting = error !== buffer.error || error instanceof CorruptRecordError
        if (!isLasting) this.#buffers.delete(buffer.state.key)
        throw error
      }
      if (buffer.isDrained) this.#buffers.delete(buffer.state.key)
      else if (buffer.servedCount >= this.#options.maxPollRecords) this.#moveToBack(buffer)
      // What is left of a partition that stopped short has to be decoded first.
      if (taken.length >= maxCount || !buffer.isDrained) return taken
    }
  }

  /**
   * Hands out one record, if that takes neither reading nor decoding nor another partition's turn.
   *
   * @returns `null` when it does
   * @throws {@link SerializationError}
   */
  takeReady(): ConsumerRecord<K, V> | null {
    const buffer = this.#front()
    if (buffer === null || buffer.servedCount >= this.#options.maxPollRecords) return null
    const record = buffer.peek()
    if (record === null) return null
    const taken = this.#read(record)
    buffer.skip(record)
    return taken
  }

  /** Throws all buffers away. */
  clear(): void {
    this.#buffers.clear()
  }

  #takeFrom(buffer: FetchBuffer, maxCount: number, taken: ConsumerRecord<K, V>[]): void {
    while (taken.length < maxCount) {
      const record = buffer.peek()
      if (record === null) break
      taken.push(this.#read(record))
      buffer.skip(record)
    }
    if (taken.length < maxCount && buffer.error !== null) throw buffer.error
  }

  /** The partition whose turn it is. */
  #front(): FetchBuffer | null {
    for (const [key, buffer] of this.#buffers) {
      if (!this.#isCurrent(buffer)) this.#buffers.delete(key)
      else if (!buffer.state.isPaused) return buffer
    }
    return null
  }

  #isCurrent(buffer: FetchBuffer): boolean {
    const { state, error } = buffer
    if (this.#subscription.assigned.get(state.key) !== state || !buffer.isCurrent) return false
    // Damage is told until the application has moved past it, or it has been deleted.
    return !(error instanceof CorruptRecordError) || !buffer.isBelowLogStart
  }

  #moveToBack(buffer: FetchBuffer): void {
    buffer.servedCount = 0
    this.#buffers.delete(buffer.state.key)
    this.#buffers.set(buffer.state.key, buffer)
  }

  #bufferedBytes(): number {
    let sizeBytes = 0
    for (const buffer of this.#buffers.values()) sizeBytes += buffer.sizeBytes
    return sizeBytes
  }

  /** Whether partitions of which nothing is buffered are worth a look while others have something. */
  #isLookDue(aheadBytes: number, lateBytes: number): boolean {
    this.#servedSinceLook += this.#options.maxPollRecords
    const leastServed = RECORDS_PER_PARTITION * this.#subscription.assigned.size
    const isDue = aheadBytes >= READ_AHEAD_BYTES / 2 || this.#servedSinceLook >= leastServed
    if (!isDue || aheadBytes + lateBytes <= 0) return false
    this.#servedSinceLook = 0
    return true
  }

  /**
   * No less may be read of one partition, which may be the only one with as much as is waited for:
   * what is read is whole batches, and the last of them may just not fit.
   */
  get #leastBytes(): number {
    return 2 * this.#options.fetchMinBytes
  }

  /** Of what can be handed out. */
  #readyBytes(): number {
    let sizeBytes = 0
    for (const buffer of this.#buffers.values()) {
      if (!buffer.state.isPaused) sizeBytes += buffer.sizeBytes
    }
    return sizeBytes
  }

  /**
   * What to read, with the partition first that has waited longest.
   *
   * @param aheadBytes is shared by those that have something, but for what is worth a read.
   * @param mostCount when so many have something, the others are not looked at: of a thousand, most
   * would be in vain.
   */
  #wanted(onlyWithData: boolean, aheadBytes: number, mostCount: number): Wanted[] {
    const wanted: { state: AssignedPartition; partition: Partition; offset: number }[] = []
    let withDataCount = 0
    for (const state of this.#inTurn()) {
      if (state.isPaused) continue
      // Where the end is that somebody begins at depends on when it is asked for.
      if (withDataCount >= mostCount && state.position !== null) continue
      const source = this.#positions.source(state)
      const buffer = this.#buffers.get(state.key)
      if (buffer !== undefined && this.#isCurrent(buffer)) continue
      if (source === null) this.#ensureMayBeGone(state)
      if (source === null || this.#isGoing(source)) continue
      const offset = this.#positions.resolve(state, source)
      const hasData = offset < source.highWatermark || offset > source.logEndOffset
      if (hasData) withDataCount += 1
      else if (onlyWithData) continue
      wanted.push({ state, partition: source, offset })
    }
    const shareBytes = Math.floor(aheadBytes / withDataCount)
    const mostBytes = Math.max(shareBytes, MIN_SHARE_BYTES, this.#leastBytes)
    const maxBytes = Math.max(1, Math.min(this.#options.maxPartitionFetchBytes, mostBytes))
    return wanted.map(({ state, partition, offset }) => {
      return { state, request: { partition, offset, maxBytes } }
    })
  }

  /** The one first that has waited longest. */
  #inTurn(): readonly AssignedPartition[] {
    const { assigned } = this.#subscription
    if (this.#turnsOf !== assigned) this.#turns = [...assigned.values()]
    this.#turnsOf = assigned
    return this.#turns.sort((left, right) => left.lastRead - right.lastRead)
  }

  /** Whether a log is closed because its topic is deleted: the group is about to take it away. */
  #isGoing(source: Partition): boolean {
    return source.isClosed && this.#subscription.isSubscribed
  }

  /** A group takes partitions away when their topic is gone; who chose them has to be told. */
  #ensureMayBeGone({ topic, partition, key }: AssignedPartition): void {
    if (this.#subscription.isSubscribed) return
    throw new UnknownTopicOrPartitionError(
      topic,
      partition,
      `partition ${key} was assigned to this consumer and is gone: assign others`,
    )
  }

  #accept(state: AssignedPartition, response: FetchResponse): boolean {
    const { partition, offset, batches, error } = response
    const isStale =
      this.#subscription.assigned.get(state.key) !== state ||
      state.position !== offset ||
      this.#positions.source(state) !== partition ||
      this.#isGoing(partition)
    if (isStale || (batches.length === 0 && error === null)) return false
    this.#readCount += 1
    state.lastRead = this.#readCount
    if (error instanceof OffsetOutOfRangeError && batches.length === 0) {
      if (this.#positions.resetOutOfRange(state, partition)) return true
    }
    this.#buffers.set(state.key, new FetchBuffer(state, offset, partition, { batches, error }))
    return true
  }
}

function isEnough(responses: readonly FetchResponse[], minBytes: number): boolean {
  let sizeBytes = 0
  for (const { batches, error } of responses) {
    if (error !== null) return true
    sizeBytes += totalSizeBytes(batches)
  }
  return sizeBytes >= minBytes
}
