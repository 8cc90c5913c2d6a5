import { errorOf } from '../checks.ts'
import type { Clock } from '../platform/clock.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { totalSizeBytes, type RecordBatch } from '../record/record-batch.ts'
import { AvailableBytes, endsInError } from './available-bytes.ts'
import { FetchWait, type WaitLimits } from './fetch-wait.ts'
import type { Partition } from './partition.ts'

/** What is wanted of one partition. */
export interface FetchRequest {
  readonly partition: Partition
  readonly offset: number
  /** Limit on the stored size of what is returned; the first batch is returned however large. */
  readonly maxBytes: number
  /** Batches at or above it are not needed: once those below are there, it is enough. */
  readonly wantedEnd?: number
}

/** What one partition had: batches, possibly none, or an error. */
export interface FetchResponse {
  readonly partition: Partition
  /** As asked for. The first batch may begin below it. */
  readonly offset: number
  readonly batches: readonly RecordBatch[]
  readonly error: Error | null
  /**
   * Whether the batches end at a limit, at the end of a segment or before an error, and not where there is
   * no more by now: no wait would add to them.
   */
  readonly isComplete: boolean
}

/** How much a fetch reads. */
interface ReadLimits {
  /** Bytes over all requests together that are worth answering. */
  readonly minBytes: number
  /** Limit over all requests together; one batch is returned however large. */
  readonly maxBytes: number
}

/** How long a fetch waits, and for how much. */
export interface FetchLimits extends ReadLimits, WaitLimits {}

/**
 * Reads several partitions at once and never waits for more than there is.
 *
 * @param limits `minBytes` above 1 says that less would not do, and then reads have to be waited for.
 * @returns one response per request, in the same order; without a promise where all can be had inside of the call.
 */
export function fetchThere(
  requests: readonly FetchRequest[],
  limits: ReadLimits,
): FetchResponse[] | Promise<FetchResponse[]> {
  const found = readNow(requests, limits)
  return found.length === requests.length ? found : readRest(requests, limits, found)
}

/**
 * Reads several partitions at once and waits until there is enough (Kafka's delayed fetch).
 *
 * Answers as soon as `minBytes` are there, one request has an error or all that a read of it can give,
 * or the time is over. Where there is something to read, it looks before it prepares to wait, which takes
 * more than the look. A waiter listens before a look that it waits for, so an append between its look and
 * its wait wakes it, and has it look at the partition that has changed and at no other.
 *
 * @returns one response per request, in the same order.
 * @throws `signal.reason` when the signal is aborted, before or while it waits.
 */
export async function fetchBatches(
  clock: Clock,
  requests: readonly FetchRequest[],
  limits: FetchLimits,
): Promise<FetchResponse[]> {
  // First, so that whoever wants to end the wait can, also while the event loop turns.
  const wait = new FetchWait(clock, limits)
  const turn = promptIo.turnIfDue()
  if (turn !== null) await turn
  limits.signal?.throwIfAborted()
  if (limits.maxWaitMs <= 0) {
    const found = await fetchThere(requests, limits)
    // Nobody else tells it what another process has appended.
    if (isEnough(found, limits) || !(await lookBehind(requests))) return found
    return fetchThere(requests, limits)
  }
  if (requests.some(hasMore)) {
    const responses = await fetchThere(requests, limits)
    limits.signal?.throwIfAborted()
    if (wait.isOver || isEnough(responses, limits)) return responses
  }
  wait.start()
  const changes = new FetchChanges(requests, wait)
  const available = new AvailableBytes(requests, limits)
  try {
    for (;;) {
      const changed = changes.take()
      // Where any byte is enough, nothing was found so far, and the others have not changed since.
      const slots = limits.minBytes <= 1 ? changed : null
      const asked = slots?.flatMap((slot) => requests[slot] ?? []) ?? requests
      // Nothing can change while it looks inside of the call.
      const found = readNow(asked, limits)
      const isAll = found.length === asked.length
      if (isAll && (wait.isOver || isEnough(found, limits)))
        return amongEmpty(requests, slots, found)
      const change = wait.nextChange()
      const isLook = wait.isOver || available.needsLook
      if (!isAll && (isLook || (await available.mayBeEnough(changed)))) {
        const responses = await readRest(asked, limits, found)
        limits.signal?.throwIfAborted()
        if (wait.isOver || isEnough(responses, limits)) {
          return amongEmpty(requests, slots, responses)
        }
        if (slots === null) available.note(responses)
      }
      await change
      // One append wakes all who wait for it. Who is to wait no longer has been told so by his caller.
      const turn = wait.isOver ? null : promptIo.turnIfDue()
      if (turn !== null) await turn
      limits.signal?.throwIfAborted()
    }
  } finally {
    changes.stop()
    wait.stop()
  }
}

