import { reasonOf } from '../checks.ts'
import type { InputFile } from './input-file.ts'
import type { ResolvedImportOptions } from './import-options.ts'
import { type Cursor, type RowBatch, type RowSource } from './row-source.ts'
import { parsedRows, rejectOf, sourceRowOf, type RowParser } from './text-rows.ts'

/** A file with one JSON value per line. */
export class NdjsonRows implements RowSource {
  readonly #file: InputFile
  readonly #options: ResolvedImportOptions

  constructor(file: InputFile, options: ResolvedImportOptions) {
    this.#file = file
    this.#options = options
  }

  read(from: Cursor): AsyncGenerator<RowBatch, void, undefined> {
    return parsedRows(this.#file, this.#options, from, parseJson)
  }
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
