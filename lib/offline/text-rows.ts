import { isUtf8 } from 'node:buffer'
import { ImportFileChangedError } from './import-errors.ts'
import type { InputFile } from './input-file.ts'
import type { ImportFormat, ImportReject, ResolvedImportOptions } from './import-options.ts'
import { excerptOf, type Cursor, type RowBatch, type SourceRow } from './row-source.ts'
import { RowSplitter, type TextRow } from './row-splitter.ts'

/** A row of a text, with its number. */
export interface NumberedRow extends TextRow {
  readonly row: number
}

/** Parses rows of text. A row that it cannot parse becomes a reject. */
export type RowParser = (rows: readonly NumberedRow[]) => (SourceRow | ImportReject)[]

type TextOptions = Pick<
  ResolvedImportOptions,
  'name' | 'gzip' | 'batchRecords' | 'maxRowBytes' | 'growing' | 'format' | 'delimiter'
>

const BATCH_BYTES = 1024 * 1024
const JSON_SPACE: Buffer = Buffer.from(' \t\n')
const NEWLINE = 0x0a
const RETURN = 0x0d

/** Iterates over the pieces of a text that may be rows. Empty pieces are not rows. */
export async function* textRows(
  file: InputFile,
  options: TextOptions,
  from: Cursor,
): AsyncGenerator<TextRow[], void, undefined> {
  const delimiter = options.format === 'csv' ? options.delimiter : null
  const splitter = new RowSplitter({ maxRowBytes: options.maxRowBytes, delimiter, from })
  let mustEndRow = from.isOpenEnd
  for await (const chunk of file.chunks(from.position, options.gzip)) {
    if (mustEndRow && !mayBeLineEnd(chunk)) {
      const reason =
        'the last imported row had no line end and has grown; growing: true waits for the line end'
      throw new ImportFileChangedError(file.path, options.name, reason)
    }
    mustEndRow = false
    yield splitter.push(chunk)
  }
  const rest = splitter.end()
  // Only a part of the last row may be written so far, perhaps up to a line end in a quoted field.
  yield options.growing ? rest.slice(0, unfinishedFrom(rest)) : rest
}

/** A carriage return inside of a row is a part of it. */
function mayBeLineEnd(chunk: Buffer): boolean {
  if (chunk[0] === RETURN && chunk.length > 1) return chunk[1] === NEWLINE
  return chunk[0] === NEWLINE || chunk[0] === RETURN
}

/** Iterates over the rows of a text in batches. */
export async function* parsedRows(
  file: InputFile,
  options: TextOptions,
  from: Cursor,
  parse: RowParser,
): AsyncGenerator<RowBatch, void, undefined> {
  let row = from.row
  for await (const texts of textRows(file, options, from)) {
    let batch: NumberedRow[] = []
    let sizeBytes = 0
    let end: Cursor | null = null
    for (const text of texts) {
      // Of a row that is too long only the beginning is known.
      const blank = text.fault === null && isBlank(text.bytes, options.format)
      if (!blank) row += 1
      // What follows white space at the end is a row of its own and changes none before it.
      const isOpenEnd = text.isOpenEnd && !blank
      end = { row, line: text.endLine, position: text.endPosition, isOpenEnd }
      if (blank) continue
      batch.push({ row, ...text })
      sizeBytes += text.bytes.length
      if (batch.length < options.batchRecords && sizeBytes < BATCH_BYTES) continue
      yield toBatch(batch, end, options, parse)
      batch = []
      sizeBytes = 0
      end = null
    }
    if (end !== null) yield toBatch(batch, end, options, parse)
  }
}

/** The reject of a row of which only the text is known. */
export function rejectOf(
  { row, line, bytes, startPosition: start, endPosition: end }: NumberedRow,
  code: ImportReject['code'],
  reason: string,
): ImportReject {
  return { row, line, start, end, code, reason, text: excerptOf(bytes) }
}

/** A row that was parsed, with its place in the file. */
export function sourceRowOf(
  { row, line, bytes: text, startPosition: start, endPosition: end }: NumberedRow,
  parsed: Pick<SourceRow, 'value' | 'bytes'>,
): SourceRow {
  return { row, line, start, end, text, ...parsed }
}

function toBatch(
  batch: readonly NumberedRow[],
  end: Cursor,
  { maxRowBytes }: TextOptions,
  parse: RowParser,
): RowBatch {
  const rows: SourceRow[] = []
  const rejects: ImportReject[] = []
  const good: NumberedRow[] = []
  for (const each of batch) {
    if (each.fault !== null) {
      const code = each.fault === 'too-long' ? 'TOO_LARGE' : 'MALFORMED'
      rejects.push(rejectOf(each, code, reasonOfFault(each.fault, each.endLine, maxRowBytes)))
    } else if (isUtf8(each.bytes)) {
      good.push(each)
    } else {
      rejects.push(rejectOf(each, 'MALFORMED', 'it is not UTF-8'))
    }
  }
  for (const parsed of parse(good)) {
    if ('reason' in parsed) rejects.push(parsed)
    else rows.push(parsed)
  }
  return { rows, rejects, end }
}

/** Why a piece of text is no row. @param endLine its last line */
export function reasonOfFault(
  fault: NonNullable<TextRow['fault']>,
  endLine: number,
  maxRowBytes: number,
): string {
  if (fault === 'too-long') return `the row has more than ${maxRowBytes} bytes`
  if (fault === 'open-quote') return 'a quote is not closed'
  return (
    `the quoted field that begins on line ${endLine} does not end at its next quote, ` +
    'so the lines after that one count as rows'
  )
}

/** Index of the first piece that may be incomplete. */
function unfinishedFrom(rest: readonly TextRow[]): number {
  const slot = rest.findIndex(({ fault, isOpenEnd }) => isOpenEnd || fault === 'open-quote')
  return slot < 0 ? rest.length : slot
}

/** White space does not make a CSV row blank, as its fields may contain nothing else. */
function isBlank(bytes: Buffer, format: ImportFormat): boolean {
  return bytes.every((byte) => byte === RETURN || (format !== 'csv' && JSON_SPACE.includes(byte)))
}
