import { isUtf8 } from 'node:buffer'
import type { RecordHeader, StoredRecord } from '../index.ts'
import { describeValue, isWellFormed } from '../checks.ts'
import {
  columnsOf,
  fieldValue,
  losesFraction,
  timestampOf,
  type FieldColumn,
  type Fields,
  type JsonObject,
  type JsonSample,
} from './fields.ts'
import { mayLoseDigits, rawFields } from './raw-fields.ts'

/** Type of a column. JSON is stored as text, timestamps as milliseconds since the epoch. */
export type ColumnType = 'int' | 'double' | 'string' | 'boolean' | 'timestamp' | 'json' | 'bytes'

/** A column of a row. */
export interface Column {
  readonly name: string
  readonly type: ColumnType
}

/** A value of a row. Text and JSON are strings, or UTF-8 bytes from the log. */
export type Cell = number | string | boolean | Buffer | null

/** One value for each column. */
export type Row = readonly Cell[]

/** How keys and values are read. */
export interface RowShapeOptions {
  readonly key: 'text' | 'bytes'
  readonly value: 'text' | 'json' | 'bytes'
  /** The value's fields, which replace the value; `null` for the value as a whole. */
  readonly fields: Fields | null
}

/** The column `headers` of a record without any, which is the usual case. */
const NO_HEADERS = '[]'
const SHORT_BYTES = 32
/** Offset, timestamp, key and headers, which precede the fields. */
const FIXED_COLUMNS = 4

/** Converts records to rows. */
export class RowShape {
  readonly columns: readonly Column[]
  readonly #options: RowShapeOptions
  readonly #fields: readonly FieldColumn[]
  /** Fields that have a column; the others go to `rest`. */
  readonly #known: ReadonlySet<string>
  /** Reused for each record. */
  readonly #row: Cell[]

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
    this.#row = this.columns.map(() => null)
  }

  /** @returns the row of a record, valid until the next call, or the reason why it does not fit. */
  rowOf({ offset, timestamp, key, value, headers }: StoredRecord): Row | string {
    const at = timestamp === -1 ? null : timestampOf(timestamp)
    if (at === null && timestamp !== -1) {
      return `the timestamp ${timestamp} is not within the years 1 to 9999`
    }
    if (this.#options.key === 'text' && key !== null && !isText(key)) return 'the key is not UTF-8'
    const row = this.#row
    row[0] = offset
    row[1] = at
    row[2] = key
    const headersText = headers.length === 0 ? NO_HEADERS : headersAsJson(headers)
    if (this.#options.fields !== null) {
      row[3] = headersText
      return this.#takeApart(value) ?? row
    }
    row[3] = value
    row[4] = headersText
    if (value === null || this.#options.value === 'bytes') return row
    if (!isText(value)) return 'the value is not UTF-8'
    return (this.#options.value === 'json' ? whyNotJson(value) : null) ?? row
  }

  /** Puts the fields of a value into the row. @returns why they do not fit, or `null` */
  #takeApart(value: Buffer | null): string | null {
    const row = this.#row
    if (value === null) {
      row.fill(null, FIXED_COLUMNS)
      return null
    }
    const text = textOf(value)
    if (text === undefined) return 'the value is not UTF-8'
    const object = parseObject(text)
    if (typeof object === 'string') return object
    try {
      return this.#takeFields(object, mayLoseDigits(text) ? rawFields(text) : null)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      // JSON.parse accepts deeper nesting than JSON.stringify. One record must not block a load
      // forever.
      return this.#takeFields(object, rawFields(text))
    }
  }

  /** @param raw the fields as written, if stringifying them could fail or lose digits */
  #takeFields(object: JsonObject, raw: ReadonlyMap<string, string> | null): string | null {
    const row = this.#row
    let found = 0
    let at = FIXED_COLUMNS
    for (const { field, type } of this.#fields) {
      const isThere = Object.hasOwn(object, field)
      if (isThere) found += 1
      const own = isThere ? object[field] : undefined
      const text = raw?.get(field)
      if (text !== undefined && losesFraction(type, own, text)) {
        return `the field '${field}' is not ${type}: a number with a fraction`
      }
      const asWritten = type === 'json' && own !== null ? text : undefined
      const shaped = asWritten ?? fieldValue(type, own)
      if (shaped === undefined) return `the field '${field}' is not ${type}: ${describeJson(own)}`
      row[at] = shaped
      at += 1
    }
    row[at] = Object.keys(object).length === found ? null : this.#restOf(object, raw)
    return null
  }

  #restOf(object: JsonObject, raw: ReadonlyMap<string, string> | null): string {
    const others = Object.entries(object).filter(([field]) => !this.#known.has(field))
    if (raw === null) return JSON.stringify(Object.fromEntries(others))
    const texts = others.map(([field]) => `${JSON.stringify(field)}:${raw.get(field) ?? 'null'}`)
    return `{${texts.join(',')}}`
  }
}

/** The sample that fields are inferred from; `null` if the value is not an object. */
export function sampleOf(value: Buffer): JsonSample | null {
  const text = textOf(value) ?? ''
  const object = parseObject(text)
  if (typeof object === 'string') return null
  return { object, raw: mayLoseDigits(text) ? rawFields(text) : null }
}

function parseObject(text: string): JsonObject | string {
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) {
      return parsed as JsonObject
    }
    return `the value is not a JSON object: ${describeJson(parsed)}`
  } catch {
    return 'the value is not JSON'
  }
}

/** Describes a parsed value. One that differs from what is written is not quoted. */
function describeJson(value: unknown): string {
  if (typeof value === 'string' && !isWellFormed(value)) return 'text with an unpaired surrogate'
  if (typeof value !== 'number') return describeValue(value)
  if (!Number.isFinite(value)) return 'a number beyond the range of a double'
  const isExact = Math.abs(value) <= Number.MAX_SAFE_INTEGER
  return isExact ? describeValue(value) : 'a number beyond ±(2^53 − 1)'
}

/** `undefined` if the bytes are not UTF-8. */
function textOf(bytes: Buffer): string | undefined {
  return isText(bytes) ? bytes.toString('utf8') : undefined
}

/** For a few bytes, a loop is cheaper than a native call. */
function isText(bytes: Buffer): boolean {
  if (bytes.length > SHORT_BYTES) return isUtf8(bytes)
  for (let index = 0; index < bytes.length; index += 1) {
    if ((bytes[index] ?? 0) >= 0x80) return isUtf8(bytes)
  }
  return true
}

function whyNotJson(text: Buffer): string | null {
  try {
    JSON.parse(text.toString('utf8'))
    return null
  } catch {
    return 'the value is not JSON'
  }
}

/** Header values that are not UTF-8 are in base64, under the name `base64`. */
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
