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

/** The header that marks an imported record: the import's name, a colon, and the row from 1. */
export const IMPORT_HEADER = 'varve-import'

/** What is committed with the offsets of an import. */
export interface ImportMark extends FileIdentity {
  /** What has been dealt with: all rows before it. */
  readonly cursor: Cursor
  /** Partitions that rows behind it were spread over. */
  readonly partitionCount: number
  /** Length of the file of rejected rows. */
  readonly rejectBytes: number
  /** Which file that is of, by {@link RejectSink.id}. */
  readonly rejectFile: string
  /** Whether that is the end of the file: nothing behind the offsets is looked for any more. */
  readonly isEnd: boolean
}

/** A place in a partition that an import has come to. */
export interface ImportPlace {
  /** Records of rows that come later lie at it or above. */
  readonly offset: number
  /** Leader epoch of the last record before it: tells whether it was cut off since. */
  readonly leaderEpoch: number | null
  /** Behind the last record of a row, 0 where there is none: other records may be cut off. */
  readonly rowsEnd: number
}

/** How far an import is in one partition. */
export interface PartitionMark extends ImportPlace {
  /** The largest row that is in the partition, 0 where there is none. */
  readonly lastRow: number
}

/** What is committed of it besides the offset. */
type MarkedRows = Pick<PartitionMark, 'lastRow' | 'rowsEnd'>

const NO_ROWS: MarkedRows = { lastRow: 0, rowsEnd: 0 }

/** What has been found of an import in its topic. */
export interface ImportState {
  /** `null` when it begins. */
  readonly mark: ImportMark | null
  /** Per partition, the largest row that is in it or before the mark. */
  readonly lastRows: readonly number[]
  /** Per partition, its end when it was begun to be looked through, or with it where that is over. */
  readonly places: readonly ImportPlace[]
}

const running: WeakMap<Broker, Set<string>> = new WeakMap()

/**
 * What is known of an import: the offsets committed under its name, with a mark in the metadata of
 * each, and the records behind them.
 *
 * An offset says: all records of rows behind the mark lie at it or above, but for those up to the
 * row that is committed with it, which are there. One call commits all partitions, but a crash may
 * leave a part of it. The mark with the most rows counts then, because its call began when they all
 * were acknowledged; for a partition whose commit is older, more records are looked through than
 * need be.
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
      throw new IllegalStateError(`an import named '${name}' into '${topic.name}' is running`)
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
   * Finds out what is done: reads the committed marks, and the records behind them.
   *
   * The largest row of a partition is enough to know: rows are appended to it in their order, and
   * what a crash leaves of a log is its beginning. That also holds where compaction has removed some.
   *
   * @throws `OffsetOutOfRangeError` where rows before a mark were cut off: nothing tells which they were.
   */
  async load(signal: AbortSignal | null): Promise<ImportState> {
    const { name: topic, partitions } = this.#topic
    let mark: ImportMark | null = null
    const marks: (MarkedRows & { from: number })[] = []
    const ends: ImportPlace[] = []
    for (const partition of partitions) {
      // Before the commit is asked for: what is cut off from then on is of this epoch, or an older one.
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

  /** Commits the mark, durably. @param places of each partition, none of whose rows is on its way */
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

  /** The log may be cut meanwhile, so nothing is waited for: what is not there any more is not looked at. */
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
        // Those before the last one were brought along by the row.
        const mark = headers.findLast(({ key }) => key === IMPORT_HEADER)
        const text = mark?.value?.toString('utf8') ?? ''
        const row = text.startsWith(prefix) ? Number(text.slice(prefix.length)) : NaN
        if (!Number.isSafeInteger(row)) continue
        last.row = Math.max(last.row, row)
        last.endOffset = offset + 1
      }
    }
  }

  /** Rows before others that are there: what is left of the log is no more a beginning of what was stored. */
  #cutOff(partition: Partition, offset: number): Error {
    const remedy =
      `which rows, '${this.#name}' cannot tell, and it would not store them again; ` +
      'another name stores all rows of the file, also those that are still there'
    return rowsCutOff(partition, offset, remedy)
  }
}

function encodeMark({ cursor, ...rest }: ImportMark, marked: MarkedRows): string {
  const { row, line, position, isOpenEnd } = cursor
  const { lastRow, rowsEnd } = marked
  return JSON.stringify({ v: 1, row, line, position, isOpenEnd, lastRow, rowsEnd, ...rest })
}

/** `null` for what no import has written. */
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
