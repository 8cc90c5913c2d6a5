import {
  fetchBatches,
  fetchThere,
  isEnough,
  type FetchRequest,
  type FetchResponse,
} from '../broker/delayed-fetch.ts'
import { FetchWait } from '../broker/fetch-wait.ts'
import { OffsetOutOfRangeError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { totalSizeBytes } from '../record/record-batch.ts'
import type { AssignedPartition } from './assigned-partition.ts'
import { FetchBuffer } from './fetch-buffer.ts'
import { PartitionWatch } from './partition-watch.ts'
import type { PositionResolver } from './position-resolver.ts'
import type { Room } from './read-ahead.ts'
import { ReadTurns, type Look, type ReadTurn } from './read-turns.ts'
import type { SubscriptionState } from './subscription-state.ts'

/** How long one {@link PartitionReader.read} may wait, and what ends the wait. */
export interface WaitBounds {
  /** Called if no record can be returned, so that there is something to wait for. */
  readonly maxWaitMs: () => number
  /** By the monotonic clock. After it, less than `fetchMinBytes` is accepted. */
  readonly deadlineMs: number
  readonly signal: AbortSignal | undefined
  /** Receives a function that ends the wait; called in the same step. */
  readonly onWake: (wake: () => void) => void
}

/** Where the data that was read is stored. */
interface Buffers {
  /** Whether it has data of a partition that can be returned at the current position. */
  readonly has: (state: AssignedPartition) => boolean
  readonly add: (buffer: FetchBuffer) => void
}

/**
 * Reads the partitions that have nothing buffered, longest-waiting first. Calls must not overlap.
 */
export class PartitionReader {
  readonly #clock: Clock
  readonly #minBytes: number
  readonly #positions: PositionResolver
  readonly #buffers: Buffers
  readonly #watch: PartitionWatch
  readonly #turns: ReadTurns
  #isStopped = false
  #readCount = 0

  /** @param minBytes bytes to wait for, over all partitions */
  constructor(
    clock: Clock,
    minBytes: number,
    partitions: { subscription: SubscriptionState; positions: PositionResolver },
    buffers: Buffers,
  ) {
    const { subscription, positions } = partitions
    this.#clock = clock
    this.#minBytes = minBytes
    this.#positions = positions
    this.#buffers = buffers
    this.#watch = new PartitionWatch(!positions.readOnly && minBytes <= 1)
    this.#turns = new ReadTurns(subscription, positions, this.#watch)
  }

  /**
   * Reads partitions. Waits only if no record can be returned.
   *
   * @returns as `Fetcher.fetch`, and throws the same
   */
  read(room: Room, wait: WaitBounds): Promise<boolean> {
    return this.#watch.mayRest ? this.#readDue(room, wait) : this.#readAll(room, wait)
  }

  /**
   * Finds the positions of partitions that were added, or moved to one end, without reading.
   *
   * @returns `null` when done
   * @throws what {@link PositionResolver.resolve} throws
   */
  place(): Promise<void> | null {
    if (!this.#turns.mayLackPosition) return null
    const looking = this.#turns.lookForEnds()
    if (looking === null) this.#turns.place()
    return (
      looking?.then(() => {
        if (!this.#isStopped) this.#turns.place()
      }) ?? null
    )
  }

  /** Waits without reading. @throws the reason of the signal */
  async idle(maxWaitMs: number, wait: Pick<WaitBounds, 'signal' | 'onWake'>): Promise<void> {
    await fetchBatches(this.#clock, [], { minBytes: 1, maxBytes: 1, maxWaitMs, ...wait })
  }

  /** Stops reading and listening. */
  stop(): void {
    this.#isStopped = true
    this.#watch.close()
  }

  /** Reads the partitions that are due, and waits until others are. */
  async #readDue(room: Room, wait: WaitBounds): Promise<boolean> {
    let waiting: FetchWait | null = null
    try {
      for (;;) {
        const turn = promptIo.turnIfDue()
        if (turn !== null) await turn
        if (this.#isStopped || waiting?.isOver === true) return false
        const look = this.#look(room)
        // The look served those partitions whose position is set to the current end.
        if (room.hasReady && room.roomBytes <= 0) return true
        const responses = fetchThere(requestsOf(look, room), {
          minBytes: 1,
          maxBytes: room.maxBytes,
        })
        const found = Array.isArray(responses) ? responses : await responses
        const hasAccepted = this.#acceptAll(look, found, room)
        if (hasAccepted || room.hasReady || look.isPart) return true
        wait.signal?.throwIfAborted()
        waiting ??= this.#startWaiting(wait)
        if (waiting === null) return false
        const change = waiting.nextChange()
        if (!this.#watch.hasChanged) await change
      }
    } finally {
      waiting?.stop()
      this.#watch.onChange = () => undefined
    }
  }

  /** @returns `null` if there is no time to wait */
  #startWaiting({ maxWaitMs: askMs, signal, onWake }: WaitBounds): FetchWait | null {
    const maxWaitMs = askMs()
    if (maxWaitMs <= 0) return null
    const waiting = new FetchWait(this.#clock, { maxWaitMs, signal, onWake })
    waiting.start()
    this.#watch.onChange = () => {
      waiting.wakeUp()
    }
    return waiting
  }

  /**
   * Reads all partitions. Used if the bytes to wait for are counted over several partitions, or if
   * partitions do not notify of new data.
   */
  async #readAll(room: Room, wait: WaitBounds): Promise<boolean> {
    const looking = this.#turns.lookForEnds()
    if (looking !== null) await looking
    if (this.#isStopped) return false
    const look = this.#look(room)
    const { hasReady, roomBytes, maxBytes } = room
    // Partitions that were not looked at would not end the wait.
    const maxWaitMs = hasReady || look.isPart ? 0 : wait.maxWaitMs()
    if (maxWaitMs === 0 && (look.turns.length === 0 || (hasReady && roomBytes <= 0)))
      return hasReady || look.isPart
    const minBytes = Math.min(this.#minBytes, maxBytes)
    const { signal, onWake } = wait
    const limits = { minBytes, maxBytes, maxWaitMs, signal, onWake }
    const responses = await fetchBatches(this.#clock, requestsOf(look, room), limits)
    // Something other than the time limit or the bytes may have ended the wait.
    const isOver = hasReady || look.isPart || this.#clock.monotonic() >= wait.deadlineMs
    if (!isOver && !isEnough(responses, limits)) return false
    return this.#acceptAll(look, responses, room) || hasReady || look.isPart
  }

  #look({ hasReady, mostCount }: Room): Look {
    // First, because a look ends at the first partition that has no offset.
    if (this.#turns.mayLackPosition) this.#turns.place()
    return this.#turns.look({ onlyWithData: hasReady, mostCount }, this.#buffers.has)
  }

  /** @returns whether any of them is anything new to look at */
  #acceptAll({ turns }: Look, responses: readonly FetchResponse[], { maxBytes }: Room): boolean {
    let hasAccepted = false
    let restBytes = maxBytes
    for (const [slot, response] of responses.entries()) {
      const turn = turns[slot]
      if (turn !== undefined && this.#accept(turn, response, restBytes > 0)) hasAccepted = true
      restBytes -= totalSizeBytes(response.batches)
    }
    return hasAccepted
  }

  /** @param hadRoom whether there was room left to read from the partition */
  #accept(turn: ReadTurn, response: FetchResponse, hadRoom: boolean): boolean {
    const { watched, state, end } = turn
    const { partition, offset, batches, error } = response
    const isStale =
      state.isGivenUp ||
      state.position !== offset ||
      this.#positions.source(state) !== partition ||
      this.#turns.isGoing(partition)
    // Partitions that were not read do not notify, so they must not be waited for.
    if (isStale || (batches.length === 0 && error === null && !hadRoom)) {
      this.#watch.hasChanged = true
      return false
    }
    if (batches.length === 0 && error === null) {
      state.emptyUpTo = end
      watched.restIfUnchanged()
      return false
    }
    if (batches.length > 0 && this.#positions.hasLapsed(state, partition)) return true
    this.#readCount += 1
    state.lastRead = this.#readCount
    if (error instanceof OffsetOutOfRangeError && batches.length === 0) {
      if (this.#positions.resetOutOfRange(state, partition)) return true
    }
    this.#buffers.add(new FetchBuffer(state, offset, partition, { batches, error, seen: turn }))
    return true
  }
}

function requestsOf({ turns, withDataCount }: Look, room: Room): FetchRequest[] {
  const maxBytes = room.partitionBytes(withDataCount)
  return turns.map(({ partition, offset }) => ({ partition, offset, maxBytes }))
}
