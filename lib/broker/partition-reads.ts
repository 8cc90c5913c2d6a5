import { checkOneOf, checkOptions, checkWholeNumber } from '../config.ts'
import type { Clock } from '../platform/clock.ts'
import { decodeRecords, type StoredRecord } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { fetchBatches } from './delayed-fetch.ts'
import type { Partition } from './partition.ts'

/** How long and for how much {@link Partition.fetch} waits. */
export interface FetchOptions {
  /** Bytes that are worth answering, at least 1. @defaultValue 1 */
  readonly minBytes?: number
  /** Limit on the stored size of what is returned; the first batch is returned however large. @defaultValue 1 MiB */
  readonly maxBytes?: number
  /** Milliseconds; 0 never waits. @defaultValue 500 */
  readonly maxWaitMs?: number
  /** Ends the wait; the fetch rejects with its reason. */
  readonly signal?: AbortSignal
}

/** Which records {@link Partition.records} goes through. */
export interface RecordsOptions {
  /** @defaultValue `'earliest'` */
  readonly from?: number | 'earliest' | 'latest'
  /** Exclusive; `'end'` is the high watermark at the time of the call. Absent: goes on for ever. */
  readonly until?: number | 'end'
  /** Ends the iteration, which rejects with its reason. */
  readonly signal?: AbortSignal
}

const DEFAULT_MAX_BYTES = 1024 * 1024
const DEFAULT_MAX_WAIT_MS = 500

/** Waits for records at `offset`; see `Partition.fetch`. */
export async function fetchRecords(
  clock: Clock,
  partition: Partition,
  offset: number,
  options: FetchOptions,
): Promise<StoredRecord[]> {
  checkOptions('fetch options', options, ['minBytes', 'maxBytes', 'maxWaitMs', 'signal'])
  const { minBytes = 1, maxBytes = DEFAULT_MAX_BYTES, maxWaitMs = DEFAULT_MAX_WAIT_MS } = options
  checkWholeNumber('offset', offset, 0, Number.MAX_SAFE_INTEGER)
  checkWholeNumber('minBytes', minBytes, 0, Number.MAX_SAFE_INTEGER)
  checkWholeNumber('maxBytes', maxBytes, 1, Number.MAX_SAFE_INTEGER)
  checkWholeNumber('maxWaitMs', maxWaitMs, 0, Number.MAX_SAFE_INTEGER)
  const deadlineMs = clock.monotonic() + maxWaitMs
  let from = offset
  for (;;) {
    const remainingMs = Math.max(0, deadlineMs - clock.monotonic())
    const limits = { minBytes, maxBytes, maxWaitMs: remainingMs, signal: options.signal }
    const [response] = await fetchBatches(clock, [{ partition, offset: from, maxBytes }], limits)
    if (response?.error != null) throw response.error
    const batches = response?.batches ?? []
    const records = await decodeAll(batches, partition, offset)
    // Batches may hold nothing for readers: markers, or what compaction left of them.
    from = batches.at(-1)?.nextOffset ?? from
    if (records.length > 0 || batches.length === 0) return records
  }
}

/** Goes through the records of a partition; see `Partition.records`. */
export async function* iterateRecords(
  clock: Clock,
  partition: Partition,
  options: RecordsOptions,
): AsyncGenerator<StoredRecord, void, undefined> {
  checkOptions('records options', options, ['from', 'until', 'signal'])
  const { from = 'earliest', until = Number.MAX_SAFE_INTEGER, signal } = options
  let offset = startOffset(partition, from)
  const end = until === 'end' ? partition.highWatermark : until
  checkWholeNumber('until', end, 0, Number.MAX_SAFE_INTEGER)
  const limits = {
    minBytes: 1,
    maxBytes: DEFAULT_MAX_BYTES,
    maxWaitMs: DEFAULT_MAX_WAIT_MS,
    signal,
  }
  while (offset < end) {
    const request = { partition, offset, maxBytes: DEFAULT_MAX_BYTES }
    const [response] = await fetchBatches(clock, [request], limits)
    if (response?.error != null) throw response.error
    for (const batch of response?.batches ?? []) {
      for (const record of await decodeRecords(batch, partition.log, { fromOffset: offset })) {
        if (record.offset >= end) return
        yield record
        signal?.throwIfAborted()
      }
      offset = batch.nextOffset
    }
  }
}

function startOffset(partition: Partition, from: number | 'earliest' | 'latest'): number {
  if (typeof from === 'number') {
    return checkWholeNumber('from', from, 0, Number.MAX_SAFE_INTEGER)
  }
  return checkOneOf('from', from, ['earliest', 'latest']) === 'earliest'
    ? partition.logStartOffset
    : partition.highWatermark
}

async function decodeAll(
  batches: readonly RecordBatch[],
  partition: Partition,
  fromOffset: number,
): Promise<StoredRecord[]> {
  const records: StoredRecord[] = []
  for (const batch of batches) {
    // A batch may hold too many records for them to be arguments of one call.
    for (const record of await decodeRecords(batch, partition.log, { fromOffset })) {
      records.push(record)
    }
  }
  return records
}
