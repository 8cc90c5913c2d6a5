import { types } from 'node:util'
import { asBuffer, describeValue, isPlainObject } from '../checks.ts'
import {
  defaultPartitioner,
  InvalidRecordError,
  InvalidTimestampError,
  RecordTooLargeError,
  type AppendRecord,
  type HeadersInit,
  type Partition,
  type Topic,
} from '../index.ts'
import { rowsCutOff } from './import-errors.ts'
import {
  IMPORT_HEADER,
  type ImportPlace,
  type ImportState,
  type PartitionMark,
} from './import-journal.ts'
import type { ImportRecord, ImportReject, ResolvedImportOptions } from './import-options.ts'
import { checkText, rejectRow } from './row-records.ts'
import type { SourceRow } from './row-source.ts'

/** Rows without a key that go to one partition before the next one is used. */
const STICKY_ROWS = 500
/** Approximate bytes of a record besides its key, its value and the mark. */
const RECORD_BYTES = 40

interface PlacedRow {
  readonly source: SourceRow
  readonly record: AppendRecord
}

/** How many rows of a batch were appended, and how many had been appended before. */
export interface AppendedRows {
  imported: number
  skipped: number
}

/**
 * The topic of an import. The partition of a row depends only on its key or its number, so it is
 * the same in each run. Rows that are already stored are skipped.
 */
export class ImportTarget {
  readonly #topic: Topic
  readonly #name: string
  readonly #partitions: readonly Partition[]
  /** Per partition, the largest row that is in it. */
  readonly #lastRows: number[]
  /** Number of partitions for the rows, as in the mark, so that each run finds the rows again. */
  #partitionCount: number
  readonly #partitionOfKey: ReturnType<typeof defaultPartitioner> = defaultPartitioner()
  /** Per partition, the position after the last record of a processed row. */
  readonly #places: ImportPlace[]
  #isBehindCut = false
  readonly #signal: AbortSignal | null
  readonly #onReject: (reject: ImportReject) => Promise<void>

  /** @param onReject called for a row that the topic refuses, before any later row is appended */
  constructor(
    topic: Topic,
    { name, signal }: Pick<ResolvedImportOptions, 'name' | 'signal'>,
    state: ImportState,
    onReject: (reject: ImportReject) => Promise<void>,
  ) {
    this.#onReject = onReject
    this.#topic = topic
    this.#name = name
    this.#signal = signal
    this.#partitions = [...topic.partitions]
    this.#lastRows = [...state.lastRows]
    this.#partitionCount = state.mark?.partitionCount ?? this.#partitions.length
    // A search after a crash starts here, because records of processed rows need not be searched.
    this.#places = [...state.places]
  }

  /**
   * Whether the topic has `retention: 'consumed'` and a cap, `maxBytes` or `minFreeBytes`. Once it
   * is full, uncommitted records are not protected from deletion, and a run after a crash would not
   * find them.
   */
  get isTight(): boolean {
    const { retention, maxBytes, minFreeBytes } = this.#topic.config
    return retention === 'consumed' && (maxBytes >= 0 || minFreeBytes > 0)
  }

  /**
   * Whether uncommitted records may be gone when the next run searches for them. Compaction removes
   * one if somebody else has appended a newer value for its key.
   */
  get mayForget(): boolean {
    return this.isTight || this.#topic.config.cleanupPolicy !== 'delete'
  }

  /** Whether rows were stored after truncated ones. Later commits report it to the next run. */
  get isBehindCut(): boolean {
    return this.#isBehindCut
  }

