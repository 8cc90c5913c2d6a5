import { resolve } from 'node:path'
import {
  abortSignal,
  callback,
  checkOptions,
  checkPath,
  describeValue,
  boolean,
  objectWith,
  oneOf,
  wholeNumber,
  type Checks,
  type Resolved,
} from '../checks.ts'
import type { AppendRecord, Clock, FileSystem } from '../index.ts'
import { systemClock } from '../platform/system-clock.ts'
import { nonEmptyString } from './arguments.ts'

/** Format of a file: one JSON value per line, rows below a header, or row groups of Parquet. */
export type ImportFormat = 'ndjson' | 'csv' | 'parquet'

/** A record as returned by {@link ImportOptions.toRecord}. */
export interface ImportRecord extends AppendRecord {
  /** From 0. @defaultValue chosen by the key */
  readonly partition?: number | undefined
}

/** A rejected row. */
export interface ImportReject {
  /** From 1. Empty lines and the header of a CSV file do not count. */
  readonly row: number
  /** Line of the file on which the row begins, from 1; `null` in Parquet. */
  readonly line: number | null
  /**
   * The bytes [start, end) of the file are the whole row with its line end. In a compressed file,
   * they are positions in the decompressed text; `null` in Parquet.
   */
  readonly start: number | null
  readonly end: number | null
  /**
   * `MALFORMED`: does not have the file's format. `TOO_LARGE`: exceeds `maxRowBytes` or the topic's
   * limit. `REFUSED`: not a valid record; the reason comes from `toRecord` or the topic.
   */
  readonly code: 'MALFORMED' | 'TOO_LARGE' | 'REFUSED'
  readonly reason: string
  /** The beginning of the row, at most 200 characters; `null` in Parquet. */
  readonly text: string | null
}

/** Progress of an import. */
export interface ImportProgress {
  /** Bytes of the file read so far, including those of earlier runs. */
  readonly bytesRead: number
  readonly totalBytes: number
  /** Rows read so far. */
  readonly rows: number
}

/** Result of an import: `rows` is the sum of `imported`, `skipped` and `rejected`. */
export interface ImportResult {
  /** Rows of the file that have been read. */
  readonly rows: number
  /** Rows that this run has stored in the topic. */
  readonly imported: number
  /** Rows that an earlier run had processed, and those for which `toRecord` returned `null`. */
  readonly skipped: number
  /** Rows that this run has rejected. */
  readonly rejected: number
  /** Bytes of the file that this run has read. */
  readonly bytes: number
  readonly durationMs: number
}

