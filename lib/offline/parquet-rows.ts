import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import type * as hyparquet from 'hyparquet'
import type { InputFile } from './input-file.ts'
import { loadOptional } from './optional-module.ts'
import { ImportFileError } from './import-errors.ts'
import type { ResolvedImportOptions } from './import-options.ts'
import { reasonOf, type Cursor, type RowBatch, type RowSource } from './row-source.ts'

type Hyparquet = typeof hyparquet

const COMPRESSORS = {
  GZIP: (input: Uint8Array): Uint8Array => gunzipSync(input),
  BROTLI: (input: Uint8Array): Uint8Array => brotliDecompressSync(input),
}

/** A Parquet file, one row group in memory at a time. Its position is the row. */
export class ParquetRows implements RowSource {
  readonly #file: InputFile
  readonly #options: ResolvedImportOptions
  readonly #library: Hyparquet
  readonly #metadata: hyparquet.FileMetaData

  private constructor(
    file: InputFile,
    options: ResolvedImportOptions,
    library: Hyparquet,
    metadata: hyparquet.FileMetaData,
  ) {
    this.#file = file
    this.#options = options
    this.#library = library
    this.#metadata = metadata
  }

  /** Reads the footer. @throws {@link MissingModuleError}, {@link ImportFileError} */
  static async open(file: InputFile, options: ResolvedImportOptions): Promise<ParquetRows> {
    const library = await loadOptional<Hyparquet>(
      'hyparquet',
      'the import of Parquet',
      () => import('hyparquet'),
    )
    const metadata = await readAs(file, () => library.parquetMetadataAsync(bufferOf(file)))
    for (const [slot, group] of metadata.row_groups.entries()) {
      if (Number(group.total_byte_size) <= options.maxRowGroupBytes) continue
      throw new ImportFileError(
        file.path,
        `its row group ${slot} has ${group.total_byte_size.toString()} bytes, ` +
          `maxRowGroupBytes allows ${options.maxRowGroupBytes}`,
      )
    }
    return new ParquetRows(file, options, library, metadata)
  }

  async *read(from: Cursor): AsyncGenerator<RowBatch, void, undefined> {
    const { batchRecords } = this.#options
    let groupStart = 0
    for (const group of this.#metadata.row_groups) {
      const groupEnd = groupStart + Number(group.num_rows)
      const rowStart = Math.max(groupStart, from.row)
      groupStart = groupEnd
      if (rowStart >= groupEnd) continue
      const values = await readAs(this.#file, () =>
        this.#library.parquetReadObjects({
          file: bufferOf(this.#file),
          metadata: this.#metadata,
          rowStart,
          rowEnd: groupEnd,
          compressors: COMPRESSORS,
          utf8: false,
        }),
      )
      if (values.length !== groupEnd - rowStart) {
        throw new ImportFileError(this.#file.path, `there are no rows ${rowStart} to ${groupEnd}`)
      }
      for (let at = 0; at < values.length; at += batchRecords) {
        yield toBatch(values.slice(at, at + batchRecords), rowStart + at)
      }
    }
  }
}

function toBatch(values: readonly unknown[], rowsBefore: number): RowBatch {
  const end = rowsBefore + values.length
  return {
    rows: values.map((value, slot) => ({
      row: rowsBefore + slot + 1,
      line: null,
      value,
      bytes: null,
    })),
    rejects: [],
    end: { row: end, line: 0, position: end, isOpenEnd: false },
  }
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

async function readAs<T>(file: InputFile, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    if (cause instanceof ImportFileError) throw cause
    throw new ImportFileError(file.path, `it is no Parquet file: ${reasonOf(cause)}`, { cause })
  }
}
