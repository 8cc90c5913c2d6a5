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
import { JsonBytes } from './json-bytes.ts'
import type { OutputFile } from './output-file.ts'
import type { Cell, Column, ColumnType, Row } from './row-shape.ts'
import type { Sink } from './sink.ts'

/** Options of {@link ndjsonSink}. */
export interface NdjsonSinkOptions extends FileSinkOptions {
  /**
   * Whether the files are compressed. Their extension is then `.ndjson.gz`. A range that is there in
   * one of the two forms counts as loaded in the other too. @defaultValue false
   */
  readonly gzip?: boolean | undefined
}

/** Size at which a chunk is compressed and written. Its boundaries depend only on the rows. */
const CHUNK_BYTES = 256 * 1024

const compress = promisify(gzip)

/**
 * Loads into files with one JSON object per line:
 * `dir/topic=orders/partition=0/<start>-<end>.ndjson`, end exclusive. Bytes are base64, timestamps
 * are ISO 8601 in UTC, and JSON is embedded unchanged. Rejected records are in
 * `dir/_rejects/topic=orders/partition=0/<start>-<end>.ndjson.jsonl`, with the reason.
 *
 * @throws TypeError for an invalid path or invalid options.
 */
export function ndjsonSink(dir: string, options: NdjsonSinkOptions = {}): Sink {
  const { gzip: isCompressed = false, ...rest } = checkOptions('sink options', options, {
    ...FILE_SINK_OPTIONS,
    gzip: boolean,
  })
  const format: RowFormat = {
    extension: isCompressed ? 'ndjson.gz' : 'ndjson',
    extensions: ['ndjson', 'ndjson.gz'],
    rejectsExtension: 'ndjson.jsonl',
    start: (output, columns) =>
      Promise.resolve(new NdjsonWriter(output, columns, { isCompressed })),
  }
  return createFileSink(dir, rest, format)
}

class NdjsonWriter implements RowWriter {
  readonly #output: OutputFile
  readonly #isCompressed: boolean
  readonly #columns: readonly { readonly start: Buffer; readonly type: ColumnType }[]
  readonly #pending = new JsonBytes()

  constructor(
    output: OutputFile,
    columns: readonly Column[],
    { isCompressed }: { isCompressed: boolean },
  ) {
    this.#output = output
    this.#isCompressed = isCompressed
    this.#columns = columns.map(({ name, type }, index) => ({
      start: Buffer.from(`${index === 0 ? '{' : ','}${JSON.stringify(name)}:`),
      type,
    }))
  }

  add(row: Row): boolean {
    const pending = this.#pending
    let index = 0
    for (const { start, type } of this.#columns) {
      pending.raw(start)
      append(pending, row[index] ?? null, type)
      index += 1
    }
    pending.ascii('}\n')
    return pending.length >= CHUNK_BYTES
  }

  /** With compression each chunk is a gzip member. The format allows any number of members. */
  async flush(): Promise<void> {
    if (this.#pending.length === 0) return
    const { bytes } = this.#pending
    await this.#output.append(this.#isCompressed ? await compress(bytes) : bytes)
    this.#pending.clear()
  }

  async finish(): Promise<void> {
    await this.flush()
    // An empty file is not a valid gzip file.
    if (this.#isCompressed && this.#output.sizeBytes === 0) {
      await this.#output.append(await compress(Buffer.alloc(0)))
    }
  }
}

function append(json: JsonBytes, value: Cell, type: ColumnType): void {
  if (value === null) {
    json.ascii('null')
  } else if (type === 'timestamp') {
    json.time(value as number)
  } else if (type === 'bytes') {
    json.ascii(`"${(value as Buffer).toString('base64')}"`)
  } else if (type === 'json') {
    if (typeof value === 'string') json.text(value)
    else json.jsonLine(value as Buffer)
  } else if (Buffer.isBuffer(value)) {
    json.string(value)
  } else if (typeof value === 'string') {
    json.text(JSON.stringify(value))
  } else {
    json.ascii(type === 'double' && Object.is(value, -0) ? '-0' : String(value))
  }
}
