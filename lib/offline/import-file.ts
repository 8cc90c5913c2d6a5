import { refuseThenable } from '../checks.ts'
import type { Broker, Topic } from '../index.ts'
import { checkBroker } from './arguments.ts'
import { CsvRows } from './csv-rows.ts'
import { followSignal } from './followed-signal.ts'
import { ImportFileChangedError } from './import-errors.ts'
import { ImportJournal, type ImportMark, type ImportState } from './import-journal.ts'
import {
  resolveImportOptions,
  type ImportOptions,
  type ImportRecord,
  type ImportReject,
  type ImportResult,
  type ResolvedImportOptions,
} from './import-options.ts'
import { openRejects, type RejectSink } from './import-rejects.ts'
import { ImportTarget } from './import-target.ts'
import { InputFile, type FileIdentity } from './input-file.ts'
import { ndjsonRows } from './ndjson-rows.ts'
import { ParquetRows } from './parquet-rows.ts'
import { recordOfRow, rejectRow } from './row-records.ts'
import {
  FILE_START,
  type Cursor,
  type RowBatch,
  type RowSource,
  type SourceRow,
} from './row-source.ts'

/**
 * Imports the rows of an NDJSON, CSV or Parquet file into a topic, each exactly once. If an import
 * is interrupted, even repeatedly or by a crash, the next one with the same name continues: it
 * neither misses a row nor stores one twice. Others may append to the topic meanwhile. If the file
 * has grown, the next import continues with the new rows.
 *
 * Rows with the same key go to the same partition, as with a producer. Each partition has its rows
 * in the order of the file. Memory use is bounded: by a few MiB, or by a row group of a Parquet
 * file.
 *
 * Each record has the header `varve-import` with the value `<name>:<row>`. The position is
 * committed as the offsets of the group `varve-import:<name>`. After a crash, rows can be stored
 * again only if their records were removed before the import that stored them had committed: by
 * retention, by a manual deletion, or by compaction in favour of newer records with their keys.
 * With `retention: 'consumed'`, retention removes such records only if the topic has no room.
 *
 * CSV needs the package csv-parse, and Parquet needs hyparquet. Parquet with zstd needs
 * @bokuweb/zstd-wasm if Node.js has no zstd.
 *
 * @throws TypeError or RangeError for invalid options
 * @throws `UnknownTopicOrPartitionError` if the topic does not exist; `ReadOnlyError` if the broker
 * is read-only
 * @throws {@link ImportFileChangedError} if the import's name was used for another file
 * @throws {@link ImportFileError} if the file as a whole does not match its format
 * @throws `OffsetOutOfRangeError` if the log has lost rows that the import had stored
 * @throws {@link MissingModuleError} if a package that it needs is not installed
 * @throws `IllegalStateError` while an import of that name is running, or another one writes to the
 * same file of rejects
 * @throws a system error if the file cannot be read; the signal's reason; the error of a failed
 * append or commit
 */
export async function importFile<Row = unknown>(
  broker: Broker,
  path: string,
  options: ImportOptions<Row>,
): Promise<ImportResult> {
  checkBroker('broker', broker)
  const given = resolveImportOptions(path, options)
  given.signal?.throwIfAborted()
  const topic = broker.topic(given.topic)
  const journal = new ImportJournal(broker, topic, given.name)
  // The append to each partition adds a listener to this signal.
  const ending = given.signal === null ? null : followSignal(given.signal)
  const resolved = { ...given, signal: ending?.signal ?? null }
  let file: InputFile | null = null
  try {
    file = await InputFile.open(path, resolved.fileSystem)
    const state = await journal.load(resolved.signal)
    const identity = await identify(file, resolved, state.mark)
    const rejects = await openRejects(resolved, file, state.mark)
    try {
      const run = new ImportRun(resolved, { journal, topic, file, identity, state, rejects })
      return await run.run()
    } finally {
      await rejects.close()
    }
  } finally {
    ending?.stop()
    // The name is released even if the file cannot be closed.
    await Promise.resolve(file?.close()).finally(() => journal.close())
  }
}

