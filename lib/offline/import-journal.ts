import { hasImportEnded, IMPORT_GROUP_PREFIX } from '../import-groups.ts'
import { IllegalStateError, type Broker, type Consumer, type Topic } from '../index.ts'
import type { FileIdentity } from './input-file.ts'
import { FILE_START, type Cursor } from './row-source.ts'

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

/** How far an import is in one partition. */
export interface PartitionMark {
  /** Records of later rows than `lastRow` lie at it or above. */
  readonly offset: number
  /** The largest row that is in the partition, 0 where there is none. */
  readonly lastRow: number
}

/** What has been found of an import in its topic. */
export interface ImportState {
  /** `null` when it begins. */
  readonly mark: ImportMark | null
  /** Per partition, the largest row that is in it or before the mark. */
  readonly lastRows: readonly number[]
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
   */
  async load(signal: AbortSignal | null): Promise<ImportState> {
    const { name: topic, partitions } = this.#topic
    let mark: ImportMark | null = null
    const places: PartitionMark[] = []
    for (const { index: partition } of partitions) {
      const committed = await this.#consumer.committed({ topic, partition })
      const found = committed === null ? null : decodeMark(committed.metadata)
      places.push({ offset: committed?.offset ?? 0, lastRow: found?.lastRow ?? 0 })
      if (found !== null && found.mark.cursor.row >= (mark?.cursor.row ?? 0)) mark = found.mark
    }
    if (mark === null) return { mark, lastRows: partitions.map(() => 0) }
    const lastRows: number[] = []
    for (const partition of partitions) {
      const { offset, lastRow } = places[partition.index] ?? { offset: 0, lastRow: 0 }
      const from = Math.max(offset, partition.logStartOffset)
      const foundRow = await this.#lastRow(partition.index, from, signal)
      lastRows.push(Math.max(mark.cursor.row, lastRow, foundRow))
    }
    return { mark, lastRows }
  }

  /** Commits the mark, durably. @param places of each partition, none of whose rows is on its way */
  async commit(mark: ImportMark, places: readonly PartitionMark[]): Promise<void> {
    const { name: topic } = this.#topic
    await this.#consumer.commit(
      places.map(({ offset, lastRow }, partition) => {
        return { topic, partition, offset, metadata: encodeMark(mark, lastRow) }
      }),
    )
  }

  async close(): Promise<void> {
    running.get(this.#broker)?.delete(JSON.stringify([this.#topic.name, this.#name]))
    await this.#consumer.close()
  }

  async #lastRow(index: number, from: number, signal: AbortSignal | null): Promise<number> {
    const partition = this.#topic.partition(index)
    const { highWatermark } = partition
    if (from >= highWatermark) return 0
    const range = { from, until: highWatermark, ...(signal === null ? {} : { signal }) }
    const prefix = `${this.#name}:`
    let lastRow = 0
    for await (const { headers } of partition.records(range)) {
      // Those before the last one were brought along by the row.
      const mark = headers.findLast(({ key }) => key === IMPORT_HEADER)
      const text = mark?.value?.toString('utf8') ?? ''
      const row = text.startsWith(prefix) ? Number(text.slice(prefix.length)) : NaN
      if (Number.isSafeInteger(row)) lastRow = Math.max(lastRow, row)
    }
    return lastRow
  }
}

function encodeMark({ cursor, ...rest }: ImportMark, lastRow: number): string {
  const { row, line, position, isOpenEnd } = cursor
  return JSON.stringify({ v: 1, row, line, position, isOpenEnd, lastRow, ...rest })
}

/** `null` for what no import has written. */
function decodeMark(metadata: string): { mark: ImportMark; lastRow: number } | null {
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
      ...FILE_START,
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
  return { mark, lastRow: number('lastRow') }
}
