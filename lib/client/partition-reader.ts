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
  /** Asked where there is nothing to be handed out, and so something to wait for. */
  readonly maxWaitMs: () => number
  /** By the monotonic clock: from then on less than `fetchMinBytes` will do. */
  readonly deadlineMs: number
  readonly signal: AbortSignal | undefined
  /** Is handed a function that ends the wait, in this step. */
  readonly onWake: (wake: () => void) => void
}

/** Where what is read is held. */
interface Buffers {
  /** Whether something of a partition is held that is to be handed out where it stands. */
  readonly has: (state: AssignedPartition) => boolean
  readonly add: (buffer: FetchBuffer) => void
}

/** Reads the partitions of which nothing is buffered, those first that have waited longest. Calls must not overlap. */
export class PartitionReader {
  readonly #clock: Clock
  readonly #minBytes: number
  readonly #positions: PositionResolver
  readonly #buffers: Buffers
  readonly #watch: PartitionWatch
  readonly #turns: ReadTurns
  #isStopped = false
  #readCount = 0

  /** @param minBytes what is waited for, over all partitions */
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
   * Waits only where there is nothing that can be handed out.
   *
   * @returns as `Fetcher.fetch`, and throws the same
   */
  read(room: Room, wait: WaitBounds): Promise<boolean> {
    return this.#watch.mayRest ? this.#readDue(room, wait) : this.#readAll(room, wait)
  }

  /** Waits and reads nothing. @throws the reason of the signal */
  async idle(maxWaitMs: number, wait: Pick<WaitBounds, 'signal' | 'onWake'>): Promise<void> {
    await fetchBatches(this.#clock, [], { minBytes: 1, maxBytes: 1, maxWaitMs, ...wait })
  }

  /** Reads nothing more, and listens to nothing. */
  stop(): void {
    this.#isStopped = true
    this.#watch.close()
  }

  /** Reads those that are due, and waits until others are. */
  async #readDue(room: Room, wait: WaitBounds): Promise<boolean> {
    let waiting: FetchWait | null = null
    try {
      for (;;) {
        const turn = promptIo.turnIfDue()
        if (turn !== null) await turn
        if (this.#isStopped || waiting?.isOver === true) return false
        const look = this.#look(room)
        // The look was for those that are to be read from where they end by now.
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

  /** @returns `null` where there is no time for it */
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

  /** Reads all, where what many of them have is waited for together, or they do not tell of what is new. */
  async #readAll(room: Room, wait: WaitBounds): Promise<boolean> {
    const look = this.#look(room)
    const { hasReady, roomBytes, maxBytes } = room
    // Those that were not looked at would wake nobody.
    const maxWaitMs = hasReady || look.isPart ? 0 : wait.maxWaitMs()
    if (maxWaitMs === 0 && (look.turns.length === 0 || (hasReady && roomBytes <= 0)))
      return hasReady
    const minBytes = Math.min(this.#minBytes, maxBytes)
    const { signal, onWake } = wait
    const limits = { minBytes, maxBytes, maxWaitMs, signal, onWake }
    const responses = await fetchBatches(this.#clock, requestsOf(look, room), limits)
    // What ended the wait may be neither its time nor the bytes.
    const isOver = hasReady || look.isPart || this.#clock.monotonic() >= wait.deadlineMs
    if (!isOver && !isEnough(responses, limits)) return false
    return this.#acceptAll(look, responses, room) || hasReady || look.isPart
  }

  #look({ hasReady, mostCount }: Room): Look {
    return this.#turns.look({ onlyWithData: hasReady, mostCount }, this.#buffers.has)
  }

  /** @returns whether one of them is anything new to look at */
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

  /** @param hadRoom whether there was room left to read something of the partition */
  #accept({ watched, state, end }: ReadTurn, response: FetchResponse, hadRoom: boolean): boolean {
    const { partition, offset, batches, error } = response
    const isStale =
      state.isGivenUp ||
      state.position !== offset ||
      this.#positions.source(state) !== partition ||
      this.#turns.isGoing(partition)
    // Of what was not looked at nobody tells, so it is not to be waited for.
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
    this.#buffers.add(new FetchBuffer(state, offset, partition, { batches, error }))
    return true
  }
}

function requestsOf({ turns, withDataCount }: Look, room: Room): FetchRequest[] {
  const maxBytes = room.partitionBytes(withDataCount)
  return turns.map(({ partition, offset }) => ({ partition, offset, maxBytes }))
}
