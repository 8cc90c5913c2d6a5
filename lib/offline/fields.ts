import { checkOneOf, describeValue, isPlainObject, isWellFormed } from '../checks.ts'

/** The names of all of them. */
export const FIELD_TYPES: readonly FieldType[] = [
  'int',
  'double',
  'string',
  'boolean',
  'timestamp',
  'json',
]

/**
 * What a field has to be.
 *
 * - `'int'`: a whole number of at most 2^53 - 1, either way.
 * - `'double'`: any number.
 * - `'string'`, `'boolean'`.
 * - `'timestamp'`: a date such as `2024-01-31`, or a time with its zone such as
 *   `2024-01-31T12:00:00Z`, or milliseconds since the epoch; of the years 0001 to 9999.
 * - `'json'`: anything, kept as JSON text.
 *
 * `null` and a field that is not there fit all of them.
 */
export type FieldType = 'int' | 'double' | 'string' | 'boolean' | 'timestamp' | 'json'

/** The fields of a value that become columns, in their order. What else it has goes to `rest`. */
export type Fields = Readonly<Record<string, FieldType>>

/** A field of the value and the column it goes to. */
export interface FieldColumn {
  readonly field: string
  readonly column: string
  readonly type: FieldType
}

/** Columns that are there anyway, and those that readers make of the directories. */
const TAKEN_COLUMNS = ['offset', 'timestamp', 'key', 'headers', 'rest', 'topic', 'partition']

/** In front of a column's name where the field's own is taken. */
const PREFIX = 'value_'

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>

/** More columns than that, no table should have; further fields go to `rest`. */
const MAX_INFERRED_FIELDS = 500

/** Year 1 and the end of year 9999: what every reader takes for a timestamp. */
const MIN_TIMESTAMP = -62_135_596_800_000
const MAX_TIMESTAMP = 253_402_300_799_999
/** A time without zone would be another one on each machine. */
const ISO_TIME = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d))?$/
const DAYS_OF_EVERY_MONTH = 28

/**
 * @throws TypeError when they are no fields with types, or the name of one is that of another
 * column; readers do not tell names by their case.
 */
export function checkFields(name: string, value: unknown): void {
  if (value === 'infer') return
  if (!isPlainObject(value)) {
    throw new TypeError(
      `${name} must be 'infer' or an object of fields and types, got ${describeValue(value)}`,
    )
  }
  const seen = new Set(TAKEN_COLUMNS)
  for (const [field, type] of Object.entries(value)) {
    checkOneOf(`the type of the field '${field}'`, type as string, FIELD_TYPES)
    if (field === '' || seen.has(field.toLowerCase())) {
      throw new TypeError(
        `there cannot be a field ${describeValue(field)} in ${name}: no two columns may have a name ` +
          `that differs in case only, and ${TAKEN_COLUMNS.join(', ')} are there already`,
      )
    }
    seen.add(field.toLowerCase())
  }
}

/** The columns of fields; a field whose name is taken gets one with `value_` in front. */
export function columnsOf(fields: Fields): FieldColumn[] {
  return Object.entries(fields).map(([field, type]) => {
    const column = TAKEN_COLUMNS.includes(field.toLowerCase()) ? PREFIX + field : field
    return { field, column, type }
  })
}

/** A value that fields are inferred from. */
export interface JsonSample {
  readonly object: JsonObject
  /** Its fields as they are written, where numbers may have lost digits. */
  readonly raw: ReadonlyMap<string, string> | null
}

/** The fields that all of these values fit. Fields whose column would have a name twice are left out. */
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
    const [column] = columnsOf({ [field]: 'json' })
    const name = (column?.column ?? '').toLowerCase()
    // The prototype of an object is not a field of it, however it is written.
    if (name === '' || field === '__proto__' || taken.has(name)) continue
    if (!isWellFormed(field) || fields.length >= MAX_INFERRED_FIELDS) continue
    taken.add(name)
    fields.push([field, type ?? 'json'])
  }
  return Object.fromEntries(fields)
}

const ALL_DIGITS = /^-?\d+$/

/** `null` says nothing about a type. */
function typeOf(value: unknown, text: string | undefined): FieldType | null {
  if (value === null) return null
  if (typeof value === 'number') return typeOfNumber(value, text)
  if (typeof value === 'boolean') return 'boolean'
  if (typeof value === 'string') return timestampOf(value) === null ? 'string' : 'timestamp'
  return 'json'
}

/** A whole number that is written with all of its digits is an id, and would lose some as a double. */
function typeOfNumber(value: number, text: string | undefined): FieldType {
  if (Number.isSafeInteger(value)) return 'int'
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

/** Milliseconds since the epoch of a time that {@link FieldType} takes, `null` for what is none. */
export function timestampOf(value: unknown): number | null {
  let ms: number
  if (typeof value === 'string') ms = isTime(value) ? Date.parse(value) : NaN
  else if (typeof value === 'number') ms = Number.isInteger(value) ? value : NaN
  else return null
  return ms >= MIN_TIMESTAMP && ms <= MAX_TIMESTAMP ? ms : null
}

/** `Date.parse` makes the first of March of a 30th of February. */
function isTime(text: string): boolean {
  if (!ISO_TIME.test(text)) return false
  const day = Number(text.slice(8, 10))
  if (day <= DAYS_OF_EVERY_MONTH) return true
  // Leap years come again each 400 years, and years below 100 are others to Date.UTC.
  const year = 2000 + (Number(text.slice(0, 4)) % 400)
  return day <= new Date(Date.UTC(year, Number(text.slice(5, 7)), 0)).getUTCDate()
}

/**
 * A field's value as its column has it: a number for a timestamp, text for JSON.
 *
 * @returns `undefined` when it does not fit.
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
