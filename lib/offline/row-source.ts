import type { ImportReject } from './import-options.ts'

/** A position in a file. */
export interface Cursor {
  /** Number of rows before it. */
  readonly row: number
  /** Number of lines before it; 0 in Parquet. */
  readonly line: number
  /** Bytes of text before it; in Parquet the number of rows. */
  readonly position: number
  /** Whether the row before it ended with the file, without a line end. */
  readonly isOpenEnd: boolean
}

/** The beginning of a file. */
export const FILE_START: Cursor = { row: 0, line: 0, position: 0, isOpenEnd: false }

/** One row as read from a file. */
export interface SourceRow {
  /** From 1. */
  readonly row: number
  readonly line: number | null
  /** Bytes of text before the row and before what follows it; `null` in Parquet. */
  readonly start: number | null
  readonly end: number | null
  /** The row as passed to `toRecord`, which may change it. */
  readonly value: unknown
  /** The row's text in the file; `null` in Parquet, which has none. */
  readonly text: Buffer | null
  /** The record's value unless options change it; `null` if that is the row as JSON. */
  readonly bytes: Buffer | null
}

/** Rows that were read together. */
export interface RowBatch {
  readonly rows: readonly SourceRow[]
  readonly rejects: readonly ImportReject[]
  /** Position after the last of them. */
  readonly end: Cursor
}

/** Reads a file as rows. */
export interface RowSource {
  /** Iterates over the rows after `from`, with bounded memory. Only one iteration at a time. */
  read(from: Cursor): AsyncGenerator<RowBatch, void, undefined>
}

const TEXT_CHARACTERS = 200

/** The beginning of a row, for messages. */
export function excerptOf(bytes: Buffer): string {
  // A character has at most four bytes. An incomplete one at the end does not matter.
  return bytes
    .subarray(0, 4 * TEXT_CHARACTERS)
    .toString('utf8')
    .slice(0, TEXT_CHARACTERS)
}
