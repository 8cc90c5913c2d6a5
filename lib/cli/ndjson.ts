import { isUtf8 } from 'node:buffer'
import { reasonOf } from '../checks.ts'
import { RowSplitter, type TextRow } from '../offline/row-splitter.ts'
import { printable, thousands } from './report.ts'

/** A line of an NDJSON stream. */
export interface NdjsonLine {
  /** From 1; empty lines count too. */
  readonly lineNumber: number
  /** Without the line end. */
  readonly bytes: Buffer
  readonly value: unknown
}

/** A line that is not valid JSON. */
export interface MalformedLine {
  readonly lineNumber: number
  /** What is wrong with it, as the rest of a sentence that begins with the line. */
  readonly reason: string
}

/** Longer lines are refused, so that a file without line ends does not fill the memory. */
export const MAX_LINE_BYTES: number = 1_000_000

/**
 * Reads NDJSON line by line. Lines end with `\n` or `\r\n`, the last line also without. A byte
 * order mark before the first line is ignored. Empty lines are skipped. Invalid lines are reported
 * to `onMalformed`, and reading continues.
 */
export async function* readNdjson(
  input: AsyncIterable<Buffer>,
  onMalformed: (line: MalformedLine) => void,
): AsyncGenerator<NdjsonLine, void, undefined> {
  const from = { position: 0, line: 0 }
  const splitter = new RowSplitter({ maxRowBytes: MAX_LINE_BYTES, delimiter: null, from })
  for await (const chunk of input) yield* parsed(splitter.push(chunk), onMalformed)
  yield* parsed(splitter.end(), onMalformed)
}

function* parsed(
  rows: readonly TextRow[],
  onMalformed: (line: MalformedLine) => void,
): Generator<NdjsonLine, void, undefined> {
  for (const { line: lineNumber, bytes, fault } of rows) {
    if (fault !== null) {
      onMalformed({ lineNumber, reason: `is longer than ${thousands(MAX_LINE_BYTES)} bytes` })
    } else if (bytes.length > 0 && !isUtf8(bytes)) {
      onMalformed({ lineNumber, reason: 'is not UTF-8 text' })
    } else if (bytes.length > 0) {
      let value: unknown
      try {
        value = JSON.parse(bytes.toString())
      } catch (error) {
        onMalformed({ lineNumber, reason: `is not JSON: ${printable(reasonOf(error))}` })
        continue
      }
      yield { lineNumber, bytes, value }
    }
  }
}
