import { hasImportEnded, IMPORT_GROUP_PREFIX } from '../import-groups.ts'
import {
  IllegalStateError,
  type Broker,
  type Consumer,
  type Partition,
  type Topic,
} from '../index.ts'
import { rowsCutOff } from './import-errors.ts'
import type { FileIdentity } from './input-file.ts'
import type { Cursor } from './row-source.ts'

/** Header that marks an imported record: the import's name, a colon, and the row from 1. */
export const IMPORT_HEADER = 'varve-import'

/** What is committed with the offsets of an import. */
export interface ImportMark extends FileIdentity {
  /** All rows before it have been processed. */
  readonly cursor: Cursor
  /** Number of partitions over which rows after it are spread. */
  readonly partitionCount: number
  /** Length of the file of rejected rows. */
  readonly rejectBytes: number
  /** The file that this length refers to, see {@link RejectSink.id}. */
  readonly rejectFile: string
  /** Whether the end of the file is reached. Records after the offsets are then not searched. */
  readonly isEnd: boolean
}

/** Position of an import in a partition. */
export interface ImportPlace {
  /** Records of later rows are at this offset or above. */
  readonly offset: number
  /** Leader epoch of the last record before it, to detect whether that was truncated since. */
  readonly leaderEpoch: number | null
  /** Offset after the last record of a row, 0 if there is none. Other records may be truncated. */
  readonly rowsEnd: number
}

/** Progress of an import in one partition. */
export interface PartitionMark extends ImportPlace {
  /** The largest row that is in the partition, 0 if there is none. */
  readonly lastRow: number
}

/** The part of it that is committed in the metadata. */
type MarkedRows = Pick<PartitionMark, 'lastRow' | 'rowsEnd'>

const NO_ROWS: MarkedRows = { lastRow: 0, rowsEnd: 0 }

/** State of an import as found in its topic. */
export interface ImportState {
  /** `null` for a new import. */
  readonly mark: ImportMark | null
  /** Per partition, the largest row that is in it or before the mark. */
  readonly lastRows: readonly number[]
  /** Per partition, its end when the search of its records began. */
  readonly places: readonly ImportPlace[]
}

const running: WeakMap<Broker, Set<string>> = new WeakMap()

/**
 * State of an import: the offsets committed under its name, a mark in the metadata of each, and the
 * records after them.
 *
 * An offset means that all records of rows after the mark are at this offset or above, except for
 * rows up to the row that is committed with it, which are stored already. One call commits all
 * partitions, but a crash may leave only some of them committed. In this case the mark with the
 * most rows counts, because all rows before it were acknowledged when its call began. In a
 * partition with an older commit, more records are searched than necessary.
 */
export class ImportJournal {
  readonly #broker: Broker
  readonly #topic: Topic
  readonly #name: string
  readonly #consumer: Consumer

