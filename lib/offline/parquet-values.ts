import { isUtf8 } from 'node:buffer'
import { types } from 'node:util'
import type * as hyparquet from 'hyparquet'
import { reasonOf } from '../checks.ts'
import { exactJson } from './raw-fields.ts'

/** A row of a Parquet file. */
export type ParquetRow = Record<string, unknown>

const DAY_MS = 86_400_000
/** The range of a Date, on both sides of 1970. */
const MAX_DATE_MS = 8.64e15
/** Keeps a byte order mark, which is a character of the text. */
const UTF8 = new TextDecoder('utf-8', { ignoreBOM: true })

/** Stands for the text `__proto__`: as the key of a map, the text itself would be lost. */
const PROTO: unique symbol = Symbol('has the key __proto__, which no object can have')

/**
 * A time as text in ISO 8601, with all of its digits, wherever it becomes text: in JSON, and as the
 * key of a map, where the text of a Date would have neither milliseconds nor a fixed zone.
 */
class FileTime extends Date {
  static {
    // Each method that sets it forgets the text: a time in the same millisecond may be another one.
    for (const name of Object.getOwnPropertyNames(Date.prototype)) {
      if (!name.startsWith('set')) continue
      const set = Reflect.get(Date.prototype, name) as (...args: number[]) => number
      const value = function (this: FileTime, ...args: number[]): number {
        this.#text = null
        return set.apply(this, args)
      }
      Object.defineProperty(this.prototype, name, { value, configurable: true, writable: true })
    }
  }

  #text: string | null

  /** @param text of this time, until it is set; `null` if milliseconds are all of it */
  constructor(ms: number, text: string | null) {
    super(ms)
    this.#text = text
  }

  /** @param value of the file. Beyond the range of a Date it is the text, so that keys differ. */
  static ofMs(ms: number, value: bigint | number, unit: string): FileTime {
    const isValid = Math.abs(ms) <= MAX_DATE_MS
    return new FileTime(ms, isValid ? null : `Invalid Date (${value} ${unit})`)
  }

  override toISOString(): string {
    return this.#text === null || Number.isNaN(this.getTime()) ? super.toISOString() : this.#text
  }

  override toString(): string {
    return Number.isNaN(this.getTime()) ? (this.#text ?? super.toString()) : this.toISOString()
  }

  copy(): FileTime {
    return new FileTime(this.getTime(), this.#text)
  }
}

/**
 * Reads the values of a row group as they are in the file: with all digits of times, and of numbers
 * in JSON. For a value that is not what its column says, the reader gets a symbol with the reason,
 * as an exception would end the whole row group.
 */
export class ParquetValues {
  readonly #mayChange: boolean
  /** Whether a symbol may be in the rows, so that they are not searched in vain. */
  #hasSymbols = false

  readonly parsers: Partial<hyparquet.ParquetParsers> = {
    timestampFromMilliseconds: (millis: bigint): Date =>
      FileTime.ofMs(Number(millis), millis, 'ms'),
    timestampFromMicroseconds: (micros: bigint): Date => timeOf(micros, 3, 'µs'),
    timestampFromNanoseconds: (nanos: bigint): Date => timeOf(nanos, 6, 'ns'),
    dateFromDays: (days: number): Date => FileTime.ofMs(days * DAY_MS, days, 'days'),
    stringFromBytes: (bytes: Uint8Array | undefined): unknown =>
      bytes === undefined ? undefined : this.#textOf(bytes),
    jsonFromBytes: (bytes: Uint8Array | undefined): unknown =>
      bytes === undefined ? undefined : this.#jsonOf(bytes),
  }

  /** @param mayChange whether rows are changed later, and thus need objects of their own */
  constructor(mayChange: boolean) {
    this.#mayChange = mayChange
  }

  /** Completes a row, before its use. @returns why it is not valid, or `null` */
  finish(row: ParquetRow): string | null {
    if (this.#hasSymbols) {
      for (const field of Object.keys(row)) {
        const reason = faultOf(row, field)
        if (reason !== null) return `its field '${field}' ${reason}`
      }
    }
    return this.#mayChange ? takeObjects(row) : null
  }

  #textOf(bytes: Uint8Array): string | symbol {
    if (!isUtf8(bytes)) return this.#symbolOf('is not UTF-8')
    const text = UTF8.decode(bytes)
    if (text !== '__proto__') return text
    this.#hasSymbols = true
    return PROTO
  }

  #jsonOf(bytes: Uint8Array): unknown {
    if (!isUtf8(bytes)) return this.#symbolOf('is not UTF-8')
    try {
      return exactJson(UTF8.decode(bytes))
    } catch (error) {
      return this.#symbolOf(`is not JSON: ${reasonOf(error)}`)
    }
  }

  #symbolOf(reason: string): symbol {
    this.#hasSymbols = true
    return Symbol(reason)
  }
}

function timeOf(value: bigint, moreDigits: number, unit: string): Date {
  const perMs = 10n ** BigInt(moreDigits)
  const rest = ((value % perMs) + perMs) % perMs
  const time = FileTime.ofMs(Number((value - rest) / perMs), value, unit)
  if (rest === 0n || Number.isNaN(time.getTime())) return time
  const more = rest.toString().padStart(moreDigits, '0').replace(/0+$/, '')
  return new FileTime(time.getTime(), `${time.toISOString().slice(0, -1)}${more}Z`)
}

/**
 * Replaces the objects of a row with its own: those of the reader belong to all rows with an equal
 * value, as far as the file stores it once.
 *
 * @returns why that cannot be done, or `null`
 */
function takeObjects(row: ParquetRow): string | null {
  for (const [field, value] of Object.entries(row)) {
    if (typeof value !== 'object' || value === null) continue
    try {
      row[field] = ownValue(value)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      return `its field '${field}' is nested too deeply`
    }
  }
  return null
}

function ownValue(value: unknown): unknown {
  if (value instanceof FileTime) return value.copy()
  if (types.isUint8Array(value)) return value.slice()
  if (Array.isArray(value)) return value.map(ownValue)
  if (!isContainer(value)) return value
  // `__proto__` is a field like any other in JSON, and assigning it would set the prototype.
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, ownValue(each)]))
}

/** The reason of the first symbol in a field. The text that {@link PROTO} stands for is put back. */
function faultOf(row: ParquetRow, field: string): string | null {
  // A list and not recursion: JSON may be nested more deeply than calls.
  const places: [ParquetRow, string][] = [[row, field]]
  for (const [parent, name] of places) {
    const value = parent[name]
    if (value === PROTO) parent[name] = '__proto__'
    else if (typeof value === 'symbol') return value.description ?? ''
    if (!isContainer(value)) continue
    // A map whose key is a symbol has it as the name of a property.
    const [key] = Object.getOwnPropertySymbols(value)
    if (key !== undefined) return key.description ?? ''
    for (const inner of Object.keys(value)) places.push([value, inner])
  }
  return null
}

function isContainer(value: unknown): value is ParquetRow {
  if (typeof value !== 'object' || value === null) return false
  return !types.isUint8Array(value) && !types.isDate(value)
}