/** Options of {@link importFile}. */
export interface ImportOptions<Row = unknown> {
  readonly topic: string
  /**
   * Name of the import, under which the position is kept and which marks the records; at most 200
   * characters.
   *
   * @defaultValue the file's path as given
   */
  readonly name?: string | undefined
  /** @defaultValue by the extension: .ndjson, .jsonl or .csv, also with .gz; .parquet */
  readonly format?: ImportFormat | undefined
  /** Whether an NDJSON or CSV file is compressed. @defaultValue by the extension .gz */
  readonly gzip?: boolean | undefined
  /**
   * Separator of the fields of a CSV file: one ASCII character other than `"`, `\r` and `\n`, such
   * as `'\t'` or `'\x01'`.
   *
   * @defaultValue `','`
   */
  readonly delimiter?: string | undefined
  /**
   * Converts a row to a record. `null` skips the row, an exception rejects it. It must return the
   * same record for the same row, because a row may be read again after a crash. The returned
   * record must not change afterwards. Each row needs its own object and bytes, because many
   * records are stored at once.
   *
   * In a row of a Parquet file, INT64 is a bigint, which `JSON.stringify` refuses, a time or date is
   * a Date, bytes are a Uint8Array, and a decimal of more than 15 digits is text. The row and its
   * values may be changed.
   *
   * @defaultValue value: the line of an NDJSON file, otherwise the row as JSON; key: `keyField`
   */
  readonly toRecord?:
    ((row: Row, place: { readonly row: number }) => ImportRecord | null) | undefined
  /**
   * Field whose value is the key. A row without this field is rejected. An empty text, such as an
   * empty cell of a CSV file, is the empty key. Not allowed with `toRecord`.
   */
  readonly keyField?: string | undefined
  /** Fields to include in the value, each once. Not allowed with `toRecord`. @defaultValue all */
  readonly valueFields?: readonly string[] | undefined
  /**
   * Destination of rejected rows: a function, or the path of a file that receives one line of JSON
   * per row. A function may receive a row again after a crash. A file has each row once, unless an
   * import returns to it from another file. Each line names `topic` and `import`, so imports may
   * share a file, one after another. Concurrent use is refused within a process, and on Linux also
   * between processes of one machine. Do not use the file for anything else: after a crash, lines
   * in any other format may be truncated.
   */
  readonly rejects?: string | ((reject: ImportReject) => void | Promise<void>) | undefined
  /** Called after each batch. An exception from it ends the import. */
  readonly onProgress?: ((progress: ImportProgress) => void) | undefined
  /**
   * Aborts the import with the signal's reason, also while it waits for room in a full topic. The
   * next run continues.
   */
  readonly signal?: AbortSignal | undefined
  /** Rows that are appended at once, [1, 100000]. @defaultValue 1000 */
  readonly batchRecords?: number | undefined
  /**
   * Rows after which the position is committed, at least 1. It is committed after each batch into a
   * topic that has `retention: 'consumed'` and `maxBytes` or `minFreeBytes`. @defaultValue 10000
   */
  readonly commitRecords?: number | undefined
  /**
   * Maximum size of a row in bytes, [1, 512 MiB]. Longer rows are rejected unread. In CSV, the
   * quotes of a longer row with several lines count as unclosed: its first line is rejected, and
   * each line after it counts as a row of its own. The same applies to a quote that is never
   * closed, and to one whose next quote is on a later line and does not end a field.
   * @defaultValue 1 MiB
   */
  readonly maxRowBytes?: number | undefined
  /**
   * Maximum size of a row group of Parquet in bytes, at least 1. One is held in memory.
   * @defaultValue 256 MiB
   */
  readonly maxRowGroupBytes?: number | undefined
  /**
   * Set it while another program still writes to the file: a last row without a line end is left
   * for a later run. In CSV, so is a row whose quote is not closed, with everything after it, until
   * there are `maxRowBytes` after the beginning of the row. Not allowed for compressed files and
   * Parquet.
   *
   * @defaultValue false
   */
  readonly growing?: boolean | undefined
  /** File system of the files that are read and written here. @defaultValue the real one */
  readonly fileSystem?: FileSystem | undefined
  /** @defaultValue the real one */
  readonly clock?: Clock | undefined
}

/** Options without a default of the same type. */
type Unset =
  'toRecord' | 'keyField' | 'valueFields' | 'rejects' | 'onProgress' | 'signal' | 'fileSystem'

/** {@link ImportOptions} with defaults filled in. */
export interface ResolvedImportOptions extends Resolved<Omit<ImportOptions, Unset>> {
  readonly path: string
  readonly toRecord: ((row: never, place: { readonly row: number }) => ImportRecord | null) | null
  readonly keyField: string | null
  readonly valueFields: readonly string[] | null
  readonly rejects: string | ((reject: ImportReject) => void | Promise<void>) | null
  /** The type of the option also admits functions that return a value. */
  readonly onProgress: (progress: ImportProgress) => unknown
  readonly signal: AbortSignal | null
  readonly fileSystem: FileSystem | null
}

const MAX_NAME_LENGTH = 200
const MIB = 1024 * 1024

const OPTIONS: Checks<ImportOptions> = {
  topic: nonEmptyString,
  name: nonEmptyString,
  format: oneOf('ndjson', 'csv', 'parquet'),
  gzip: boolean,
  delimiter: fieldSeparator,
  toRecord: callback,
  keyField: nonEmptyString,
  valueFields: texts,
  rejects: (name, value) => {
    if (typeof value === 'string') checkPath(name, value)
    else if (typeof value !== 'function') {
      throw new TypeError(`${name} must be a function or a path, got ${describeValue(value)}`)
    }
  },
  onProgress: callback,
  signal: abortSignal,
  batchRecords: wholeNumber(1, 100_000),
  commitRecords: wholeNumber(1),
  maxRowBytes: wholeNumber(1, 512 * MIB),
  maxRowGroupBytes: wholeNumber(1),
  growing: boolean,
  fileSystem: objectWith('open', 'syncDirectory', 'stat'),
  clock: objectWith('now', 'monotonic', 'startTimer'),
}

