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
import { NdjsonRows } from './ndjson-rows.ts'
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
 * Puts the rows of an NDJSON, CSV or Parquet file into a topic, each once: however often the import
 * is broken off, also by a crash, the next one under the name goes on, and neither misses a row nor
 * stores one twice. Others may append to the topic meanwhile. A file that has grown goes on too.
 *
 * Rows of a key come to one partition, as a producer's do, and each partition has its rows in the
 * order of the file. Memory is bounded: by a few MiB, or by a row group of a Parquet file.
 *
 * Each record has a header `varve-import`, `<name>:<row>`. The position is committed as the offsets
 * of the group `varve-import:<name>`. Only if retention, a deletion by hand, or a compaction in favour of
 * newer records of their keys removes such records before the import that stored them has committed can
 * their rows come again after a crash. With `retention: 'consumed'` retention does so only where the topic
 * has no room.
 *
 * CSV needs the package csv-parse, and Parquet hyparquet; Parquet in zstd needs @bokuweb/zstd-wasm
 * where Node.js has none.
 *
 * @throws TypeError or RangeError for options that are not legal
 * @throws {@link ImportFileChangedError} when the file under the name was another one
 * @throws {@link ImportFileError} when the file is not of its format as a whole
 * @throws `OffsetOutOfRangeError` where rows that the import has stored were cut off the log
 * @throws {@link MissingModuleError} without the package
 * @throws `IllegalStateError` while an import of that name is running, or another one writes to the
 * file for its rejects
 * @throws a system error when the file cannot be read, the signal's reason, and what an append or a
 * commit fails with
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
  // Each partition's append listens to it.
  const ending = given.signal === null ? null : followSignal(given.signal)
  const resolved = { ...given, signal: ending?.signal ?? null }
  let file: InputFile | null = null
  try {
    file = await InputFile.open(path, resolved.fileSystem)
    const state = await journal.load(resolved.signal)
    const identity = await identify(file, resolved, state.mark)
    const rejects = await openRejects(resolved, file, state.mark)
    try {
      const source = await openSource(file, resolved)
      const run = new ImportRun(resolved, { journal, topic, file, identity, state, rejects })
      return await run.run(source)
    } finally {
      await rejects.close()
    }
  } finally {
    ending?.stop()
    // Also where the file cannot be closed, others may import under the name.
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
  if (file.size < mark.size) throw changed(`it has ${file.size} bytes, and had ${mark.size}`)
  const found = await file.identity(mark)
  if (found.head !== mark.head) throw changed(`its first ${mark.headBytes} bytes are others`)
  if (mark.tail !== '' && found.tail !== mark.tail) {
    throw changed(`the bytes before ${mark.size}, where it ended, are others`)
  }
  if (file.size === mark.size) return found
  if (format === 'parquet') throw changed(`it has ${file.size} bytes, and had ${mark.size}`)
  return file.identity()
}

async function openSource(file: InputFile, options: ResolvedImportOptions): Promise<RowSource> {
  switch (options.format) {
    case 'ndjson':
      return new NdjsonRows(file, options)
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

/** One run of an import, from where the last one has come to the end of the file. */
class ImportRun {
  readonly #options: ResolvedImportOptions
  readonly #parts: RunParts
  readonly #target: ImportTarget
  #cursor: Cursor
  #committedRow: number
  #imported = 0
  #skipped: number
  #rejected = 0
  #rejecting: Promise<void> = Promise.resolve()

  constructor(options: ResolvedImportOptions, parts: RunParts) {
    const { topic, state } = parts
    this.#options = options
    this.#parts = parts
    this.#cursor = state.mark?.cursor ?? FILE_START
    this.#committedRow = this.#cursor.row
    this.#skipped = this.#cursor.row
    this.#target = new ImportTarget(topic, options, state, (reject) => {
      this.#rejected += 1
      // Several partitions may refuse a row at the same time.
      this.#rejecting = this.#rejecting.then(() => this.#reject(reject))
      return this.#rejecting
    })
  }

  async run(source: RowSource): Promise<ImportResult> {
    const { clock, signal } = this.#options
    const startMs = clock.monotonic()
    const readBefore = this.#parts.file.bytesRead
    const { state, rejects } = this.#parts
    const { mark } = state
    // Before anything is appended: where a later run begins to look for it. Behind a mark of the end
    // nothing is kept for an import, and rejected rows are looked for in the file that the mark names.
    const isNamed = rejects.id === '' || mark?.rejectFile === rejects.id
    const isBegun = mark !== null && !mark.isEnd && isNamed
    if (!isBegun || this.#isCommitDue(this.#cursor.row)) await this.#commit()
    const batches = source.read(this.#cursor)
    const readNext = (): ReturnType<typeof batches.next> => {
      const next = batches.next()
      // It is awaited behind the rows before it; what it fails with until then is nobody's yet.
      next.catch(() => undefined)
      return next
    }
    let reading = readNext()
    try {
      for (;;) {
        const read = await reading
        signal?.throwIfAborted()
        if (read.done === true) break
        // The next rows are read while these are written.
        reading = readNext()
        await this.#take(read.value)
      }
    } catch (error) {
      // What is in the topic of a batch that has failed may be gone when the next run looks for it.
      // Behind a cut the next run would take what was stored last for all that was.
      const { mayForget, isBehindCut } = this.#target
      if (mayForget || isBehindCut) await this.#commit().catch(() => undefined)
      throw error
    } finally {
      await reading.catch(() => undefined)
      await batches.return()
    }
    await this.#commit({ isEnd: true })
    return {
      rows: this.#cursor.row,
      imported: this.#imported,
      skipped: this.#skipped,
      rejected: this.#rejected,
      bytes: this.#parts.file.bytesRead - readBefore,
      durationMs: clock.monotonic() - startMs,
    }
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
    // Rows behind it are appended next, and after a crash nobody tries it again.
    await this.#parts.rejects.sync()
  }

  async #commit({ isEnd = false } = {}): Promise<void> {
    const { journal, rejects, identity } = this.#parts
    const cursor = this.#cursor
    const partitionCount = this.#target.partitionCountBehind(cursor.row)
    await rejects.sync()
    const rejectBytes = rejects.lengthUpTo(cursor.row)
    const mark = { cursor, partitionCount, rejectBytes, rejectFile: rejects.id, isEnd }
    await journal.commit({ ...identity, ...mark }, this.#target.places)
    this.#committedRow = cursor.row
    this.#target.onCommitted(partitionCount)
  }
}
