import type * as hyparquet from 'hyparquet'
import type { InputFile } from './input-file.ts'
import { importError } from './optional-module.ts'
import { decompressorsFor, type Decompressors } from './parquet-codecs.ts'
import { ExactDecimals } from './parquet-exact.ts'
import { ParquetValues, type ParquetRow } from './parquet-values.ts'
import { ImportFileError, readError } from './import-errors.ts'
import type { ImportReject, ResolvedImportOptions } from './import-options.ts'
import { rejectRow } from './row-records.ts'
import { type Cursor, type RowBatch, type RowSource, type SourceRow } from './row-source.ts'

type Hyparquet = typeof hyparquet

/** A Parquet file, with one row group in memory at a time. Its position is the row. */
export class ParquetRows implements RowSource {
  readonly #file: InputFile
  readonly #options: ResolvedImportOptions
  readonly #library: Hyparquet
  readonly #metadata: hyparquet.FileMetaData
  readonly #decimals: ExactDecimals
  readonly #compressors: Decompressors
  readonly #columns: readonly string[]

  private constructor(
    file: InputFile,
    options: ResolvedImportOptions,
    content: {
      readonly library: Hyparquet
      readonly metadata: hyparquet.FileMetaData
      readonly compressors: Decompressors
    },
  ) {
    this.#file = file
    this.#options = options
    this.#library = content.library
    this.#metadata = content.metadata
    this.#decimals = new ExactDecimals(content.metadata, file.path)
    this.#compressors = content.compressors
    const { children } = content.library.parquetSchema(this.#decimals.metadata)
    this.#columns = children.map(({ element }) => element.name)
  }

  /** Reads the footer. @throws {@link MissingModuleError}, {@link ImportFileError} */
  static async open(file: InputFile, options: ResolvedImportOptions): Promise<ParquetRows> {
    const library = await loadHyparquet()
    const metadata = await readAs(file, () => library.parquetMetadataAsync(bufferOf(file)))
    for (const [slot, group] of metadata.row_groups.entries()) {
      if (Number(group.total_byte_size) <= options.maxRowGroupBytes) continue
      throw new ImportFileError(
        file.path,
        `its row group ${slot} has ${group.total_byte_size.toString()} bytes, ` +
          `but maxRowGroupBytes is ${options.maxRowGroupBytes}`,
      )
    }
    const compressors = await decompressorsFor(codecsOf(metadata))
    const content = { library, metadata, compressors }
    return readAs(file, () => new ParquetRows(file, options, content))
  }

  async *read(from: Cursor): AsyncGenerator<RowBatch, void, undefined> {
    const { batchRecords } = this.#options
    let groupStart = 0
    for (const group of this.#metadata.row_groups) {
      const groupEnd = groupStart + Number(group.num_rows)
      const rowStart = Math.max(groupStart, from.row)
      groupStart = groupEnd
      if (rowStart >= groupEnd) continue
      const exact = new ParquetValues(this.#options.toRecord !== null)
      const values = await this.#readGroup(exact, rowStart, groupEnd)
      this.#decimals.putInto(values)
      for (let at = 0; at < values.length; at += batchRecords) {
        yield toBatch(values.slice(at, at + batchRecords), rowStart + at, exact)
      }
    }
  }

  /** Reads rows up to the end of a row group. @throws {@link ImportFileError} */
  async #readGroup(exact: ParquetValues, rowStart: number, rowEnd: number): Promise<ParquetRow[]> {
    const columnEnds = new Map(this.#columns.map((name) => [name, rowStart]))
    const rows = await readAs(this.#file, () =>
      this.#library.parquetReadObjects({
        file: bufferOf(this.#file),
        metadata: this.#decimals.metadata,
        parsers: exact.parsers,
        rowStart,
        rowEnd,
        compressors: this.#compressors,
        utf8: false,
        onChunk: (chunk) => columnEnds.set(chunk.columnName, chunk.rowEnd),
      }),
    )
    // The reader does not notice values that are missing: it moves up those behind them.
    for (const [name, end] of columnEnds) {
      if (end === rowEnd) continue
      throw new ImportFileError(
        this.#file.path,
        `its column '${name}' ends after row ${end}, but its row group after row ${rowEnd}`,
      )
    }
    return rows
  }
}

async function loadHyparquet(): Promise<Hyparquet> {
  try {
    return await import('hyparquet')
  } catch (error) {
    throw importError(error, 'hyparquet', 'the import of Parquet')
  }
}

function codecsOf({ row_groups }: hyparquet.FileMetaData): ReadonlySet<string> {
  const columns = row_groups.flatMap((group) => group.columns)
  return new Set(columns.map(({ meta_data }) => meta_data?.codec ?? 'UNCOMPRESSED'))
}

function toBatch(
  values: readonly ParquetRow[],
  rowsBefore: number,
  exact: ParquetValues,
): RowBatch {
  const rows: SourceRow[] = []
  const rejects: ImportReject[] = []
  for (const [slot, value] of values.entries()) {
    const row = rowsBefore + slot + 1
    const place = { line: null, start: null, end: null, text: null, bytes: null }
    const source = { row, ...place, value }
    const fault = exact.finish(value)
    if (fault === null) rows.push(source)
    else rejects.push(rejectRow(source, 'MALFORMED', fault))
  }
  const end = rowsBefore + values.length
  return { rows, rejects, end: { row: end, line: 0, position: end, isOpenEnd: false } }
}

function bufferOf(file: InputFile): hyparquet.AsyncBuffer {
  return {
    byteLength: file.size,
    slice: async (start, end) => {
      const bytes = await file.slice(start, end ?? file.size)
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer
    },
  }
}

async function readAs<T>(file: InputFile, read: () => Promise<T> | T): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    throw readError(file.path, 'read as Parquet', cause)
  }
}