/** @throws {@link ImportFileChangedError} */
async function identify(
  file: InputFile,
  { name, format }: ResolvedImportOptions,
  mark: ImportMark | null,
): Promise<FileIdentity> {
  if (mark === null) return file.identity()
  const changed = (reason: string): Error => new ImportFileChangedError(file.path, name, reason)
  if (file.size < mark.size) throw changed(`it has ${file.size} bytes, but had ${mark.size} before`)
  const found = await file.identity(mark)
  if (found.head !== mark.head) throw changed(`its first ${mark.headBytes} bytes have changed`)
  if (mark.tail !== '' && found.tail !== mark.tail) {
    throw changed(`the bytes before position ${mark.size}, where it ended, have changed`)
  }
  if (file.size === mark.size) return found
  if (format === 'parquet') throw changed(`it has ${file.size} bytes, but had ${mark.size} before`)
  return file.identity()
}

async function openSource(file: InputFile, options: ResolvedImportOptions): Promise<RowSource> {
  switch (options.format) {
    case 'ndjson':
      return ndjsonRows(file, options)
    case 'csv':
      return CsvRows.open(file, options)
    case 'parquet':
      return ParquetRows.open(file, options)
  }
}

interface RunParts {
  readonly journal: ImportJournal
  readonly topic: Topic
  readonly file: InputFile
  readonly identity: FileIdentity
  readonly state: ImportState
  readonly rejects: RejectSink
}

/** One run of an import, from where the previous run stopped to the end of the file. */
class ImportRun {
  readonly #options: ResolvedImportOptions
  readonly #parts: RunParts
  readonly #target: ImportTarget
  /** The file as far as it is read now. */
  #identity: FileIdentity
  /** The largest row that an earlier run has stored or rejected. */
  readonly #storedRow: number
  #cursor: Cursor
  #committedRow: number
  /** Size of the file in the last mark if a later run searches from there on, else `null`. */
  #begunBytes: number | null
  #imported = 0
  #skipped: number
  #rejected = 0
  #bytesRead = 0
  #rejecting: Promise<void> = Promise.resolve()

