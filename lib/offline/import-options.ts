import { resolve } from 'node:path'
import {
  abortSignal,
  callback,
  checkOneOf,
  checkOptions,
  checkPath,
  describeValue,
  boolean,
  objectWith,
  oneOf,
  wholeNumber,
  type Check,
  type Checks,
} from '../checks.ts'
import type { AppendRecord, Clock, FileSystem } from '../index.ts'
import { systemClock } from '../platform/system-clock.ts'

/** What a file holds: a JSON value a line, rows below a header, or Parquet's row groups. */
export type ImportFormat = 'ndjson' | 'csv' | 'parquet'

/** A record as {@link ImportOptions.toRecord} gives it. */
export interface ImportRecord extends AppendRecord {
  /** From 0. @defaultValue chosen by the key */
  readonly partition?: number
}

/** A row that was not imported. */
export interface ImportReject {
  /** From 1; empty lines and the header of a CSV file do not count. */
  readonly row: number
  /** Line of the file that the row begins in, from 1; `null` in Parquet. */
  readonly line: number | null
  /**
   * `MALFORMED` is not of the file's format, `TOO_LARGE` is above `maxRowBytes` or what the topic
   * takes, `REFUSED` is no record: `toRecord` or the topic says why.
   */
  readonly code: 'MALFORMED' | 'TOO_LARGE' | 'REFUSED'
  readonly reason: string
  /** How the row begins, at most 200 characters; `null` in Parquet. */
  readonly text: string | null
}

/** How far an import is. */
export interface ImportProgress {
  /** Bytes of the file up to where it is read, those of earlier runs included. */
  readonly bytesRead: number
  readonly totalBytes: number
  /** Rows up to there. */
  readonly rows: number
}

/** What came of an import: `rows` is the sum of `imported`, `skipped` and `rejected`. */
export interface ImportResult {
  /** Rows of the file, up to where it was read. */
  readonly rows: number
  /** Rows that this run has put into the topic. */
  readonly imported: number
  /** Rows that an earlier run had dealt with, and those that `toRecord` gave `null` for. */
  readonly skipped: number
  /** Rows that this run has rejected. */
  readonly rejected: number
  /** Bytes of the file that this run has read. */
  readonly bytes: number
  readonly durationMs: number
}

/** What {@link importFile} takes. */
export interface ImportOptions<Row = unknown> {
  readonly topic: string
  /**
   * What the position is kept under, and the records are marked with; at most 200 characters.
   *
   * @defaultValue the file's path as it was given
   */
  readonly name?: string
  /** @defaultValue by the extension: .ndjson, .jsonl, .csv, also with .gz; .parquet */
  readonly format?: ImportFormat
  /** Whether an NDJSON or CSV file is compressed. @defaultValue by the extension .gz */
  readonly gzip?: boolean
  /** What separates the fields of a CSV file: one ASCII character. @defaultValue `','` */
  readonly delimiter?: string
  /**
   * Makes a record of a row; `null` leaves it out, what it throws rejects the row. It must give the
   * same for the same row: a row may be read again after a crash. What it gives must not change any
   * more, so each row needs an object and bytes of its own: many are stored at once.
   *
   * @defaultValue value: the line of an NDJSON file, else the row as JSON; key: `keyField`
   */
  readonly toRecord?: (row: Row, place: { readonly row: number }) => ImportRecord | null
  /**
   * Field whose value is the key. A row without it is rejected; an empty text, as of an empty cell of a CSV
   * file, is the empty key. Not with `toRecord`.
   */
  readonly keyField?: string
  /** Fields that the value has. Not with `toRecord`. @defaultValue all */
  readonly valueFields?: readonly string[]
  /**
   * Where rejected rows go: a function, or the path of a file that gets a line of JSON for each. The
   * function may be told a row again after a crash; the file has each once, but where an import comes
   * back to it from another. Each line names `topic` and `import`, so that imports may share a file, one
   * after the other; which is looked after within a process, and on Linux between those of a machine. It
   * is for nothing else, since behind a crash what is no such line may be cut.
   */
  readonly rejects?: string | ((reject: ImportReject) => void | Promise<void>)
  /** Called after each batch; what it throws ends the import. */
  readonly onProgress?: (progress: ImportProgress) => void
  /** Ends the import, also while it waits for room in a full topic, with its reason; another run goes on. */
  readonly signal?: AbortSignal
  /** Rows that are appended at once, [1, 100000]. @defaultValue 1000 */
  readonly batchRecords?: number
  /**
   * Rows after which the position is committed, at least 1; into a queue with a cap it is after each
   * batch. @defaultValue 10000
   */
  readonly commitRecords?: number
  /**
   * Bytes of a row, [1, 512 MiB]; longer ones are rejected unread. In CSV the quotes of a row of several
   * lines that is longer count as left open: its first line is rejected, and those behind it are taken
   * for rows of their own. @defaultValue 1 MiB
   */
  readonly maxRowBytes?: number
  /** Bytes of a row group of Parquet, at least 1: it is what is in memory. @defaultValue 256 MiB */
  readonly maxRowGroupBytes?: number
  /**
   * Somebody is still writing to the file: a last row without a line end waits for a later run. Not for
   * compressed files and Parquet.
   *
   * @defaultValue false
   */
  readonly growing?: boolean
  /** Of the files that are read and written here. @defaultValue the real one */
  readonly fileSystem?: FileSystem
  /** @defaultValue the real one */
  readonly clock?: Clock
}

