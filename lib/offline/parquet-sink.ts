import * as zlib from 'node:zlib'
import { types } from 'node:util'
import type * as parquetModule from 'hyparquet-writer'
import { checkOptions, oneOf, wholeNumber } from '../checks.ts'
import {
  createFileSink,
  FILE_SINK_OPTIONS,
  type FileSinkOptions,
  type RowWriter,
} from './file-sink.ts'
import { importError } from './optional-module.ts'
import type { OutputFile } from './output-file.ts'
import { parquetColumn, type ParquetColumn } from './parquet-column.ts'
import type { Column, Row } from './row-shape.ts'
import type { Sink } from './sink.ts'

/** Options of {@link parquetSink}. */
export interface ParquetSinkOptions extends FileSinkOptions {
  /** Maximum number of rows of a row group, at least 1. @defaultValue 100000 */
  readonly rowGroupRows?: number | undefined
  /**
   * Bytes of keys, values and numbers in memory at which a row group ends, [1, 1 GiB]. Each running
   * task uses about four times as much memory. @defaultValue 1 MiB, or 8 KiB per column if that is
   * more
   */
  readonly rowGroupBytes?: number | undefined
  /** `'zstd'` needs a Node.js that has it: from 22.15 or 23.8 on. @defaultValue `'snappy'` */
  readonly codec?: 'none' | 'snappy' | 'gzip' | 'zstd' | undefined
}

const DEFAULT_ROW_GROUP_ROWS = 100_000
const DEFAULT_ROW_GROUP_BYTES = 1024 * 1024
/** Positions in a column have 32 bits, and so have the lengths of Parquet's pages. */
const MAX_ROW_GROUP_BYTES = 1024 * 1024 * 1024

const CODECS = { none: 'UNCOMPRESSED', snappy: 'SNAPPY', gzip: 'GZIP', zstd: 'ZSTD' } as const

/** Longer than what the writer stores of a value, so that it can tell that the value was longer. */
const MAX_STATISTIC_BYTES = 64
/** The only beginning of a text for which no text of at most 16 bytes is greater. */
const GREATEST_TEXT: Buffer = Buffer.from('\u{10ffff}'.repeat(4))
/**
 * The footer stays in memory until the file ends and has an entry for each column of each row
 * group. A table with many columns has larger row groups, so that the footer stays small compared
 * to the data it describes.
 */
const LEAST_COLUMN_BYTES = 8 * 1024

type ParquetModule = typeof parquetModule
type ParquetFileWriter = InstanceType<ParquetModule['ParquetWriter']>
type RowGroup = ParquetFileWriter['row_groups'][number]
type SchemaElement = ParquetFileWriter['schema'][number]
type Compressors = NonNullable<
  ConstructorParameters<ParquetModule['ParquetWriter']>[0]['compressors']
>

interface GroupLimits {
  readonly rows: number
  /** `null`: a size that suits the number of columns. */
  readonly bytes: number | null
}

/**
 * Loads into Parquet files, `dir/topic=orders/partition=0/<start>-<end>.parquet`, end exclusive.
 * Offsets are INT64, timestamps TIMESTAMP in milliseconds, UTC, and bytes BYTE_ARRAY. JSON is text.
 * Rejected records are in `dir/_rejects/topic=orders/partition=0/<start>-<end>.parquet.jsonl`, with
 * the reason. Needs the package `hyparquet-writer`.
 *
 * @throws TypeError or RangeError for an invalid path or invalid options. If the package is not
 * installed, tasks fail with {@link MissingModuleError}.
 */
export function parquetSink(dir: string, options: ParquetSinkOptions = {}): Sink {
  const {
    rowGroupRows,
    rowGroupBytes,
    codec = 'snappy',
    ...rest
  } = checkOptions('sink options', options, {
    ...FILE_SINK_OPTIONS,
    rowGroupRows: wholeNumber(1),
    rowGroupBytes: wholeNumber(1, MAX_ROW_GROUP_BYTES),
    codec: oneOf('none', 'snappy', 'gzip', 'zstd'),
  })
  const compressors = compressorsFor(codec)
  const limits = {
    rows: rowGroupRows ?? DEFAULT_ROW_GROUP_ROWS,
    bytes: rowGroupBytes ?? null,
  }
  return createFileSink(dir, rest, {
    extension: 'parquet',
    extensions: ['parquet'],
    rejectsExtension: 'parquet.jsonl',
    start: async (output, columns) => {
      const module = await loadHyparquetWriter()
      return new ParquetRowWriter(module, { output, columns, limits, codec, compressors })
    },
  })
}

async function loadHyparquetWriter(): Promise<ParquetModule> {
  try {
    return await import('hyparquet-writer')
  } catch (error) {
    throw importError(error, 'hyparquet-writer', 'parquetSink')
  }
}

/** Buffers the columns of a row group and writes them once the group is large enough. */
class ParquetRowWriter implements RowWriter {
  readonly #output: OutputFile
  readonly #columns: readonly Column[]
  readonly #maxRows: number
  readonly #maxBytes: number
  readonly #bytes: InstanceType<ParquetModule['ByteWriter']>
  readonly #file: ParquetFileWriter
  readonly #cells: readonly ParquetColumn[]
  #rows = 0
  #sizeBytes = 0

