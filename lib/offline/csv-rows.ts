import { isUtf8 } from 'node:buffer'
import { reasonOf } from '../checks.ts'
import type * as csvParse from 'csv-parse/sync'
import type { InputFile } from './input-file.ts'
import { importError } from './optional-module.ts'
import { ImportFileError } from './import-errors.ts'
import type { ImportReject, ResolvedImportOptions } from './import-options.ts'
import {
  FILE_START,
  type Cursor,
  type RowBatch,
  type RowSource,
  type SourceRow,
} from './row-source.ts'
import type { TextRow } from './row-splitter.ts'
import {
  parsedRows,
  reasonOfFault,
  rejectOf,
  sourceRowOf,
  textRows,
  type NumberedRow,
} from './text-rows.ts'

type ParseCsv = (bytes: Buffer) => string[][]

const NEWLINE: Buffer = Buffer.from('\n')
const QUOTED = /"(?:[^"]|"")*"/g
/** How csv-parse reports a line. It does so before it quotes any of the row. */
const AT_LINE = / at line (\d+)/
/** No rows, for a file whose header is still being written. */
const NO_ROWS: RowSource = { read: (from) => parsedNothing(from) }

/**
 * A file with a header and one row of fields for each record. A quoted field may contain
 * delimiters, line ends and doubled quotes.
 *
 * This class splits the file into rows, and csv-parse splits whole rows into fields. On its own,
 * csv-parse would not find the end of a malformed row, nor where to continue after a crash.
 */
export class CsvRows implements RowSource {
  readonly #file: InputFile
  readonly #options: ResolvedImportOptions
  readonly #parse: ParseCsv
  readonly #header: readonly string[]
  readonly #headerEnd: Cursor

  private constructor(
    file: InputFile,
    options: ResolvedImportOptions,
    parse: ParseCsv,
    header: { readonly names: readonly string[]; readonly end: Cursor },
  ) {
    this.#file = file
    this.#options = options
    this.#parse = parse
    this.#header = header.names
    this.#headerEnd = header.end
  }

  /**
   * Reads the header.
   *
   * @throws {@link MissingModuleError}, {@link ImportFileError} if there is no usable header
   * @throws RangeError if a requested field is not in the header
   */
  static async open(file: InputFile, options: ResolvedImportOptions): Promise<RowSource> {
    const { parse } = await loadCsvParse()
    const parseRows: ParseCsv = (bytes) =>
      parse(bytes, {
        delimiter: options.delimiter,
        record_delimiter: '\n',
        relax_column_count: true,
      })
    const header = await readHeader(file, options, parseRows)
    if (header === null) return NO_ROWS
    const { keyField, valueFields } = options
    for (const field of [keyField, ...(valueFields ?? [])]) {
      if (field === null || header.names.includes(field)) continue
      throw new RangeError(
        `keyField and valueFields must be in the header (${header.names.join(', ')}), got '${field}'`,
      )
    }
    return new CsvRows(file, options, parseRows, header)
  }

  read(from: Cursor): AsyncGenerator<RowBatch, void, undefined> {
    const start = from.position < this.#headerEnd.position ? this.#headerEnd : from
    return parsedRows(this.#file, this.#options, start, (rows) => this.#parseRows(rows))
  }

  /** Parses all rows at once, which is faster, and one by one if one of them is bad. */
  #parseRows(rows: readonly NumberedRow[]): (SourceRow | ImportReject)[] {
    try {
      const parsed = this.#parse(Buffer.concat(rows.flatMap(({ bytes }) => [bytes, NEWLINE])))
      if (parsed.length === rows.length) {
        return rows.map((each, slot) => this.#toRow(each, parsed[slot] ?? []))
      }
    } catch {
      // The bad row and the reason are found below.
    }
    return rows.map((each) => {
      try {
        const [fields, ...more] = this.#parse(each.bytes)
        if (fields !== undefined && more.length === 0) return this.#toRow(each, fields)
        return rejectOf(each, 'MALFORMED', `it contains ${1 + more.length} rows`)
      } catch (error) {
        return rejectOf(each, 'MALFORMED', faultOf(error, each.line))
      }
    })
  }

  #toRow(text: NumberedRow, fields: readonly string[]): SourceRow | ImportReject {
    const names = this.#header
    if (fields.length !== names.length) {
      return rejectOf(
        text,
        'MALFORMED',
        `it has ${fields.length} fields, but the header has ${names.length}`,
      )
    }
    const value = Object.fromEntries(names.map((name, slot) => [name, fields[slot] ?? '']))
    return sourceRowOf(text, { value, bytes: null })
  }
}

async function loadCsvParse(): Promise<typeof csvParse> {
  try {
    return await import('csv-parse/sync')
  } catch (error) {
    throw importError(error, 'csv-parse', 'the import of CSV')
  }
}

async function* parsedNothing(end: Cursor): AsyncGenerator<RowBatch, void, undefined> {
  yield await Promise.resolve({ rows: [], rejects: [], end })
}

/** @returns `null` if the header is still being written */
async function readHeader(
  file: InputFile,
  options: ResolvedImportOptions,
  parse: ParseCsv,
): Promise<{ names: readonly string[]; end: Cursor } | null> {
  for await (const rows of textRows(file, options, FILE_START)) {
    const first = rows.find(({ bytes }) => bytes.length > 0)
    if (first === undefined) continue
    if (!isUtf8(first.bytes)) throw new ImportFileError(file.path, 'its header is not UTF-8')
    ensureOneLine(first.bytes, file)
    if (first.fault !== null) {
      const reason = reasonOfFault(first.fault, first.endLine, options.maxRowBytes)
      throw new ImportFileError(file.path, `its header is malformed: ${reason}`)
    }
    const names = namesIn(first, file, parse)
    if (names.length === 0) throw new ImportFileError(file.path, 'its header is malformed')
    const repeated = names.find((name, slot) => names.indexOf(name) !== slot)
    if (repeated !== undefined) {
      throw new ImportFileError(file.path, `its header has '${repeated}' twice`)
    }
    const { endPosition, endLine, isOpenEnd } = first
    return { names, end: { row: 0, line: endLine, position: endPosition, isOpenEnd } }
  }
  if (options.growing) return null
  throw new ImportFileError(file.path, 'it has no header')
}

/** If lines ended with a lone carriage return, the header would contain the whole file. */
function ensureOneLine(header: Buffer, file: InputFile): void {
  if (!header.toString('utf8').replace(QUOTED, '').includes('\r')) return
  throw new ImportFileError(
    file.path,
    'its header has a carriage return outside of quotes: lines must end with \\n or \\r\\n',
  )
}

function namesIn({ bytes, line }: TextRow, file: InputFile, parse: ParseCsv): readonly string[] {
  try {
    return parse(bytes)[0] ?? []
  } catch (cause) {
    const reason = `its header is malformed: ${faultOf(cause, line)}`
    throw new ImportFileError(file.path, reason, { cause })
  }
}

/** csv-parse gets a single row and counts its lines from 1; the message gets the file's line. */
function faultOf(error: unknown, line: number): string {
  return reasonOf(error).replace(AT_LINE, (_, own) => ` at line ${line + Number(own) - 1}`)
}