  /** @throws {@link IllegalStateError} while an import of that name into the topic is running */
  constructor(broker: Broker, topic: Topic, name: string) {
    const names = running.get(broker) ?? new Set()
    const key = JSON.stringify([topic.name, name])
    if (names.has(key)) {
      throw new IllegalStateError(
        `an import named '${name}' into '${topic.name}' is already running`,
      )
    }
    this.#consumer = broker.consumer({
      groupId: IMPORT_GROUP_PREFIX + name,
      enableAutoCommit: false,
    })
    running.set(broker, names.add(key))
    this.#broker = broker
    this.#topic = topic
    this.#name = name
  }

  /**
   * Determines what is done: reads the committed marks and the records after them.
   *
   * It is enough to know the largest row of each partition, because rows are appended to it in
   * order, and a crash leaves a prefix of the log. This also holds if compaction has removed some
   * rows.
   *
   * @throws `OffsetOutOfRangeError` if rows before a mark were truncated, as nothing tells which
   * rows.
   */
  async load(signal: AbortSignal | null): Promise<ImportState> {
    const { name: topic, partitions } = this.#topic
    let mark: ImportMark | null = null
    const marks: (MarkedRows & { from: number })[] = []
    const ends: ImportPlace[] = []
    for (const partition of partitions) {
      // Read before the commit: anything truncated from now on is of this epoch or an older one.
      const { highWatermark: offset, log } = partition
      const leaderEpoch = log.reader.epochOf(offset - 1)
      const committed = await this.#consumer.committed({ topic, partition: partition.index })
      const found = committed === null ? null : decodeMark(committed.metadata)
      const from = committed?.offset ?? 0
      const { lastRow, rowsEnd } = found ?? NO_ROWS
      if (from < rowsEnd) throw this.#cutOff(partition, from)
      marks.push({ from, lastRow, rowsEnd })
      ends.push({ offset, leaderEpoch, rowsEnd })
      if (found !== null && found.mark.cursor.row >= (mark?.cursor.row ?? 0)) mark = found.mark
    }
    if (mark === null) return { mark, lastRows: partitions.map(() => 0), places: ends }
    const lastRows: number[] = []
    const places: ImportPlace[] = []
    for (const [index, end] of ends.entries()) {
      const { from, ...marked } = marks[index] ?? { ...NO_ROWS, from: 0 }
      const found = await this.#lastRow(index, { from, until: end.offset }, signal)
      lastRows.push(Math.max(mark.cursor.row, marked.lastRow, found.row))
      places.push({ ...end, rowsEnd: Math.max(end.rowsEnd, found.endOffset) })
    }
    return { mark, lastRows, places }
  }

  /** Commits the mark durably. @param places of each partition; no row may be in flight */
  async commit(mark: ImportMark, places: readonly PartitionMark[]): Promise<void> {
    const { name: topic } = this.#topic
    await this.#consumer.commit(
      places.map((place, partition) => {
        const { offset, leaderEpoch } = place
        return { topic, partition, offset, leaderEpoch, metadata: encodeMark(mark, place) }
      }),
    )
  }

  async close(): Promise<void> {
    running.get(this.#broker)?.delete(JSON.stringify([this.#topic.name, this.#name]))
    await this.#consumer.close()
  }

  /** The log may be truncated meanwhile: this waits for nothing and skips what no longer exists. */
  async #lastRow(
    index: number,
    { from, until }: { readonly from: number; readonly until: number },
    signal: AbortSignal | null,
  ): Promise<{ row: number; endOffset: number }> {
    const partition = this.#topic.partition(index)
    const last = { row: 0, endOffset: 0 }
    const prefix = `${this.#name}:`
    for (let at = from; ;) {
      signal?.throwIfAborted()
      at = Math.max(at, partition.logStartOffset)
      if (at >= Math.min(until, partition.highWatermark)) return last
      const records = await partition.read(at)
      if (records.length === 0) return last
      for (const { headers, offset } of records) {
        at = offset + 1
        if (offset >= until) return last
        // Any such header before the last one comes from the row itself.
        const mark = headers.findLast(({ key }) => key === IMPORT_HEADER)
        const text = mark?.value?.toString('utf8') ?? ''
        const row = text.startsWith(prefix) ? Number(text.slice(prefix.length)) : NaN
        if (!Number.isSafeInteger(row)) continue
        last.row = Math.max(last.row, row)
        last.endOffset = offset + 1
      }
    }
  }

  /** Truncated rows precede existing ones: the log is no longer a prefix of what was stored. */
  #cutOff(partition: Partition, offset: number): Error {
    const remedy =
      `the import '${this.#name}' does not know which rows, and would not store them again; ` +
      'another name stores all rows of the file, including those that still exist'
    return rowsCutOff(partition, offset, remedy)
  }
}

function encodeMark({ cursor, ...rest }: ImportMark, marked: MarkedRows): string {
  const { row, line, position, isOpenEnd } = cursor
  const { lastRow, rowsEnd } = marked
  return JSON.stringify({ v: 1, row, line, position, isOpenEnd, lastRow, rowsEnd, ...rest })
}

/** `null` for metadata that no import has written. */
function decodeMark(metadata: string): ({ mark: ImportMark } & MarkedRows) | null {
  let parsed: unknown
  try {
    parsed = JSON.parse(metadata)
  } catch {
    return null
  }
  if (typeof parsed !== 'object' || parsed === null) return null
  const fields = parsed as Record<string, unknown>
  if (fields.v !== 1 || typeof fields.head !== 'string') return null
  const number = (name: string): number => {
    const value = fields[name]
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0
  }
  const mark: ImportMark = {
    cursor: {
      row: number('row'),
      line: number('line'),
      position: number('position'),
      isOpenEnd: fields.isOpenEnd === true,
    },
    partitionCount: Math.max(1, number('partitionCount')),
    rejectBytes: number('rejectBytes'),
    rejectFile: typeof fields.rejectFile === 'string' ? fields.rejectFile : '',
    isEnd: hasImportEnded(metadata),
    size: number('size'),
    headBytes: number('headBytes'),
    head: fields.head,
    tail: typeof fields.tail === 'string' ? fields.tail : '',
  }
  return { mark, lastRow: number('lastRow'), rowsEnd: number('rowsEnd') }
}
