import { abortSignal, checkOptions, checkWholeNumber, wholeNumber, type Checks } from '../checks.ts'
import type { Clock } from '../platform/clock.ts'
import { promptIo } from '../platform/prompt-io.ts'
import { decodeRecords, newRecords, type StoredRecord } from '../record/decode.ts'
import { totalSizeBytes, type RecordBatch } from '../record/record-batch.ts'
import { fetchBatches, readPiecesNow } from './delayed-fetch.ts'
import { FetchWait } from './fetch-wait.ts'
import type { Partition } from './partition.ts'

/** What {@link Partition.read} takes. */
export interface ReadOptions {
  /** Limit on the number of records, at least 1. @defaultValue none */
  readonly maxRecords?: number
  /**
   * Limit on the stored size of what is returned; the first batch is returned however large.
   *
   * @defaultValue 256 KiB, and 1 MiB where `maxRecords` is given
   */
  readonly maxBytes?: number
}

/** How long and for how much {@link Partition.fetch} waits. */
export interface FetchOptions {
  /**
   * Bytes that are worth answering, at least 0; there is no answer without a record. Less is answered at
   * once where more lies behind what one read gives, `maxBytes` or the end of a segment as in Kafka, and
   * where what lies behind it cannot be read.
   *
   * @defaultValue 1
   */
  readonly minBytes?: number
  /** Limit on the number of records, at least 1; as many are worth answering too. @defaultValue none */
  readonly maxRecords?: number
  /**
   * Limit on the stored size of what is returned; the first batch is returned however large.
   *
   * @defaultValue 256 KiB, and 1 MiB where `maxRecords` is given, or `minBytes` above 1
   */
  readonly maxBytes?: number
  /** Milliseconds; 0 never waits. @defaultValue 500 */
  readonly maxWaitMs?: number
  /** Ends the wait; the fetch rejects with its reason. */
  readonly signal?: AbortSignal
}

/** What {@link Partition.read} may be told. */
export const READ_OPTIONS: Checks<ReadOptions> = {
  maxBytes: wholeNumber(1),
  maxRecords: wholeNumber(1),
}

/** What {@link Partition.fetch} may be told. */
const FETCH_OPTIONS: Checks<FetchOptions> = {
  ...READ_OPTIONS,
  minBytes: wholeNumber(0),
  maxWaitMs: wholeNumber(0),
  signal: abortSignal,
}

/**
 * Read at once where nobody says how much. All records of a read are in memory together, and what the
 * collector has to go through for more of them takes longer than asking again does.
 */
const DEFAULT_READ_BYTES = 256 * 1024
/** The same where it is said in another way, which is to end the read. */
export const DEFAULT_MAX_BYTES: number = 1024 * 1024
/** How long a fetch waits where nothing else is asked for. */
export const DEFAULT_MAX_WAIT_MS = 500
/** What is waited for at once; see {@link readInPieces}. */
const PIECE_BYTES = 64 * 1024

/** Reads the records that are there; see `Partition.read`. */
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
    fetchRecords(clock, partition, offset, { ...checked, maxWaitMs: 0 }, true)
  )
}

/**
 * Reads at most `maxRecords` records at `offset`: what can be had inside of the call first, and the
 * rest behind it by waiting.
 *
 * @returns `null` where nothing can be had so.
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
 * Reads and decodes what is there at `offset` in pieces, so that what is large does not hold up the
 * process: after 1 ms of one turn of the event loop the next piece is waited for.
 *
 * @throws what is wrong at `offset`; what is wrong behind it is for the read that begins there.
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
      // What was cut meanwhile must not be followed by what came in its place.
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
 * @param hasLooked whether nothing could be had inside of the call, so that it is not tried again.
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
    // Batches that hold nothing for readers are no reason to end the wait.
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
      // What comes to one partition is waited for here: a fetch of several takes a promise more, and lists.
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
            // One append wakes all who wait for it. Who is to wait no longer has been told so by his caller.
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
      // Many bytes, or a read that cannot be made inside of the call.
      const limits = { minBytes, maxBytes, maxWaitMs: remainingMs, signal }
      const [response] = await fetchBatches(clock, [request], limits)
      if (response?.error != null) throw response.error
      batches = response?.batches ?? []
    }
    const decoding = decodeAll(batches, partition, { fromOffset: offset, maxRecords })
    const records = Array.isArray(decoding) ? decoding : await decoding
    // Batches may hold nothing for readers: markers, or what compaction left of them.
    from = batches.at(-1)?.nextOffset ?? from
    if (batches.length === 0 || records.length >= maxRecords) return records
    if (records.length > 0) {
      if (maxRecords === Infinity) return records
      const restBytes = maxBytes - totalSizeBytes(batches)
      return fill(partition, records, { from, maxRecords, restBytes, generation })
    }
    remainingMs = Math.max(0, deadlineMs - clock.monotonic())
  }
}

/** Begins a wait, behind a look in the same step, so that nothing comes in between. @returns what ends it */
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
 * Adds records from `from` on until there are as many as are wanted, or no more, or too many
 * bytes. Compaction leaves fewer records than offsets, and a read ends where a segment does.
 *
 * @param rest `generation` is that of the reader before the first of `records` was read: what was cut
 * meanwhile must not be followed by what came in its place.
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
    // What is wrong there is for the read that begins there.
  }
  return records
}

/**
 * Adds the records of `batches` to `records`, which may hold others, up to `maxRecords` of them: at
 * once, but for batches that are compressed, and for more than one turn of the event loop has time for.
 */
function decodeAll(
  batches: readonly RecordBatch[],
  partition: Partition,
  { fromOffset, maxRecords }: { fromOffset: number; maxRecords: number },
  records: StoredRecord[] = [],
): StoredRecord[] | Promise<StoredRecord[]> {
  const mostRecords = records.length + maxRecords
  const goOn = (slot: number): StoredRecord[] | Promise<StoredRecord[]> => {
    const restRecords = mostRecords - records.length
    if (restRecords <= 0) return records
    const range = { fromOffset, maxRecords: restRecords }
    return decodeAll(batches.slice(slot), partition, range, records)
  }
  for (const [slot, batch] of batches.entries()) {
    const turn = slot > 0 ? promptIo.turnIfDue() : null
    if (turn !== null) return turn.then(() => goOn(slot))
    const options = { fromOffset, maxRecords: mostRecords - records.length, into: records }
    const decoding = decodeRecords(batch, partition.log, options)
    if (!Array.isArray(decoding)) return decoding.then(() => goOn(slot + 1))
    if (records.length >= mostRecords) break
  }
  return records
}
