import type { ImportReject } from './import-options.ts'

/** Where a file was read up to. */
export interface Cursor {
  /** Rows before it. */
  readonly row: number
  /** Lines before it; 0 in Parquet. */
  readonly line: number
  /** Bytes of text before it; in Parquet that is the row. */
  readonly position: number
  /** Whether the row before it ended with the file, and not with a line end. */
  readonly isOpenEnd: boolean
}

/** The beginning of a file. */
export const FILE_START: Cursor = { row: 0, line: 0, position: 0, isOpenEnd: false }

/** One row as it was read. */
export interface SourceRow {
  /** From 1. */
  readonly row: number
  readonly line: number | null
  /** What the row is to `toRecord`, which may change it. */
  readonly value: unknown
  /** The row as it stands in the file; `null` in Parquet, which has none. */
  readonly text: Buffer | null
  /** The bytes that are the record's value where nothing else is asked; `null`: the value as JSON. */
  readonly bytes: Buffer | null
}

/** Rows that were read together. */
export interface RowBatch {
  readonly rows: readonly SourceRow[]
  readonly rejects: readonly ImportReject[]
  /** Behind the last of them. */
  readonly end: Cursor
}

/** A file as rows. */
export interface RowSource {
  /** Goes through the rows behind `from`; memory is bounded. One at a time. */
  read(from: Cursor): AsyncGenerator<RowBatch, void, undefined>
}

const TEXT_CHARACTERS = 200

/** How a row begins, for people. */
export function excerptOf(bytes: Buffer): string {
  // A character has at most four bytes; one that is cut in two is not worth a look.
  return bytes
    .subarray(0, 4 * TEXT_CHARACTERS)
    .toString('utf8')
    .slice(0, TEXT_CHARACTERS)
}