const EXTENSIONS: ReadonlyMap<string, ImportFormat> = new Map([
  ['ndjson', 'ndjson'],
  ['jsonl', 'ndjson'],
  ['csv', 'csv'],
  ['parquet', 'parquet'],
])

/** Checks the options of an import and fills in defaults. @throws TypeError or RangeError */
export function resolveImportOptions<Row>(
  path: string,
  options: ImportOptions<Row>,
): ResolvedImportOptions {
  checkPath('path', path)
  const checked = checkOptions('import options', options as ImportOptions, OPTIONS)
  nonEmptyString('topic', checked.topic)
  const { format, gzip } = formatOf(path, checked)
  const name = checked.name ?? path
  if (name.length > MAX_NAME_LENGTH) {
    throw new RangeError(
      `name must have at most ${MAX_NAME_LENGTH} characters, got ${name.length}: ${describeValue(name)}`,
    )
  }
  const { toRecord = null, keyField = null, valueFields = null } = checked
  if (toRecord !== null && (keyField !== null || valueFields !== null)) {
    throw new TypeError('keyField and valueFields must be omitted if toRecord is given')
  }
  const { growing = false } = checked
  if (growing && (gzip || format === 'parquet')) {
    throw new TypeError(
      'growing must be false for a compressed file and for Parquet, got true: they have no line ends',
    )
  }
  const { rejects = null } = checked
  // Other names of the same file are detected once both are open.
  if (typeof rejects === 'string' && resolve(rejects) === resolve(path)) {
    throw sameFileError(rejects)
  }
  return {
    path,
    topic: checked.topic,
    name,
    format,
    gzip,
    delimiter: checked.delimiter ?? ',',
    toRecord,
    keyField,
    valueFields,
    rejects,
    onProgress: checked.onProgress ?? (() => undefined),
    signal: checked.signal ?? null,
    batchRecords: checked.batchRecords ?? 1000,
    commitRecords: checked.commitRecords ?? 10_000,
    maxRowBytes: checked.maxRowBytes ?? MIB,
    maxRowGroupBytes: checked.maxRowGroupBytes ?? 256 * MIB,
    growing,
    fileSystem: checked.fileSystem ?? null,
    clock: checked.clock ?? systemClock,
  }
}

/** The error if the file of rejects is the imported file, so that its lines would become rows. */
export function sameFileError(rejects: string): TypeError {
  return new TypeError(`rejects must not be the imported file, got ${describeValue(rejects)}`)
}

function formatOf(
  path: string,
  options: Pick<ImportOptions, 'format' | 'gzip'>,
): { format: ImportFormat; gzip: boolean } {
  const match = /\.(\w+?)(\.gz)?$/i.exec(path)
  const format = options.format ?? EXTENSIONS.get(match?.[1]?.toLowerCase() ?? '')
  if (format === undefined) {
    throw new TypeError(
      `format must be given for ${describeValue(path)}: the extension is none of ` +
        [...EXTENSIONS.keys()].join(', '),
    )
  }
  const gzip = options.gzip ?? /\.gz$/i.test(path)
  if (gzip && format === 'parquet') {
    throw new TypeError('gzip must be false for a Parquet file, got true: it is compressed inside')
  }
  return { format, gzip }
}

function texts(name: string, value: unknown): void {
  if (!Array.isArray(value)) {
    throw new TypeError(`${name} must be an array of names, got ${describeValue(value)}`)
  }
  const names = value as unknown[]
  for (const [slot, each] of names.entries()) {
    nonEmptyString(`${name}[${slot}]`, each)
    if (names.indexOf(each) === slot) continue
    throw new RangeError(`${name} must not repeat a field, got ${describeValue(each)} twice`)
  }
}

function fieldSeparator(name: string, value: unknown): void {
  const isAscii = typeof value === 'string' && value.length === 1 && value <= '\x7f'
  if (isAscii && !'"\r\n'.includes(value)) return
  throw new TypeError(
    `${name} must be one ASCII character other than a quote or line end, got ${describeValue(value)}`,
  )
}
