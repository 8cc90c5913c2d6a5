import { types } from 'node:util'
import { describeValue, isOpaque, isWellFormed, refuseThenable, reasonOf } from '../checks.ts'
import type { AppendRecord } from '../index.ts'
import type { ImportRecord, ImportReject, ResolvedImportOptions } from './import-options.ts'
import { mayLoseDigits, rawFields } from './raw-fields.ts'
import { excerptOf, type SourceRow } from './row-source.ts'

const NO_FIELDS: ReadonlyMap<string, string> = new Map()

/** Fields that a record may have. */
const FIELDS = ['key', 'value', 'headers', 'timestamp', 'partition']

type RecordOptions = Pick<ResolvedImportOptions, 'toRecord' | 'keyField' | 'valueFields'>

/** The record of a row; `null` to skip it. @throws the error of `toRecord`, or why it is none */
export function recordOfRow(source: SourceRow, options: RecordOptions): ImportRecord | null {
  const { toRecord } = options
  if (toRecord === null) return defaultRecord(source, options)
  const record: unknown = toRecord(source.value as never, { row: source.row })
  if (record === null) return null
  refuseThenable('toRecord must return a record or null', record)
  if (typeof record !== 'object' || isOpaque(record, FIELDS)) {
    throw new TypeError(`toRecord must return a record or null, got ${describeValue(record)}`)
  }
  return record
}

/** @throws TypeError for text that UTF-8 cannot represent, and that would be stored as other text */
export function checkText({ key, value, headers = [] }: AppendRecord): void {
  checkWellFormed('key', key)
  checkWellFormed('value', value)
  const items = Symbol.iterator in headers ? headers : Object.entries(headers)
  for (const item of items as Iterable<unknown>) {
    // The append refuses anything else.
    const { key: ownName, value: ownText } = (item ?? {}) as { key?: unknown; value?: unknown }
    const [name, text] = Array.isArray(item) ? (item as unknown[]) : [ownName, ownText]
    checkWellFormed("a header's key", name)
    checkWellFormed(`value of header ${describeValue(name)}`, text)
  }
}

function checkWellFormed(what: string, text: unknown): void {
  if (typeof text !== 'string' || isWellFormed(text)) return
  throw new TypeError(`${what} must not have a lone surrogate, got ${describeValue(text)}`)
}

/** The reject of a row that was read. */
export function rejectRow(
  { row, line, start, end, text: whole }: SourceRow,
  code: ImportReject['code'],
  error: unknown,
): ImportReject {
  const text = whole === null ? null : excerptOf(whole)
  return { row, line, start, end, code, reason: reasonOf(error), text }
}

function defaultRecord(source: SourceRow, { keyField, valueFields }: RecordOptions): ImportRecord {
  const { value, bytes } = source
  if (keyField === null && valueFields === null) return { key: null, value: bytes ?? toJson(value) }
  const fields = fieldsOf(value)
  const raw = rawNumbersOf(source)
  const key = keyField === null ? null : keyOf(fields, keyField, raw)
  if (valueFields === null) return { key, value: bytes ?? toJson(value) }
  const texts: string[] = []
  for (const field of valueFields) {
    if (!Object.hasOwn(fields, field)) continue
    texts.push(`${JSON.stringify(field)}:${raw.get(field) ?? toJson(fields[field])}`)
  }
  return { key, value: `{${texts.join(',')}}` }
}

/** The text as written of those fields whose numbers may have lost digits. */
function rawNumbersOf({ bytes }: SourceRow): ReadonlyMap<string, string> {
  const text = bytes?.toString('utf8') ?? ''
  if (!mayLoseDigits(text)) return NO_FIELDS
  // Checked per field, as other fields of a row must not change the key of the same value.
  return new Map([...rawFields(text)].filter(([, each]) => mayLoseDigits(each)))
}

function keyOf(
  fields: Readonly<Record<string, unknown>>,
  field: string,
  raw: ReadonlyMap<string, string>,
): string | Uint8Array | null {
  if (!Object.hasOwn(fields, field)) throw new TypeError(`it has no field '${field}' for the key`)
  const key = fields[field]
  if (key === null || key === undefined) return null
  if (typeof key === 'string' || types.isUint8Array(key)) return key
  // As text and not as JSON, which puts large integers in quotes: the same id is the same key.
  if (typeof key === 'bigint') return key.toString()
  if (key instanceof Date && !Number.isNaN(key.getTime())) return key.toISOString()
  return raw.get(field) ?? toJson(key)
}

function fieldsOf(row: unknown): Readonly<Record<string, unknown>> {
  if (typeof row === 'object' && row !== null && !Array.isArray(row)) {
    return row as Readonly<Record<string, unknown>>
  }
  throw new TypeError(`it must be an object to have fields, got ${describeValue(row)}`)
}

/**
 * The JSON of a value that a file may contain. An integer beyond the precision of a number becomes
 * text, and bytes become base64.
 *
 * @throws TypeError for a number or a date that JSON would replace with null, and for values that
 * are nested too deeply.
 */
function toJson(value: unknown): string {
  function replace(this: Record<string, unknown>, name: string, each: unknown): unknown {
    if (typeof each === 'bigint') {
      return Number.isSafeInteger(Number(each)) ? Number(each) : each.toString()
    }
    if (types.isUint8Array(each)) return Buffer.from(each).toString('base64')
    // A date arrives as the result of its `toJSON`, so this looks at the original value.
    if (isNoNumber(this[name])) {
      const what = name === '' ? 'it' : `its field '${name}'`
      throw new TypeError(`${what} cannot be written as JSON: ${String(this[name])}`)
    }
    return each
  }
  try {
    return JSON.stringify(value, replace)
  } catch (error) {
    // `JSON.parse` accepts deeper nesting than `JSON.stringify`.
    if (!(error instanceof RangeError)) throw error
    throw new TypeError('it is nested too deeply to be written as JSON', { cause: error })
  }
}

function isNoNumber(value: unknown): boolean {
  if (typeof value === 'number') return !Number.isFinite(value)
  return value instanceof Date && Number.isNaN(value.getTime())
}