  /**
   * The positions to commit while no row is in flight.
   *
   * @throws `OffsetOutOfRangeError` if the log has lost rows that the next run would store again.
   */
  get places(): readonly PartitionMark[] {
    return this.#partitions.map((partition, index) => ({
      ...(this.#isBehindCut ? this.#placeBefore(partition) : this.#placeIn(partition)),
      lastRow: this.#lastRows[index] ?? 0,
    }))
  }

  /** The position before any truncation. */
  #placeBefore({ index }: Partition): ImportPlace {
    return this.#places[index] ?? { offset: 0, leaderEpoch: null, rowsEnd: 0 }
  }

  #placeIn(partition: Partition): ImportPlace {
    const place = this.#placeBefore(partition)
    const { reader } = partition.log
    const end = reader.endOffsetForEpoch(place.leaderEpoch)
    if (end === null || end >= place.offset) return place
    const { rowsEnd } = place
    if (end < rowsEnd) {
      const remedy = `run '${this.#name}' again; it continues unless it had committed them`
      throw rowsCutOff(partition, end, remedy)
    }
    // Only records of others were truncated.
    return { offset: end, leaderEpoch: reader.epochOf(end - 1), rowsEnd }
  }

  /** Number of partitions over which rows after `row` are spread once that is committed. */
  partitionCountBehind(row: number): number {
    // Rows that an earlier run has spread are searched for where it has put them.
    return row >= this.#lastRow ? this.#partitions.length : this.#partitionCount
  }

  /**
   * Whether rows after `row` could go to added partitions once a mark that counts these partitions
   * is committed. Without that mark, a run after a crash would search for those rows elsewhere.
   */
  awaitsCommit(row: number): boolean {
    return this.partitionCountBehind(row) !== this.#partitionCount
  }

  /** To be called once a mark with this number of partitions is committed. */
  onCommitted(partitionCount: number): void {
    this.#partitionCount = partitionCount
  }

  /** Splits rows into pieces to append one by one, so that each fits a topic with a size limit. */
  piecesOf<Row extends readonly [SourceRow, ImportRecord]>(rows: readonly Row[]): Row[][] {
    const { maxBytes } = this.#topic.config
    const pieceBytes = this.isTight && maxBytes >= 0 ? maxBytes / 4 : Infinity
    const pieces: Row[][] = []
    let sizeBytes = 0
    for (const row of rows) {
      const { key, value } = row[1]
      const rowBytes = RECORD_BYTES + this.#name.length + lengthOf(key) + lengthOf(value)
      const piece = pieces.at(-1)
      if (piece !== undefined && sizeBytes + rowBytes <= pieceBytes) piece.push(row)
      else pieces.push([row])
      sizeBytes = rowBytes + (pieces.at(-1) === piece ? sizeBytes : 0)
    }
    return pieces
  }

  get #lastRow(): number {
    return Math.max(0, ...this.#lastRows)
  }

  /**
   * Appends rows with their records, in order within each partition.
   *
   * @throws the signal's reason, and the error of an append unless a record is at fault
   */
  async append(rows: readonly (readonly [SourceRow, ImportRecord])[]): Promise<AppendedRows> {
    const result: AppendedRows = { imported: 0, skipped: 0 }
    const placed = new Map<Partition, PlacedRow[]>()
    for (const [source, given] of rows) {
      // They may be getters of a class. The topic refuses any other fields of the record's own.
      const { partition: wanted, ...rest } = given
      const { key, value, timestamp } = given
      const record = { ...rest, key, value, timestamp } as AppendRecord
      try {
        const partition = this.#partitionFor(source.row, record, wanted)
        if (source.row <= (this.#lastRows[partition.index] ?? 0)) {
          result.skipped += 1
          continue
        }
        const headers = withMark(given.headers, `${this.#name}:${source.row}`)
        checkText({ key, value, headers })
        const there = placed.get(partition) ?? []
        there.push({ source, record: { ...record, headers } })
        placed.set(partition, there)
      } catch (error) {
        await this.#onReject(rejectRow(source, 'REFUSED', error))
      }
    }
    const appends = [...placed].map(([partition, there]) => this.#append(partition, there, result))
    // Waits for all of them to end before anybody closes what they use.
    for (const append of await Promise.allSettled(appends)) {
      if (append.status === 'rejected') throw append.reason
    }
    return result
  }

  #partitionFor(row: number, record: AppendRecord, wanted: number | undefined): Partition {
    const index = wanted ?? this.#indexFor(row, record, this.#partitionCount)
    const partition = this.#partitions[index]
    if (partition !== undefined) return partition
    throw new RangeError(
      `partition must be a whole number in [0, ${this.#partitions.length}), got ${describeValue(wanted)}`,
    )
  }

  #indexFor(row: number, { key }: AppendRecord, count: number): number {
    if (key === undefined || key === null) return Math.floor((row - 1) / STICKY_ROWS) % count
    const bytes = typeof key === 'string' ? Buffer.from(key) : toBuffer(key)
    return this.#partitionOfKey({ topic: this.#topic.name, key: bytes, value: null }, count)
  }

  /** After a truncation nothing else would tell that rows before it are missing. */
  #ensureNotBehindCut(partition: Partition): void {
    try {
      this.#placeIn(partition)
    } catch (error) {
      this.#isBehindCut = true
      throw error
    }
  }

  async #append(
    partition: Partition,
    rows: readonly PlacedRow[],
    result: AppendedRows,
  ): Promise<void> {
    const signal = this.#signal
    const records = rows.map(({ record }) => record)
    try {
      this.#placeIn(partition)
      const { lastOffset } = await partition.append(records, signal === null ? {} : { signal })
      this.#ensureNotBehindCut(partition)
      result.imported += rows.length
      const rowsEnd = lastOffset + 1
      const leaderEpoch = partition.log.reader.epochOf(lastOffset)
      this.#places[partition.index] = { offset: rowsEnd, leaderEpoch, rowsEnd }
      this.#lastRows[partition.index] = rows.at(-1)?.source.row ?? 0
    } catch (error) {
      const code = refusalOf(error)
      if (code === null) throw error
      // The import may be aborted with an error that looks like a refusal.
      signal?.throwIfAborted()
      const [first] = rows
      if (first === undefined) return
      if (rows.length === 1) {
        await this.#onReject(rejectRow(first.source, code, error))
        return
      }
      // An append is refused as a whole. Smaller appends show which of its records is at fault.
      const half = rows.length >> 1
      await this.#append(partition, rows.slice(0, half), result)
      await this.#append(partition, rows.slice(half), result)
    }
  }
}

