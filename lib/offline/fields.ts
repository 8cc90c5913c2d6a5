import { checkOneOf, describeValue, isPlainObject, isWellFormed } from '../checks.ts'
import { isWhole } from './raw-fields.ts'

/** All field types. */
export const FIELD_TYPES: readonly FieldType[] = [
  'int',
  'double',
  'string',
  'boolean',
  'timestamp',
  'json',
]

/**
 * The type that a field must have.
 *
 * - `'int'`: a whole number from -(2^53 - 1) to 2^53 - 1.
 * - `'double'`: any number.
 * - `'string'`, `'boolean'`.
 * - `'timestamp'`: a date such as `2024-01-31`, a time with its zone such as
 *   `2024-01-31T12:00:00Z`, or milliseconds since the epoch. The year must be 0001 to 9999.
 * - `'json'`: any value, kept as JSON text.
 *
 * `null` and a missing field are valid for every type.
 */
export type FieldType = 'int' | 'double' | 'string' | 'boolean' | 'timestamp' | 'json'

/** The fields of a value that become columns, in column order. All other fields go to `rest`. */
export type Fields = Readonly<Record<string, FieldType>>

/** A field of the value and its column. */
export interface FieldColumn {
  readonly field: string
  readonly column: string
  readonly type: FieldType
}

/** Columns that every table has, and those that readers derive from the directory names. */
const TAKEN_COLUMNS = ['offset', 'timestamp', 'key', 'headers', 'rest', 'topic', 'partition']

/** Prefix of the column name if the field's own name is taken. */
const PREFIX = 'value_'

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Limit of inferred fields, as no table should have more columns. Further fields go to `rest`. */
const MAX_INFERRED_FIELDS = 500

/** Start of year 1 and end of year 9999: the range of timestamps that every reader accepts. */
const MIN_TIMESTAMP = -62_135_596_800_000
const MAX_TIMESTAMP = 253_402_300_799_999
/** Requires a zone, because a time without one would mean a different instant on each machine. */
const ISO_TIME = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d))?$/
const DAYS_OF_EVERY_MONTH = 28

/**
 * @throws TypeError unless `value` maps fields to types and every field name is usable: not empty,
 * not the name of another column, and not equal to another field's name except for case, as
 * readers ignore case.
 */
export function checkFields(name: string, value: unknown): void {
  if (value === 'infer') return
  if (!isPlainObject(value)) {
    throw new TypeError(
      `${name} must be 'infer' or an object of fields and types, got ${describeValue(value)}`,
    )
  }
  checkColumns(name, value, { taken: TAKEN_COLUMNS, columnOf: (field) => field })
}

/**
 * Checks fields that are stored with a topic. Unlike for {@link checkFields}, a field may have the
 * name of another column: its own column has the prefix `value_`.
 *
 * @returns the fields
 * @throws TypeError
 */
export function checkStoredFields(name: string, value: unknown): Fields {
  if (!isPlainObject(value)) {
    throw new TypeError(
      `${name} must be an object of fields and types, got ${describeValue(value)}`,
    )
  }
  checkColumns(name, value, { taken: [], columnOf })
  return value as Fields
}

function checkColumns(
  name: string,
  fields: object,
  { taken, columnOf }: { taken: readonly string[]; columnOf: (field: string) => string },
): void {
  const seen = new Set(taken)
  for (const [field, type] of Object.entries(fields)) {
    checkOneOf(`the type of the field '${field}'`, type as string, FIELD_TYPES)
    const column = columnOf(field).toLowerCase()
    if (field === '' || seen.has(column)) {
      const others = taken.length === 0 ? '' : `, and ${taken.join(', ')} are already taken`
      throw new TypeError(
        `field ${describeValue(field)} is not allowed in ${name}: names must not be empty and must ` +
          `differ in more than case${others}`,
      )
    }
    seen.add(column)
  }
}

/** The columns of fields. A field whose name is taken gets a column with the prefix `value_`. */
export function columnsOf(fields: Fields): FieldColumn[] {
  return Object.entries(fields).map(([field, type]) => ({ field, column: columnOf(field), type }))
}

function columnOf(field: string): string {
  return TAKEN_COLUMNS.includes(field.toLowerCase()) ? PREFIX + field : field
}

/** A value that fields are inferred from. */
export interface JsonSample {
  readonly object: JsonObject
  /** The text of its fields as written, if numbers may have lost digits when parsed. */
  readonly raw: ReadonlyMap<string, string> | null
}