  constructor(options: ResolvedImportOptions, parts: RunParts) {
    const { topic, state, rejects } = parts
    const { mark } = state
    this.#options = options
    this.#parts = parts
    this.#identity = parts.identity
    this.#storedRow = Math.max(0, rejects.lastRow, ...state.lastRows)
    // After a mark of the end, no records are retained for an import. Rejected rows are searched
    // for in the file that the mark names.
    const isNamed = rejects.id === '' || mark?.rejectFile === rejects.id
    const isBegun = mark !== null && !mark.isEnd && isNamed
    this.#begunBytes = isBegun ? mark.size : null
    this.#cursor = mark?.cursor ?? FILE_START
    this.#committedRow = this.#cursor.row
    this.#skipped = this.#cursor.row
    this.#target = new ImportTarget(topic, options, state, (reject) => {
      this.#rejected += 1
      // Several partitions may reject a row at the same time.
      this.#rejecting = this.#rejecting.then(() => this.#reject(reject))
      return this.#rejecting
    })
  }

  async run(): Promise<ImportResult> {
    const { clock, growing } = this.#options
    const startMs = clock.monotonic()
    const { identity, state } = this.#parts
    if (this.#hasGrownSince(state.mark)) await this.#readUpTo(state.mark, true)
    await this.#readUpTo(identity, growing)
    await this.#commit({ isEnd: true })
    return {
      rows: this.#cursor.row,
      imported: this.#imported,
      skipped: this.#skipped,
      rejected: this.#rejected,
      bytes: this.#bytesRead,
      durationMs: clock.monotonic() - startMs,
    }
  }

  /**
   * Whether the file has grown since an interrupted run has stored rows after its mark. That run may
   * have stored a row that ended with the file, and so was incomplete, or as rows the lines after a
   * quote that was not closed yet. In the whole file their numbers may be those of other rows.
   */
  #hasGrownSince(mark: ImportMark | null): mark is ImportMark {
    // A compressed file of which only a part is read counts as damaged.
    if (mark === null || mark.isEnd || this.#options.gzip) return false
    return mark.size < this.#parts.identity.size && mark.cursor.row < this.#storedRow
  }

  /** Imports the file as far as it has this identity. @param growing see {@link ImportOptions} */
  async #readUpTo(identity: FileIdentity, growing: boolean): Promise<void> {
    this.#identity = identity
    await this.#read(growing)
    // What is left for later as incomplete, an earlier run has stored as it is.
    if (growing && this.#cursor.row < this.#storedRow) await this.#read(false)
  }

  async #read(growing: boolean): Promise<void> {
    const { signal } = this.#options
    const { file } = this.#parts
    const { size } = this.#identity
    file.readableBytes = size
    const source = await openSource(file, { ...this.#options, growing })
    const readBefore = file.bytesRead
    // Committed before anything is appended, because a later run searches from this commit on, and
    // has to know how much of the file this one has read.
    if (this.#begunBytes !== size || this.#isCommitDue(this.#cursor.row)) await this.#commit()
    this.#begunBytes = size
    const batches = source.read(this.#cursor)
    const readNext = (): ReturnType<typeof batches.next> => {
      const next = batches.next()
      // It is awaited after the rows before it. Its error must not count as unhandled until then.
      next.catch(() => undefined)
      return next
    }
    let reading = readNext()
    try {
      for (;;) {
        const read = await reading
        signal?.throwIfAborted()
        if (read.done === true) break
        // Reads the next rows while these are written.
        reading = readNext()
        await this.#take(read.value)
      }
    } catch (error) {
      // Appended records of a failed batch may be gone before the next run searches for them. After
      // a truncation, the next run would take the last stored row as proof that all rows before it
      // are stored.
      const { mayForget, isBehindCut } = this.#target
      if (mayForget || isBehindCut) await this.#commit().catch(() => undefined)
      throw error
    } finally {
      await reading.catch(() => undefined)
      await batches.return()
    }
    this.#bytesRead += file.bytesRead - readBefore
  }

  async #take({ rows, rejects, end }: RowBatch): Promise<void> {
    const bad = [...rejects]
    const good: [SourceRow, ImportRecord][] = []
    for (const row of rows) {
      try {
        const record = recordOfRow(row, this.#options)
        if (record === null) this.#skipped += 1
        else good.push([row, record])
      } catch (error) {
        bad.push(rejectRow(row, 'REFUSED', error))
      }
    }
    this.#rejected += bad.length
    await this.#parts.rejects.write(bad)
    for (const [slot, piece] of this.#target.piecesOf(good).entries()) {
      if (slot > 0) await this.#commit()
      const { imported, skipped } = await this.#target.append(piece)
      this.#imported += imported
      this.#skipped += skipped
    }
    this.#cursor = end
    if (this.#isCommitDue(end.row)) await this.#commit()
    const told: unknown = this.#options.onProgress({
      bytesRead: this.#parts.file.position,
      totalBytes: this.#parts.file.size,
      rows: end.row,
    })
    refuseThenable('onProgress must not be asynchronous', told)
  }

  #isCommitDue(row: number): boolean {
    const isLate = row - this.#committedRow >= this.#options.commitRecords
    return isLate || this.#target.isTight || this.#target.awaitsCommit(row)
  }

  async #reject(reject: ImportReject): Promise<void> {
    await this.#parts.rejects.write([reject])
    // Later rows are appended next, and after a crash this row is not tried again.
    await this.#parts.rejects.sync()
  }

  async #commit({ isEnd = false } = {}): Promise<void> {
    const { journal, rejects } = this.#parts
    const cursor = this.#cursor
    const partitionCount = this.#target.partitionCountBehind(cursor.row)
    await rejects.sync()
    const rejectBytes = rejects.lengthUpTo(cursor.row)
    const mark = { cursor, partitionCount, rejectBytes, rejectFile: rejects.id, isEnd }
    await journal.commit({ ...this.#identity, ...mark }, this.#target.places)
    this.#committedRow = cursor.row
    this.#target.onCommitted(partitionCount)
  }
}
