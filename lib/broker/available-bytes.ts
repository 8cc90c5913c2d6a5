import { totalSizeBytes } from '../record/record-batch.ts'
import type { FetchLimits, FetchRequest, FetchResponse } from './delayed-fetch.ts'
import type { Partition } from './partition.ts'

/** What a request has found so far: a number of bytes, up to an offset. */
interface Found {
  sizeBytes: number
  nextOffset: number
}

/**
 * Counts the bytes that arrive while a fetch waits for many of them, so that each small append does
 * not make it read everything again from its start.
 *
 * It only says when a look is worthwhile; the look decides.
 */
export class AvailableBytes {
  readonly #requests: readonly FetchRequest[]
  readonly #limits: FetchLimits
  #found: readonly Found[] | null = null
  #totalBytes = 0

  constructor(requests: readonly FetchRequest[], limits: FetchLimits) {
    this.#requests = requests
    this.#limits = limits
  }

  /** Records the result of a look that found too little. */
  note(responses: readonly FetchResponse[]): void {
    this.#found = responses.map(({ offset, batches }) => ({
      sizeBytes: totalSizeBytes(batches),
      nextOffset: batches.at(-1)?.nextOffset ?? offset,
    }))
    this.#totalBytes = this.#found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  }

  /** Whether only a look can tell: nothing has been counted yet, or any byte is enough. */
  get needsLook(): boolean {
    return this.#found === null || this.#limits.minBytes <= 1
  }

  /**
   * Whether there may be enough by now, or an error. Reads only what is new.
   *
   * @param changed slots of the requests whose partitions have changed since; `null` for all
   */
  async mayBeEnough(changed: readonly number[] | null): Promise<boolean> {
    const { minBytes, maxBytes } = this.#limits
    for (const slot of changed ?? this.#requests.keys()) {
      const request = this.#requests[slot]
      const found = this.#found?.[slot]
      if (request === undefined || found === undefined) return true
      const beforeBytes = found.sizeBytes
      if (await hasChanged(request, found)) return true
      this.#totalBytes += found.sizeBytes - beforeBytes
    }
    return this.#totalBytes >= Math.min(minBytes, maxBytes)
  }
}

/**
 * Whether a read at `offset`, the end of what was read, fails. If so, waiting adds nothing to what
 * was read before it.
 */
export async function endsInError(partition: Partition, offset: number): Promise<boolean> {
  if (offset < partition.highWatermark) return false
  try {
    if (partition.readBatchesNow(offset, 1) === null) await partition.readBatches(offset, 1)
    return false
  } catch {
    return true
  }
}

/**
 * Continues the count.
 *
 * @returns whether a look would find something other than more bytes: an error, the end of the
 * wanted range or of what one read returns, or a log that no longer holds the counted records.
 */
async function hasChanged(request: FetchRequest, found: Found): Promise<boolean> {
  const { partition, offset, maxBytes, wantedEnd = Infinity } = request
  const { activeBaseOffset } = partition.log.reader
  const foundUpTo = found.nextOffset
  // A read from there ends with its segment, which was rolled meanwhile, and more follows it.
  const isRolled = offset < activeBaseOffset && foundUpTo <= activeBaseOffset
  if (isRolled && partition.highWatermark > activeBaseOffset) return true
  try {
    while (found.sizeBytes < maxBytes) {
      const { isClosed, logStartOffset, highWatermark } = partition
      if (isClosed || logStartOffset > offset || highWatermark < found.nextOffset) return true
      if (found.nextOffset >= highWatermark) return await endsInError(partition, found.nextOffset)
      const batches = await partition.readBatches(found.nextOffset, maxBytes - found.sizeBytes)
      const last = batches.at(-1)
      if (last === undefined || last.nextOffset >= wantedEnd) return true
      found.sizeBytes += totalSizeBytes(batches)
      found.nextOffset = last.nextOffset
    }
    // A read ends before the batch that exceeds the limit.
    const isBeyond = found.sizeBytes > maxBytes && found.nextOffset > foundUpTo
    return isBeyond || (found.sizeBytes >= maxBytes && partition.highWatermark > found.nextOffset)
  } catch {
    // The look meets the error again, and has a caller to report it to.
    return true
  }
}