  constructor(
    { ByteWriter, ParquetWriter }: ParquetModule,
    {
      output,
      columns,
      limits,
      codec,
      compressors,
    }: {
      output: OutputFile
      columns: readonly Column[]
      limits: GroupLimits
      codec: keyof typeof CODECS
      compressors: Compressors
    },
  ) {
    this.#output = output
    this.#columns = columns
    this.#maxRows = limits.rows
    this.#maxBytes =
      limits.bytes ?? Math.max(DEFAULT_ROW_GROUP_BYTES, columns.length * LEAST_COLUMN_BYTES)
    this.#bytes = new ByteWriter()
    const root = { name: 'root', num_children: columns.length }
    this.#file = new ParquetWriter({
      writer: this.#bytes,
      schema: [root, ...columns.map(elementOf)],
      codec: CODECS[codec],
      compressors,
      createdBy: 'varve',
    })
    this.#cells = columns.map(({ type }) => parquetColumn(type))
  }

  add(row: Row): boolean {
    let index = 0
    for (const column of this.#cells) {
      this.#sizeBytes += column.add(row[index] ?? null)
      index += 1
    }
    this.#rows += 1
    return this.#rows >= this.#maxRows || this.#sizeBytes >= this.#maxBytes
  }

  async flush(): Promise<void> {
    if (this.#rows === 0) return
    const columnData = this.#columns.map(({ name, type }, index) => {
      const column = this.#cells[index]
      return {
        name,
        // The values as objects take many times the memory of the values. They are created when the
        // writer reaches the column, so only one column has them at a time.
        get data() {
          return column?.values() ?? []
        },
        // Offsets and timestamps are close to their predecessors. Any other encoding takes eight
        // bytes each.
        ...(type === 'int' || type === 'timestamp'
          ? { encoding: 'DELTA_BINARY_PACKED' as const }
          : {}),
        ...(type === 'double' && column?.hasNegativeZero === true
          ? { encoding: 'PLAIN' as const }
          : {}),
        // The minimum and maximum of long texts do not help readers to skip row groups.
        statistics: type !== 'bytes' && name !== 'value' && type !== 'json',
      }
    })
    void this.#file.write({ columnData, rowGroupSize: this.#rows })
    keepStatistics(this.#file.row_groups.at(-1))
    for (const column of this.#cells) column.clear()
    this.#rows = 0
    this.#sizeBytes = 0
    await this.#drain()
  }

  async finish(): Promise<void> {
    await this.flush()
    void this.#file.finish()
    await this.#drain()
  }

  async #drain(): Promise<void> {
    await this.#output.append(this.#bytes.getBytes())
    // The writer's positions continue from here, while its buffer starts again at 0.
    this.#bytes.index = 0
  }
}

/** Copies the minimum and maximum of text for the footer, as the columns' buffers are reused. */
function keepStatistics(group: RowGroup | undefined): void {
  for (const { meta_data } of group?.columns ?? []) {
    const { statistics } = meta_data ?? {}
    if (types.isUint8Array(statistics?.min_value)) {
      statistics.min_value = statistics.min_value.slice(0, MAX_STATISTIC_BYTES)
    }
    if (types.isUint8Array(statistics?.max_value)) {
      const { max_value: max } = statistics
      statistics.max_value = max.slice(0, MAX_STATISTIC_BYTES)
      // The writer stores such a maximum as it is, and a part of it is less than the value.
      if (
        max.length > MAX_STATISTIC_BYTES &&
        GREATEST_TEXT.equals(max.subarray(0, GREATEST_TEXT.length))
      ) {
        delete statistics.max_value
      }
    }
  }
}

function elementOf({ name, type }: Column): SchemaElement {
  const repetition_type = name === 'offset' ? 'REQUIRED' : 'OPTIONAL'
  switch (type) {
    case 'int':
      return { name, type: 'INT64', repetition_type }
    case 'double':
      return { name, type: 'DOUBLE', repetition_type }
    case 'boolean':
      return { name, type: 'BOOLEAN', repetition_type }
    case 'timestamp':
      return { name, type: 'INT64', converted_type: 'TIMESTAMP_MILLIS', repetition_type }
    case 'bytes':
      return { name, type: 'BYTE_ARRAY', repetition_type }
    case 'string':
    case 'json':
      return { name, type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type }
  }
}

/** @throws RangeError if this version of Node.js lacks the codec. */
function compressorsFor(codec: keyof typeof CODECS): Compressors {
  if (codec === 'gzip') return { GZIP: (bytes) => zlib.gzipSync(bytes) }
  if (codec !== 'zstd') return {}
  const { zstdCompressSync } = zlib as { zstdCompressSync?: (bytes: Uint8Array) => Uint8Array }
  if (zstdCompressSync === undefined) {
    throw new RangeError(
      `codec 'zstd' needs Node.js 22.15 or later, but this is ${process.version}; use 'gzip'`,
    )
  }
  return { ZSTD: zstdCompressSync }
}