/** {@link ImportOptions} with what they leave out. */
export interface ResolvedImportOptions {
  readonly path: string
  readonly topic: string
  readonly name: string
  readonly format: ImportFormat
  readonly gzip: boolean
  readonly delimiter: string
  readonly toRecord: ((row: never, place: { readonly row: number }) => ImportRecord | null) | null
  readonly keyField: string | null
  readonly valueFields: readonly string[] | null
  readonly rejects: string | ((reject: ImportReject) => void | Promise<void>) | null
  /** The type of the option lets functions pass that return something. */
  readonly onProgress: (progress: ImportProgress) => unknown
  readonly signal: AbortSignal | null
  readonly batchRecords: number
  readonly commitRecords: number
  readonly maxRowBytes: number
  readonly maxRowGroupBytes: number
  readonly growing: boolean
  readonly fileSystem: FileSystem | null
  readonly clock: Clock
}

const MAX_NAME_LENGTH = 200
const MIB = 1024 * 1024

const OPTIONS: Checks<ImportOptions> = {
  topic: text,
  name: text,
  format: oneOf('ndjson', 'csv', 'parquet'),
  gzip: boolean,
  delimiter: asciiCharacter,
  toRecord: callback,
  keyField: text,
  valueFields: texts,
  rejects: (name, value) => {
    if (typeof value === 'string') checkPath(name, value)
    else callback(name, value)
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

/** Checks what an import is told and fills in the rest. @throws TypeError or RangeError */
export function resolveImportOptions<Row>(
  path: string,
  options: ImportOptions<Row>,
): ResolvedImportOptions {
  checkPath('path', path)
  const checked = checkOptions('import options', options as ImportOptions, OPTIONS)
  text('topic', checked.topic)
  const { format, gzip } = formatOf(path, checked)
  const name = checked.name ?? path
  if (name.length > MAX_NAME_LENGTH) {
    throw new RangeError(
      `name must have at most ${MAX_NAME_LENGTH} characters, got ${name.length}: ${describeValue(name)}`,
    )
  }
  const { toRecord = null, keyField = null, valueFields = null } = checked
  if (toRecord !== null && (keyField !== null || valueFields !== null)) {
    throw new TypeError('keyField and valueFields must be left out where toRecord is given')
  }
  const { growing = false } = checked
  if (growing && (gzip || format === 'parquet')) {
    throw new TypeError(
      'growing must be false for a compressed file and for Parquet, got true: they have no line ends',
    )
  }
  const { rejects = null } = checked
  // Other names of it are told once both are open.
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

/** The error for rejects that would be rows of the file itself at the next run. */
export function sameFileError(rejects: string): TypeError {
  return new TypeError(
    `rejects must be another file than the one that is imported, got ${describeValue(rejects)}`,
  )
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
  return { format: checkOneOf('format', format, ['ndjson', 'csv', 'parquet']), gzip }
}

function text(name: string, value: unknown): void {
  if (typeof value !== 'string' || value === '') {
    throw new TypeError(`${name} must be a string that is not empty, got ${describeValue(value)}`)
  }
}

function texts(name: string, value: unknown): void {
  if (!Array.isArray(value)) {
    throw new TypeError(`${name} must be an array of names, got ${describeValue(value)}`)
  }
  const each: Check = text
  for (const [slot, one] of (value as unknown[]).entries()) each(`${name}[${slot}]`, one)
}

function asciiCharacter(name: string, value: unknown): void {
  if (typeof value === 'string' && /^[\t\x20-\x7e]$/.test(value) && value !== '"') return
  throw new TypeError(
    `${name} must be one ASCII character, and not the quote, got ${describeValue(value)}`,
  )
}