/** Which of the partitions that are waited for have changed. */
class FetchChanges {
  readonly #wait: FetchWait
  readonly #requestCount: number
  readonly #stops: (() => void)[] = []
  /** Slots of the requests whose partitions have changed since the last look; `null` for all. */
  #changed: Set<number> | null = null

  /** From now on no change goes unnoticed. */
  constructor(requests: readonly FetchRequest[], wait: FetchWait) {
    this.#wait = wait
    this.#requestCount = requests.length
    let slotCount = 0
    for (const { partition } of requests) {
      const slot = slotCount
      slotCount += 1
      this.#stops.push(
        partition.onChange(() => {
          this.#changed?.add(slot)
          wait.wakeUp()
        }),
      )
    }
  }

  /**
   * What is to be looked at now: slots of requests in their order, `null` for all of them, as the first look
   * and one that nothing comes behind have to find everything.
   */
  take(): readonly number[] | null {
    const changed = this.#wait.isOver ? null : this.#changed
    // Where there is one, it is the one.
    if (this.#requestCount > 1) this.#changed = new Set()
    return changed === null ? null : [...changed].sort((left, right) => left - right)
  }

  stop(): void {
    for (const stop of this.#stops) stop()
  }
}

const NOTHING = { error: null, highWatermark: 0 } as const

/**
 * @param slots of those that were looked at, `null` for all
 * @returns what some of the requests have found, among the others, which have found nothing
 */
function amongEmpty(
  requests: readonly FetchRequest[],
  slots: readonly number[] | null,
  found: FetchResponse[],
): FetchResponse[] {
  if (slots === null) return found
  const responses = requests.map((request) => responseTo(request, [], NOTHING))
  for (const [at, response] of found.entries()) responses[slots[at] ?? -1] = response
  return responses
}

/** Looks for what another process may have appended. @returns whether there is something by now */
async function lookBehind(requests: readonly FetchRequest[]): Promise<boolean> {
  const looks = requests.flatMap(({ partition, offset }) => partition.lookBehind(offset) ?? [])
  if (looks.length === 0) return false
  await Promise.all(looks)
  return requests.some(hasMore)
}

/** Whether a look may well answer the request, so that preparing to wait can wait. */
function hasMore({ partition, offset }: FetchRequest): boolean {
  return offset < partition.highWatermark
}

/** Whether a fetch need not wait for more than this. */
export function isEnough(responses: readonly FetchResponse[], limits: ReadLimits): boolean {
  let sizeBytes = 0
  for (const { batches, error, isComplete } of responses) {
    if (error !== null || isComplete) return true
    sizeBytes += totalSizeBytes(batches)
  }
  return sizeBytes >= Math.max(1, Math.min(limits.minBytes, limits.maxBytes))
}

/**
 * Reads inside of the call: one partition after the other, up to the first that has to be waited for.
 *
 * @returns none where less than there is would not do, as for who waits for many bytes.
 */
function readNow(
  requests: readonly FetchRequest[],
  { minBytes, maxBytes }: ReadLimits,
): FetchResponse[] {
  const responses: FetchResponse[] = []
  if (minBytes > 1) return responses
  let remainingBytes = maxBytes
  for (const request of requests) {
    const { maxBytes: partitionBytes } = request
    const { highWatermark } = request.partition
    let batches: readonly RecordBatch[] | null = []
    let error: Error | null = null
    if (remainingBytes > 0) {
      try {
        batches = readPiecesNow(request, Math.min(partitionBytes, remainingBytes))
      } catch (cause) {
        error = errorOf(cause)
      }
    }
    if (batches === null) return responses
    remainingBytes -= totalSizeBytes(batches)
    responses.push(responseTo(request, batches, { error, highWatermark }))
  }
  return responses
}

/** Goes on behind what {@link readNow} has found, by waiting. @returns one response per request */
async function readRest(
  requests: readonly FetchRequest[],
  { minBytes, maxBytes }: ReadLimits,
  responses: FetchResponse[],
): Promise<FetchResponse[]> {
  let remainingBytes = maxBytes
  for (const { batches } of responses) remainingBytes -= totalSizeBytes(batches)
  for (const [slot, request] of requests.slice(responses.length).entries()) {
    const { partition, offset, maxBytes: partitionBytes, wantedEnd } = request
    const { highWatermark } = partition
    let batches: readonly RecordBatch[] = []
    let error: Error | null = null
    if (remainingBytes > 0) {
      try {
        const mostBytes = Math.min(partitionBytes, remainingBytes)
        const hasLooked = slot === 0 || minBytes > 1
        const now = hasLooked ? null : readPiecesNow(request, mostBytes)
        batches = now ?? (await partition.readBatches(offset, mostBytes, wantedEnd))
        remainingBytes -= totalSizeBytes(batches)
      } catch (cause) {
        error = errorOf(cause)
      }
    }
    const response = responseTo(request, batches, { error, highWatermark })
    const end = minBytes > 1 ? batches.at(-1)?.nextOffset : undefined
    // There may be fewer bytes than are waited for, and no wait adds to them.
    const isComplete =
      response.isComplete || (end !== undefined && (await endsInError(partition, end)))
    responses.push({ ...response, isComplete })
  }
  return responses
}

/** @param found `highWatermark` is that from before the read: what has come since is worth a wait */
function responseTo(
  { partition, offset, wantedEnd = Infinity }: FetchRequest,
  batches: readonly RecordBatch[],
  { error, highWatermark }: { readonly error: Error | null; readonly highWatermark: number },
): FetchResponse {
  const nextOffset = batches.at(-1)?.nextOffset
  const isComplete =
    nextOffset !== undefined && (nextOffset < highWatermark || nextOffset >= wantedEnd)
  return { partition, offset, batches, error, isComplete }
}

/** Reads what can be had inside of the call; `null` when only `Partition.readBatches` can tell. */
export function readPiecesNow(
  { partition, offset, maxBytes: partitionBytes, wantedEnd }: FetchRequest,
  maxBytes: number = partitionBytes,
): readonly RecordBatch[] | null {
  const first = partition.readBatchesNow(offset, maxBytes, wantedEnd)
  if (first === null || first.length === 0) return first
  const found = [...first]
  let restBytes = maxBytes
  for (let piece = first; ;) {
    for (const { sizeBytes } of piece) restBytes -= sizeBytes
    const from = found.at(-1)?.nextOffset ?? offset
    const end = Math.min(wantedEnd ?? Infinity, partition.highWatermark)
    if (restBytes <= 0 || from >= end) return found
    try {
      piece = partition.batches.readBehindNow(from, restBytes, wantedEnd) ?? []
    } catch {
      // What is wrong there is for the read that begins there.
      return found
    }
    if (piece.length === 0) return found
    for (const batch of piece) found.push(batch)
  }
}
