import { abortSignal, checkOptions, checkWholeNumber, wholeNumber, type Checks } from '../checks.ts'
import type { Clock } from '../platform/clock.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { newRecords, type StoredRecord } from '../record/decode.ts'
import { totalSizeBytes, type RecordBatch } from '../record/record-batch.ts'
import { decodeAll, decodeSound } from './decode-batches.ts'
import { fetchBatches, readPiecesNow } from './delayed-fetch.ts'
import { FetchWait } from './fetch-wait.ts'
import type { Partition } from './partition.ts'

/** Options of {@link Partition.read}. */
export interface ReadOptions {
  /** Maximum number of records, at least 1. @defaultValue none */
  readonly maxRecords?: number | undefined
  /**
   * Maximum stored size of the result, in bytes, at least 1; the first batch is returned however
   * large.
   *
   * @defaultValue 256 KiB, or 1 MiB if `maxRecords` is given
   */
  readonly maxBytes?: number | undefined
}

/** Options of {@link Partition.fetch}: how long it waits, and for how much. */
export interface FetchOptions {
  /**
   * Bytes to wait for, at least 0; the fetch waits for a record in any case. It returns less at
   * once if one read cannot return more, because `maxBytes` or (as in Kafka) the end of a segment
   * ends it, or if the data after it cannot be read.
   *
   * @defaultValue 1
   */
  readonly minBytes?: number | undefined
  /** Maximum number of records, at least 1. That many also end the wait. @defaultValue none */
  readonly maxRecords?: number | undefined
  /**
   * Maximum stored size of the result, in bytes, at least 1; the first batch is returned however
   * large.
   *
   * @defaultValue 256 KiB, or 1 MiB if `maxRecords` is given or `minBytes` is above 1
   */
  readonly maxBytes?: number | undefined
  /** Longest wait, milliseconds; 0 never waits. @defaultValue 500 */
  readonly maxWaitMs?: number | undefined
  /** Ends the wait; the fetch rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Checks for {@link ReadOptions}. */
export const READ_OPTIONS: Checks<ReadOptions> = {
  maxBytes: wholeNumber(1),
  maxRecords: wholeNumber(1),
}

/** Checks for {@link FetchOptions}. */
const FETCH_OPTIONS: Checks<FetchOptions> = {
  ...READ_OPTIONS,
  minBytes: wholeNumber(0),
  maxWaitMs: wholeNumber(0),
  signal: abortSignal,
}

/**
 * Default size of a read. All records of a read are in memory together, and collecting the garbage
 * of larger reads takes longer than reading again.
 */
const DEFAULT_READ_BYTES = 256 * 1024
/** Default size if another option, `maxRecords` or `minBytes`, is meant to end the read. */
export const DEFAULT_MAX_BYTES: number = 1024 * 1024
/** Default wait of a fetch. */
export const DEFAULT_MAX_WAIT_MS = 500
/** Size of one awaited read; see {@link readInPieces}. */
const PIECE_BYTES = 64 * 1024

/** Reads the available records; see `Partition.read`. */
export async function readRecords(
  clock: Clock,
  partition: Partition,
  offset: number,
  options: ReadOptions,
): Promise<StoredRecord[]> {
  const checked = checkOptions('read options', options, READ_OPTIONS)
  checkWholeNumber('offset', offset, 0, Number.MAX_SAFE_INTEGER)
  const { maxRecords, maxBytes } = checked
  const looking = partition.lookBehind(offset)
  if (looking !== null) await looking
  if (maxRecords === undefined) return readInPieces(partition, offset, checked)
  const turn = promptIo.turnIfDue()
  if (turn !== null) await turn
  return (
    readFew(partition, offset, maxRecords, maxBytes) ??
    fetchRecords(clock, partition, offset, { maxWaitMs: 0, ...checked }, true)
  )
}

/**
 * Reads at most `maxRecords` records at `offset`: first those that can be read synchronously, then
 * the rest asynchronously.
 *
 * @returns `null` if none can be read synchronously.
 */
function readFew(
  partition: Partition,
  offset: number,
  maxRecords: number,
  maxBytes: number = DEFAULT_MAX_BYTES,
): StoredRecord[] | Promise<StoredRecord[]> | null {
  const found = partition.batches.readFewNow(offset, maxRecords, maxBytes)
  if (found === null) return null
  const { records, nextOffset: from, restBytes } = found
  const isAll = records.length >= maxRecords || restBytes <= 0 || from >= partition.highWatermark
  if (isAll) return records
  const { generation } = partition.log.reader
  return fill(partition, records, { from, maxRecords, restBytes, generation })
}

/**
 * Reads and decodes the available records at `offset` in pieces, so that a large read does not
 * block the process: after 1 ms within one turn of the event loop it waits before the next piece.
 *
 * @throws the error at `offset`; an error after it is left to the read that starts there.
 */
async function readInPieces(
  partition: Partition,
  offset: number,
  { maxBytes = DEFAULT_READ_BYTES, signal }: Pick<FetchOptions, 'maxBytes' | 'signal'>,
): Promise<StoredRecord[]> {
  const { reader } = partition.log
  const { generation } = reader
  const records = newRecords()
  let from = offset
  let restBytes = maxBytes
  try {
    for (;;) {
      const turn = promptIo.turnIfDue()
      if (turn !== null) await turn
      const mostBytes = Math.max(1, restBytes)
      const batches =
        (records.length > 0
          ? partition.batches.readBehindNow(from, mostBytes)
          : partition.readBatchesNow(from, mostBytes)) ??
        (await partition.readBatches(from, Math.min(mostBytes, PIECE_BYTES)))
      signal?.throwIfAborted()
      for (const batch of batches) restBytes -= batch.sizeBytes
      // After a truncation, the records that replaced the truncated ones must not follow the older
      // ones.
      const isOver = restBytes < 0 || generation !== reader.generation
      if (batches.length === 0 || (isOver && records.length > 0)) return records
      const range = { fromOffset: offset, maxRecords: Infinity }
      const decoding = decodeAll(batches, partition, range, records)
      if (!Array.isArray(decoding)) await decoding
      from = batches.at(-1)?.nextOffset ?? from
      if (restBytes <= 0 && records.length > 0) return records
    }
  } catch (error) {
    if (records.length > 0 && signal?.aborted !== true) return records
    throw error
  }
}

/**
 * Waits for records at `offset`; see `Partition.fetch`.
 *
 * @param hasLooked whether a synchronous read has already found nothing, so that it is not
 * repeated.
 */
export async function fetchRecords(
  clock: Clock,
  partition: Partition,
  offset: number,
  options: FetchOptions,
  hasLooked = false,
): Promise<StoredRecord[]> {
  const checked = checkOptions('fetch options', options, FETCH_OPTIONS)
  const { minBytes = 1, maxRecords = Infinity, maxWaitMs = DEFAULT_MAX_WAIT_MS, signal } = checked
  const isOfAnySize = minBytes <= 1 && maxRecords === Infinity
  const { maxBytes = isOfAnySize ? DEFAULT_READ_BYTES : DEFAULT_MAX_BYTES } = checked
  checkWholeNumber('offset', offset, 0, Number.MAX_SAFE_INTEGER)
  signal?.throwIfAborted()
  if (!hasLooked && minBytes <= 1 && offset < partition.highWatermark) {
    const turn = promptIo.turnIfDue()
    if (turn !== null) await turn
    const records = await (maxRecords === Infinity
      ? readInPieces(partition, offset, checked)
      : readFew(partition, offset, maxRecords, maxBytes))
    // Batches without records for readers do not end the wait.
    if (records !== null && records.length > 0) return records
  }
  const deadlineMs = clock.monotonic() + maxWaitMs
  let remainingMs = maxWaitMs
  let from = offset
  const { generation } = partition.log.reader
  for (;;) {
    const request = { partition, offset: from, maxBytes, wantedEnd: from + maxRecords }
    let batches: readonly RecordBatch[] | null = null
    if (minBytes <= 1 && remainingMs > 0) {
      // A single partition is waited for here: a fetch of several costs one more promise, and
      // lists.
      const wait = new FetchWait(clock, { maxWaitMs: remainingMs, signal })
      const turn = promptIo.turnIfDue()
      if (turn !== null) await turn
      signal?.throwIfAborted()
      batches = readPiecesNow(request)
      if (batches?.length === 0) {
        const stopListening = listen(partition, wait)
        try {
          do {
            await wait.nextChange()
            // One append wakes all waiters, so they take turns. A wait that is over was ended by
            // its timer or caller.
            const turn = wait.isOver ? null : promptIo.turnIfDue()
            if (turn !== null) await turn
            signal?.throwIfAborted()
            batches = readPiecesNow(request)
          } while (batches?.length === 0 && !wait.isOver)
        } finally {
          stopListening()
        }
      }
      remainingMs = Math.max(0, deadlineMs - clock.monotonic())
    }
    if (batches === null) {
      // Many bytes are wanted, or the read cannot be synchronous.
      const limits = { minBytes, maxBytes, maxWaitMs: remainingMs, signal }
      const [response] = await fetchBatches(clock, [request], limits)
      if (response?.error != null) throw response.error
      batches = response?.batches ?? []
    }
    const records: StoredRecord[] = []
    const decoding = decodeSound(batches, partition, { fromOffset: offset, maxRecords }, records)
    const isWhole = typeof decoding === 'boolean' ? decoding : await decoding
    // Batches may hold no records for readers: only markers, or what compaction left of them.
    from = batches.at(-1)?.nextOffset ?? from
    if (batches.length === 0 || !isWhole || records.length >= maxRecords) return records
    if (records.length > 0) {
      if (maxRecords === Infinity) return records
      const restBytes = maxBytes - totalSizeBytes(batches)
      return fill(partition, records, { from, maxRecords, restBytes, generation })
    }
    remainingMs = Math.max(0, deadlineMs - clock.monotonic())
  }
}

/**
 * Starts listening in the same step as the last look, so that no change is missed.
 * @returns a function that stops it
 */
function listen(partition: Partition, wait: FetchWait): () => void {
  const stopListening = partition.onChange(() => {
    wait.wakeUp()
  })
  wait.start()
  return () => {
    stopListening()
    wait.stop()
  }
}

/**
 * Adds records from `from` on until there are as many as wanted, no more records, or too many
 * bytes. More reads are needed because compaction leaves fewer records than offsets, and a read
 * ends with its segment.
 *
 * @param rest `generation` of the reader before the first of `records` was read. After a
 * truncation, the records that replaced the truncated ones must not follow the older ones.
 */
async function fill(
  partition: Partition,
  records: StoredRecord[],
  rest: { from: number; maxRecords: number; restBytes: number; generation: number },
): Promise<StoredRecord[]> {
  const { maxRecords, generation } = rest
  const { reader } = partition.log
  let { from, restBytes } = rest
  try {
    while (records.length < maxRecords && restBytes > 0 && from < partition.highWatermark) {
      const turn = promptIo.turnIfDue()
      if (turn !== null) await turn
      const wanted = maxRecords - records.length
      const pieceBytes = Math.min(restBytes, DEFAULT_MAX_BYTES)
      const batches = await partition.readBatches(from, pieceBytes, from + wanted)
      restBytes -= totalSizeBytes(batches)
      if (batches.length === 0 || restBytes < 0 || generation !== reader.generation) break
      const range = { fromOffset: from, maxRecords: wanted }
      await decodeAll(batches, partition, range, records)
      from = batches.at(-1)?.nextOffset ?? from
    }
  } catch {
    // An error there is left to the read that starts there.
  }
  return records
}