/** The fields that fit all of these values, without those whose column name is already in use. */
export function inferFields(samples: readonly JsonSample[]): Fields {
  const types = new Map<string, FieldType | null>()
  for (const { object, raw } of samples) {
    for (const [field, each] of Object.entries(object)) {
      const before = types.get(field)
      const type = typeOf(each, raw?.get(field))
      types.set(field, before === undefined ? type : commonType(before, type))
    }
  }
  const fields: [string, FieldType][] = []
  const taken = new Set<string>()
  for (const [field, type] of types) {
    const name = columnOf(field).toLowerCase()
    // `__proto__` names the prototype of an object and never becomes a field.
    if (name === '' || field === '__proto__' || taken.has(name)) continue
    if (!isWellFormed(field) || fields.length >= MAX_INFERRED_FIELDS) continue
    taken.add(name)
    fields.push([field, type ?? 'json'])
  }
  return Object.fromEntries(fields)
}

const ALL_DIGITS = /^-?\d+$/
const BELOW_MILLISECONDS = /\.\d{3}\d*[1-9]/

/** `null` says nothing about the type and returns `null`. */
function typeOf(value: unknown, text: string | undefined): FieldType | null {
  if (value === null) return null
  if (typeof value === 'number') return typeOfNumber(value, text)
  if (typeof value === 'boolean') return 'boolean'
  if (typeof value === 'string') return typeOfText(value)
  return 'json'
}

/** A time with more digits than a timestamp has would lose them. */
function typeOfText(text: string): FieldType {
  return timestampOf(text) === null || BELOW_MILLISECONDS.test(text) ? 'string' : 'timestamp'
}

/** A whole number with all its digits written out is an id, and would lose digits as a double. */
function typeOfNumber(value: number, text: string | undefined): FieldType {
  if (Number.isSafeInteger(value)) return text === undefined || isWhole(text) ? 'int' : 'double'
  return ALL_DIGITS.test(text ?? '') ? 'json' : 'double'
}

function commonType(left: FieldType | null, right: FieldType | null): FieldType | null {
  if (left === right || right === null) return left
  if (left === null) return right
  const both = [left, right]
  if (both.every((each) => each === 'int' || each === 'double')) return 'double'
  if (both.every((each) => each === 'string' || each === 'timestamp')) return 'string'
  return 'json'
}

/** The milliseconds since the epoch of a time that {@link FieldType} accepts, otherwise `null`. */
export function timestampOf(value: unknown): number | null {
  let ms: number
  if (typeof value === 'string') ms = isTime(value) ? Date.parse(value) : NaN
  else if (typeof value === 'number') ms = Number.isInteger(value) ? value : NaN
  else return null
  return ms >= MIN_TIMESTAMP && ms <= MAX_TIMESTAMP ? ms : null
}

/** Checks the day too, because `Date.parse` rolls February 30 over into March. */
function isTime(text: string): boolean {
  if (!ISO_TIME.test(text)) return false
  const day = Number(text.slice(8, 10))
  if (day <= DAYS_OF_EVERY_MONTH) return true
  // Leap years repeat every 400 years, and Date.UTC maps the years 0 to 99 to 1900 to 1999.
  const year = 2000 + (Number(text.slice(0, 4)) % 400)
  return day <= new Date(Date.UTC(year, Number(text.slice(5, 7)), 0)).getUTCDate()
}

/**
 * Whether a number for a field of whole numbers has a fraction that is lost when it is parsed.
 *
 * @param text the number as written
 */
export function losesFraction(type: FieldType, value: unknown, text: string): boolean {
  const isWholeType = type === 'int' || type === 'timestamp'
  return isWholeType && typeof value === 'number' && Number.isInteger(value) && !isWhole(text)
}

/**
 * A field's value as stored in its column: a number for a timestamp, text for JSON.
 *
 * @returns `undefined` if the value does not fit.
 */
export function fieldValue(
  type: FieldType,
  value: unknown,
): number | string | boolean | null | undefined {
  if (value === undefined || value === null) return null
  switch (type) {
    case 'int':
      return Number.isSafeInteger(value) ? (value as number) : undefined
    case 'double':
      return Number.isFinite(value) ? (value as number) : undefined
    case 'string':
      return typeof value === 'string' && isWellFormed(value) ? value : undefined
    case 'boolean':
      return typeof value === 'boolean' ? value : undefined
    case 'timestamp':
      return timestampOf(value) ?? undefined
    case 'json':
      return JSON.stringify(value)
  }
}
