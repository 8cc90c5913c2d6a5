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
import { rejectRow } from './row-records.ts'
import type { SourceRow } from './row-source.ts'

/** Rows without a key that go to one partition before the next one's turn. */
const STICKY_ROWS = 500
/** About what a record takes besides key, value and the mark, bytes. */
const RECORD_BYTES = 40

interface PlacedRow {
  readonly source: SourceRow
  readonly record: AppendRecord
}

/** How many rows of a batch were appended, and how many had been before. */
export interface AppendedRows {
  imported: number
  skipped: number
}

/**
 * The topic of an import. Where a row goes is decided by its key, or its number, alone, so that it is
 * the same in each run; what is there already is passed over.
 */
export class ImportTarget {
  readonly #topic: Topic
  readonly #name: string
  readonly #partitions: readonly Partition[]
  /** Per partition, the largest row that is in it. */
  readonly #lastRows: number[]
  /** Partitions that rows are spread over: as many as the mark says, so that each run finds them again. */
  #partitionCount: number
  readonly #partitionOfKey: ReturnType<typeof defaultPartitioner> = defaultPartitioner()
  /** Per partition, behind the last record of a row that has been dealt with. */
  readonly #places: ImportPlace[]
  #isBehindCut = false
  readonly #signal: AbortSignal | null
  readonly #onReject: (reject: ImportReject) => Promise<void>

  /** @param onReject called for a row that the topic does not take, before any later row is appended */
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
    // What is looked through after a crash begins here: records of rows that are done need not be.
    this.#places = [...state.places]
  }

  /**
   * Whether what is not committed stands in the way: in a full queue it is not held back from deletion,
   * and a run after a crash would not find it there.
   */
  get isTight(): boolean {
    const { retention, maxBytes, minFreeBytes } = this.#topic.config
    return retention === 'consumed' && (maxBytes >= 0 || minFreeBytes > 0)
  }

  /**
   * Whether what is not committed may be gone when the next run looks for it: in front of the newer value
   * that somebody else has appended for its key, a compaction removes it.
   */
  get mayForget(): boolean {
    return this.isTight || this.#topic.config.cleanupPolicy !== 'delete'
  }

  /** Whether rows were stored behind a cut of others: what is committed from then on tells the next run. */
  get isBehindCut(): boolean {
    return this.#isBehindCut
  }

  /**
   * What may be committed while no row is on its way.
   *
   * @throws `OffsetOutOfRangeError` where the log has lost rows that the next run would store again.
   */
  get places(): readonly PartitionMark[] {
    return this.#partitions.map((partition, index) => ({
      ...(this.#isBehindCut ? this.#placeBefore(partition) : this.#placeIn(partition)),
      lastRow: this.#lastRows[index] ?? 0,
    }))
  }

  /** As it was before any cut. */
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
      const remedy = `run '${this.#name}' again, which goes on unless it had committed them`
      throw rowsCutOff(partition, end, remedy)
    }
    // Of others only.
    return { offset: end, leaderEpoch: reader.epochOf(end - 1), rowsEnd }
  }

  /** Over how many partitions the rows behind `row` are spread, once that is committed. */
  partitionCountBehind(row: number): number {
    // Rows that a run has spread before are looked for where they were put.
    return row >= this.#lastRow ? this.#partitions.length : this.#partitionCount
  }

  /**
   * Whether rows behind `row` could go to partitions that were added, once a mark that counts them is
   * committed: without it a run after a crash would look for those rows elsewhere.
   */
  awaitsCommit(row: number): boolean {
    return this.partitionCountBehind(row) !== this.#partitionCount
  }

  /** A mark with as many partitions is committed. */
  onCommitted(partitionCount: number): void {
    this.#partitionCount = partitionCount
  }

  /** Rows to be appended one after the other, so that each has room in a topic with a cap. */
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
   * Appends rows with their records, in their order in each partition.
   *
   * @throws the signal's reason, and what an append fails with other than for the record's own sake
   */
  async append(rows: readonly (readonly [SourceRow, ImportRecord])[]): Promise<AppendedRows> {
    const result: AppendedRows = { imported: 0, skipped: 0 }
    const placed = new Map<Partition, PlacedRow[]>()
    for (const [source, given] of rows) {
      // Also where they are getters of a class. What else it has of its own the topic refuses.
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
        const there = placed.get(partition) ?? []
        there.push({ source, record: { ...record, headers } })
        placed.set(partition, there)
      } catch (error) {
        await this.#onReject(rejectRow(source, 'REFUSED', error))
      }
    }
    const appends = [...placed].map(([partition, there]) => this.#append(partition, there, result))
    // All of them have ended before anybody closes what they use.
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

  /** Behind a cut nothing else would tell of the rows before it. */
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
      // Whoever ends the import may do so with an error that looks like a refusal.
      signal?.throwIfAborted()
      const [first] = rows
      if (first === undefined) return
      if (rows.length === 1) {
        await this.#onReject(rejectRow(first.source, code, error))
        return
      }
      // An append is refused as a whole: which of its records was meant shows in smaller ones.
      const half = rows.length >> 1
      await this.#append(partition, rows.slice(0, half), result)
      await this.#append(partition, rows.slice(half), result)
    }
  }
}

/** Why the topic does not take a record; `null` when that is not the record's fault. */
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
    // The entries of a promise, or of another object with an inside, would be none.
    if (isPlainObject(headers)) return { ...headers, [IMPORT_HEADER]: value }
    throw new TypeError(`headers must be an array or a plain object, got ${describeValue(headers)}`)
  }
  const given = [...(headers as Iterable<unknown>)]
  const isOfPairs = Array.isArray(given[0])
  const mark = isOfPairs ? [IMPORT_HEADER, value] : { key: IMPORT_HEADER, value }
  return [...given, mark] as unknown as HeadersInit
}
