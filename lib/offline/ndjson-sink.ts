import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { boolean, checkOptions } from '../checks.ts'
import {
  createFileSink,
  FILE_SINK_OPTIONS,
  type FileSinkOptions,
  type RowFormat,
  type RowWriter,
} from './file-sink.ts'
import type { OutputFile } from './output-file.ts'
import type { Column, ColumnType, Row } from './row-shape.ts'
import type { Sink } from './sink.ts'

/** How {@link ndjsonSink} writes. */
export interface NdjsonSinkOptions extends FileSinkOptions {
  /** Whether the files are compressed, as `.ndjson.gz`. @defaultValue false */
  readonly gzip?: boolean
}

/** Text that is written, and compressed, at once. Where it is cut depends on the rows alone. */
const CHUNK_CHARACTERS = 1024 * 1024

const compress = promisify(gzip)

/**
 * Loads into files of one JSON object a line: `dir/topic=orders/partition=0/<start>-<end>.ndjson`,
 * end exclusive. Bytes are base64, timestamps ISO 8601 in UTC, and what is JSON stands as it is.
 * What does not fit is in `dir/_rejects`, with the reason.
 *
 * @throws TypeError for a path or options that are not legal.
 */
export function ndjsonSink(dir: string, options: NdjsonSinkOptions = {}): Sink {
  const { gzip: isCompressed = false, ...rest } = checkOptions('sink options', options, {
    ...FILE_SINK_OPTIONS,
    gzip: boolean,
  })
  const format: RowFormat = {
    extension: isCompressed ? 'ndjson.gz' : 'ndjson',
    extensions: ['ndjson', 'ndjson.gz'],
    start: (output, columns) =>
      Promise.resolve(new NdjsonWriter(output, columns, { isCompressed })),
  }
  return createFileSink(dir, rest, format)
}

class NdjsonWriter implements RowWriter {
  readonly #output: OutputFile
  readonly #isCompressed: boolean
  readonly #columns: readonly { readonly start: string; readonly type: ColumnType }[]
  #pending = ''

  constructor(
    output: OutputFile,
    columns: readonly Column[],
    { isCompressed }: { isCompressed: boolean },
  ) {
    this.#output = output
    this.#isCompressed = isCompressed
    this.#columns = columns.map(({ name, type }, index) => ({
      start: `${index === 0 ? '{' : ','}${JSON.stringify(name)}:`,
      type,
    }))
  }

  add(row: Row): boolean {
    let line = ''
    for (const [index, { start, type }] of this.#columns.entries()) {
      line += start + textOf(row[index] ?? null, type)
    }
    this.#pending += `${line}}\n`
    return this.#pending.length >= CHUNK_CHARACTERS
  }

  /** Compressed, each chunk is a member of its own: the format allows for any number of them. */
  async flush(): Promise<void> {
    if (this.#pending === '') return
    const bytes = Buffer.from(this.#pending, 'utf8')
    this.#pending = ''
    await this.#output.append(this.#isCompressed ? await compress(bytes) : bytes)
  }

  async finish(): Promise<void> {
    await this.flush()
    // A file of no bytes is no gzip file.
    if (this.#isCompressed && this.#output.sizeBytes === 0) {
      await this.#output.append(await compress(Buffer.alloc(0)))
    }
  }
}

function textOf(value: Row[number], type: ColumnType): string {
  if (value === null) return 'null'
  switch (type) {
    case 'json':
      return value as string
    case 'timestamp':
      return `"${new Date(value as number).toISOString()}"`
    case 'bytes':
      return `"${(value as Buffer).toString('base64')}"`
    case 'int':
    case 'double':
    case 'string':
    case 'boolean':
      return JSON.stringify(value)
  }
}
