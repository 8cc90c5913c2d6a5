import { reasonOf } from '../checks.ts'
import type { InputFile } from './input-file.ts'
import type { ResolvedImportOptions } from './import-options.ts'
import type { RowSource } from './row-source.ts'
import { parsedRows, rejectOf, sourceRowOf, type RowParser } from './text-rows.ts'

/** A file with one JSON value per line. */
export function ndjsonRows(file: InputFile, options: ResolvedImportOptions): RowSource {
  return { read: (from) => parsedRows(file, options, from, parseJson) }
}

const parseJson: RowParser = (rows) =>
  rows.map((each) => {
    try {
      const value: unknown = JSON.parse(each.bytes.toString('utf8'))
      return sourceRowOf(each, { value, bytes: each.bytes })
    } catch (error) {
      return rejectOf(each, 'MALFORMED', `it is not JSON: ${reasonOf(error)}`)
    }
  })