/** The reason why the topic refuses a record; `null` if the record is not at fault. */
function refusalOf(error: unknown): ImportReject['code'] | null {
  if (error instanceof RecordTooLargeError) return 'TOO_LARGE'
  const isRefusal =
    error instanceof InvalidRecordError ||
    error instanceof InvalidTimestampError ||
    error instanceof TypeError ||
    error instanceof RangeError
  return isRefusal ? 'REFUSED' : null
}

function lengthOf(bytes: unknown): number {
  if (typeof bytes === 'string') return Buffer.byteLength(bytes)
  return types.isUint8Array(bytes) ? bytes.byteLength : 0
}

function toBuffer(key: unknown): Buffer {
  if (types.isUint8Array(key)) return asBuffer(key)
  throw new TypeError(`key must be a string, a Uint8Array or null, got ${describeValue(key)}`)
}

function withMark(headers: HeadersInit | undefined, value: string): HeadersInit {
  if (headers === undefined) return [{ key: IMPORT_HEADER, value }]
  if (typeof headers !== 'object' || (headers as unknown) === null) {
    throw new TypeError(`headers must be an array or an object, got ${describeValue(headers)}`)
  }
  if (!(Symbol.iterator in headers)) {
    // A promise, or another object with internal slots, would have no entries.
    if (isPlainObject(headers)) return { ...headers, [IMPORT_HEADER]: value }
    throw new TypeError(`headers must be an array or a plain object, got ${describeValue(headers)}`)
  }
  const given = [...(headers as Iterable<unknown>)]
  const isOfPairs = Array.isArray(given[0])
  const mark = isOfPairs ? [IMPORT_HEADER, value] : { key: IMPORT_HEADER, value }
  return [...given, mark] as unknown as HeadersInit
}
