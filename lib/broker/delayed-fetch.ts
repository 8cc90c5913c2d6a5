import { errorOf } from '../checks.ts'
import type { Clock } from '../platform/clock.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { totalSizeBytes, type RecordBatch } from '../record/record-batch.ts'
import { AvailableBytes, endsInError } from './available-bytes.ts'
import { FetchWait, type WaitLimits } from './fetch-wait.ts'
import type { Partition } from './partition.ts'

/** A read of one partition. */
export interface FetchRequest {
  readonly partition: Partition
  readonly offset: number
  /** Maximum stored size of the result, in bytes; the first batch is returned however large. */
  readonly maxBytes: number
  /** Batches from this offset on are not needed: the batches below it are enough. */
  readonly wantedEnd?: number
}

/** The result for one partition: batches, possibly none, or an error. */
export interface FetchResponse {
  readonly partition: Partition
  /** As requested. The first batch may begin below it. */
  readonly offset: number
  readonly batches: readonly RecordBatch[]
  readonly error: Error | null
  /**
   * Whether the batches end at a limit, at the end of a segment or before an error, and not at the
   * end of the available records: waiting would add nothing.
   */
  readonly isComplete: boolean
}

/** How much a fetch reads. */
interface ReadLimits {
  /** Minimum number of bytes over all requests together. */
  readonly minBytes: number
  /** Maximum number of bytes over all requests together; one batch is returned however large. */
  readonly maxBytes: number
}

/** How long a fetch waits, and for how much. */
export interface FetchLimits extends ReadLimits, WaitLimits {}

/**
 * Reads several partitions at once and never waits for more records.
 *
 * @param limits with `minBytes` above 1, fewer bytes would not do, and then reads are asynchronous.
 * @returns one response per request, in the same order; without a promise if all reads are
 * synchronous.
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
 * Returns as soon as `minBytes` are available, a request has an error or all that one read of it
 * can return, or the time is over. If there is something to read, it reads before it prepares to
 * wait, because preparing costs more than reading. A waiter starts to listen before an asynchronous
 * read, so an append between the read and the wait wakes it; it then reads only the partitions that
 * have changed.
 *
 * @returns one response per request, in the same order.
 * @throws `signal.reason` when the signal is aborted, before or during the wait.
 */
export async function fetchBatches(
  clock: Clock,
  requests: readonly FetchRequest[],
  limits: FetchLimits,
): Promise<FetchResponse[]> {
  // First, so that the wait can be ended even while the event loop turns.
  const wait = new FetchWait(clock, limits)
  const turn = promptIo.turnIfDue()
  if (turn !== null) await turn
  limits.signal?.throwIfAborted()
  if (limits.maxWaitMs <= 0) {
    const found = await fetchThere(requests, limits)
    // Without a wait, nothing else reports what another process has appended.
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
      // If any byte is enough, nothing was found so far, and the other partitions have not changed
      // since.
      const slots = limits.minBytes <= 1 ? changed : null
      const asked = slots?.flatMap((slot) => requests[slot] ?? []) ?? requests
      // Nothing can change during a synchronous read.
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
      // One append wakes all waiters, so they take turns. A wait that is over was ended by its
      // timer or caller.
      const turn = wait.isOver ? null : promptIo.turnIfDue()
      if (turn !== null) await turn
      limits.signal?.throwIfAborted()
    }
  } finally {
    changes.stop()
    wait.stop()
  }
}

/** Tracks which of the partitions waited for have changed. */
class FetchChanges {
  readonly #wait: FetchWait
  readonly #requestCount: number
  readonly #stops: (() => void)[] = []
  /** Slots of the requests whose partitions have changed since the last read; `null` for all. */
  #changed: Set<number> | null = null

  /** From now on no change is missed. */
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
   * Slots of the requests to read now, in order. `null` for all of them: the first read, and one
   * that no other follows, have to find everything.
   */
  take(): readonly number[] | null {
    const changed = this.#wait.isOver ? null : this.#changed
    // A single request needs no set.
    if (this.#requestCount > 1) this.#changed = new Set()
    return changed === null ? null : [...changed].sort((left, right) => left - right)
  }

  stop(): void {
    for (const stop of this.#stops) stop()
  }
}

const NOTHING = { error: null, highWatermark: 0 } as const

/**
 * @param slots of the requests that were read, `null` for all
 * @returns the responses found, merged with empty ones for the other requests
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

/** Looks for records that another process may have appended. @returns whether there are any */
async function lookBehind(requests: readonly FetchRequest[]): Promise<boolean> {
  const looks = requests.flatMap(({ partition, offset }) => partition.lookBehind(offset) ?? [])
  if (looks.length === 0) return false
  await Promise.all(looks)
  return requests.some(hasMore)
}

/** Whether a read can probably satisfy the request, so that preparing to wait can be postponed. */
function hasMore({ partition, offset }: FetchRequest): boolean {
  return offset < partition.highWatermark
}

/** Whether a fetch with these responses need not wait for more. */
export function isEnough(responses: readonly FetchResponse[], limits: ReadLimits): boolean {
  let sizeBytes = 0
  for (const { batches, error, isComplete } of responses) {
    if (error !== null || isComplete) return true
    sizeBytes += totalSizeBytes(batches)
  }
  return sizeBytes >= Math.max(1, Math.min(limits.minBytes, limits.maxBytes))
}

/**
 * Reads synchronously, one partition after the other, up to the first one that needs an
 * asynchronous read.
 *
 * @returns no responses if `minBytes` is above 1: fewer bytes might not do.
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

/**
 * Continues asynchronously after the responses of {@link readNow}.
 * @returns one response per request
 */
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
    // There may be fewer bytes than `minBytes`, and waiting adds none.
    const isComplete =
      response.isComplete || (end !== undefined && (await endsInError(partition, end)))
    responses.push({ ...response, isComplete })
  }
  return responses
}

/**
 * @param found `highWatermark` from before the read: records that arrived since are worth a wait
 */
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

/** Reads what can be read synchronously; `null` if only `Partition.readBatches` can tell. */
export function readPiecesNow(
  { partition, offset, maxBytes: partitionBytes, wantedEnd }: FetchRequest,
  maxBytes: number = partitionBytes,
): readonly RecordBatch[] | null {
  const first = partition.readBatchesNow(offset, maxBytes, wantedEnd)
  if (first === null || first.length === 0) return first
  let found: RecordBatch[] | null = null
  let restBytes = maxBytes
  for (let piece = first; ;) {
    for (const { sizeBytes } of piece) restBytes -= sizeBytes
    const from = piece.at(-1)?.nextOffset ?? offset
    const end = Math.min(wantedEnd ?? Infinity, partition.highWatermark)
    if (restBytes <= 0 || from >= end) return found ?? first
    try {
      piece = partition.batches.readBehindNow(from, restBytes, wantedEnd) ?? []
    } catch {
      // An error there is left to the read that starts there.
      return found ?? first
    }
    if (piece.length === 0) return found ?? first
    found ??= [...first]
    for (const batch of piece) found.push(batch)
  }
}
