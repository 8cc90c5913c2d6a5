import { isUtf8 } from 'node:buffer'
import type { RecordHeader, StoredRecord } from '../index.ts'
import { describeValue } from '../checks.ts'
import {
  columnsOf,
  fieldValue,
  isWellFormed,
  timestampOf,
  type FieldColumn,
  type Fields,
  type JsonObject,
} from './fields.ts'

/** Type of a column. JSON is kept as text, timestamps as milliseconds since the epoch. */
export type ColumnType = 'int' | 'double' | 'string' | 'boolean' | 'timestamp' | 'json' | 'bytes'

/** A column of a row. */
export interface Column {
  readonly name: string
  readonly type: ColumnType
}

/** One value for each column. */
export type Row = readonly (number | string | boolean | Buffer | null)[]

/** How keys and values are taken. */
export interface RowShapeOptions {
  readonly key: 'text' | 'bytes'
  readonly value: 'text' | 'json' | 'bytes'
  /** The value's own fields, in place of the value; `null` for the value as a whole. */
  readonly fields: Fields | null
}

/** What is so of every record that has no more than its value in the log. */
const NO_HEADERS = '[]'

/** Makes rows of records. */
export class RowShape {
  readonly columns: readonly Column[]
  readonly #options: RowShapeOptions
  readonly #fields: readonly FieldColumn[]
  /** Fields that have a column; the others go to `rest`. */
  readonly #known: ReadonlySet<string>

  constructor(options: RowShapeOptions) {
    this.#options = options
    const keyType = options.key === 'bytes' ? 'bytes' : 'string'
    const { fields, value } = options
    this.#fields = columnsOf(fields ?? {})
    this.#known = new Set(this.#fields.map(({ field }) => field))
    const place: Column[] = [
      { name: 'offset', type: 'int' },
      { name: 'timestamp', type: 'timestamp' },
      { name: 'key', type: keyType },
    ]
    const headers: Column = { name: 'headers', type: 'json' }
    this.columns =
      fields === null
        ? [...place, { name: 'value', type: value === 'text' ? 'string' : value }, headers]
        : [
            ...place,
            headers,
            ...this.#fields.map(({ column: name, type }) => ({ name, type })),
            { name: 'rest', type: 'json' },
          ]
  }

  /** @returns the row of a record, or why it does not fit. */
  rowOf({ offset, timestamp, key, value, headers }: StoredRecord): Row | string {
    const at = timestamp === -1 ? null : timestampOf(timestamp)
    if (at === null && timestamp !== -1) {
      return `the timestamp ${timestamp} is not within the years 1 to 9999`
    }
    const shapedKey = this.#options.key === 'bytes' || key === null ? key : textOf(key)
    if (shapedKey === undefined) return 'the key is not UTF-8'
    const headersText = headers.length === 0 ? NO_HEADERS : headersAsJson(headers)
    if (this.#options.fields !== null) {
      const own = this.#fieldsOf(value)
      return typeof own === 'string' ? own : [offset, at, shapedKey, headersText, ...own]
    }
    if (value === null || this.#options.value === 'bytes') {
      return [offset, at, shapedKey, value, headersText]
    }
    const text = textOf(value)
    if (text === undefined) return 'the value is not UTF-8'
    if (this.#options.value === 'text') return [offset, at, shapedKey, text, headersText]
    const reason = whyNotJson(text)
    // Within JSON a line break is nothing but white space: those of strings are escaped.
    return reason ?? [offset, at, shapedKey, text.replace(/[\r\n]/g, ' '), headersText]
  }

  #fieldsOf(value: Buffer | null): Row | string {
    if (value === null) return [...this.#fields.map(() => null), null]
    const object = jsonObjectOf(value)
    if (typeof object === 'string') return object
    const row: (number | string | boolean | null)[] = []
    for (const { field, type } of this.#fields) {
      const own = Object.hasOwn(object, field) ? object[field] : undefined
      const shaped = fieldValue(type, own)
      if (shaped === undefined) return `the field '${field}' is not ${type}: ${describeValue(own)}`
      row.push(shaped)
    }
    const others = Object.entries(object).filter(([field]) => !this.#known.has(field))
    row.push(others.length === 0 ? null : JSON.stringify(Object.fromEntries(others)))
    return row
  }
}

/** The object that a value is, or why it is none. */
export function jsonObjectOf(value: Buffer): JsonObject | string {
  const text = textOf(value)
  if (text === undefined) return 'the value is not UTF-8'
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) {
      return parsed as JsonObject
    }
    return `the value is not a JSON object: ${describeValue(parsed)}`
  } catch {
    return 'the value is not JSON'
  }
}

/** `undefined` where the bytes are no text. */
function textOf(bytes: Buffer): string | undefined {
  return isUtf8(bytes) ? bytes.toString('utf8') : undefined
}

function whyNotJson(text: string): string | null {
  try {
    JSON.parse(text)
    return null
  } catch {
    return 'the value is not JSON'
  }
}

/** Values that are no text are in base64, under a name that says so. */
function headersAsJson(headers: readonly RecordHeader[]): string {
  return JSON.stringify(
    headers.map(({ key, value }) => {
      const text = value === null ? null : textOf(value)
      const name = isWellFormed(key) ? key : key.replace(/\p{Surrogate}/gu, '\ufffd')
      return text === undefined
        ? { key: name, base64: value?.toString('base64') }
        : { key: name, value: text }
    }),
  )
}
