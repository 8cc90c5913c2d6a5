import { totalSizeBytes } from '../record/record-batch.ts'
import type { FetchLimits, FetchRequest, FetchResponse } from './delayed-fetch.ts'
import type { Partition } from './partition.ts'

/** What a request has found so far: so many bytes, up to an offset. */
interface Found {
  sizeBytes: number
  nextOffset: number
}

/**
 * Counts what comes while a fetch waits for many bytes, so that it does not read everything from
 * its start again whenever a little is appended.
 *
 * It only says when a look is worth its while; the look decides.
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

  /** Takes note of what a look has found, which was not enough. */
  note(responses: readonly FetchResponse[]): void {
    this.#found = responses.map(({ offset, batches }) => ({
      sizeBytes: totalSizeBytes(batches),
      nextOffset: batches.at(-1)?.nextOffset ?? offset,
    }))
    this.#totalBytes = this.#found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  }

  /** Whether only a look can tell: nothing is counted yet, or any byte is enough. */
  get needsLook(): boolean {
    return this.#found === null || this.#limits.minBytes <= 1
  }

  /**
   * Whether there may be enough by now, or an error. Reads what is new and nothing else.
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
 * Whether a read at `offset`, where all that is known by now has been read, fails: then no wait adds to what
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
 * Counts on.
 *
 * @returns whether there is something else to see than more of the same: an error, the end of what
 * was wanted or of what a read gives, or a log that does not hold any more what was counted.
 */
async function hasChanged(request: FetchRequest, found: Found): Promise<boolean> {
  const { partition, offset, maxBytes, wantedEnd = Infinity } = request
  const { activeBaseOffset } = partition.log.reader
  const foundUpTo = found.nextOffset
  // A read from there ends with its segment, which was rolled meanwhile, and there is more behind it.
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
    // A read ends in front of what is too much.
    const isBeyond = found.sizeBytes > maxBytes && found.nextOffset > foundUpTo
    return isBeyond || (found.sizeBytes >= maxBytes && partition.highWatermark > found.nextOffset)
  } catch {
    // The look meets the error again, and has somebody to tell.
    return true
  }
}
