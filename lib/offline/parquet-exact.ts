import { types } from 'node:util'
import type * as hyparquet from 'hyparquet'
import { ImportFileError } from './import-errors.ts'
import { exactJson, SAFE_DIGITS } from './raw-fields.ts'

/** A time of more than milliseconds: as text, and so as JSON, it has all of its digits. */
class FineTime extends Date {
  readonly #text: string

  constructor(ms: number, text: string) {
    super(ms)
    this.#text = text
  }

  override toISOString(): string {
    return this.#text
  }
}

/** Times, and numbers in JSON, with all of their digits, which a Date or a number alone does not have. */
export const EXACT_PARSERS: Partial<hyparquet.ParquetParsers> = {
  timestampFromMicroseconds: (micros: bigint): Date => timeOf(micros, 3),
  timestampFromNanoseconds: (nanos: bigint): Date => timeOf(nanos, 6),
  jsonFromBytes: (bytes: Uint8Array | undefined): unknown =>
    bytes === undefined ? undefined : exactJson(Buffer.from(bytes).toString('utf8')),
}

function timeOf(value: bigint, moreDigits: number): Date {
  const perMs = 10n ** BigInt(moreDigits)
  const rest = ((value % perMs) + perMs) % perMs
  const ms = Number((value - rest) / perMs)
  const time = new Date(ms)
  if (rest === 0n || Number.isNaN(time.getTime())) return time
  const more = rest.toString().padStart(moreDigits, '0').replace(/0+$/, '')
  return new FineTime(ms, `${time.toISOString().slice(0, -1)}${more}Z`)
}

/** Where decimals are in a value: it is one, or has some in its items or fields. */
interface Decimals {
  readonly scale?: number
  /** Of a list. */
  readonly items?: Decimals
  /** Of a map, whatever the key. */
  readonly values?: Decimals
  /** Of a struct. */
  readonly fields?: ReadonlyMap<string, Decimals>
}

/**
 * Decimals that a number may not hold. hyparquet is told that they are plain numbers or bytes, and
 * what it reads is made decimals here.
 */
export class ExactDecimals {
  /** For the reader. */
  readonly metadata: hyparquet.FileMetaData
  readonly #path: string
  readonly #schema: hyparquet.SchemaElement[]
  readonly #table: Decimals | null
  /** The element that {@link ExactDecimals.#read} comes to next. */
  #at = 0
  /** Variants that it is inside of. */
  #variants = 0

  /**
   * @param path of the file, for the error
   * @throws {@link ImportFileError} for a column that hyparquet would lose or change
   */
  constructor(metadata: hyparquet.FileMetaData, path: string) {
    this.#path = path
    this.#schema = [...metadata.schema]
    this.#table = this.#read()
    this.metadata = { ...metadata, schema: this.#schema }
  }

  /** Puts decimals into rows in the place of what was read: numbers, or text where those are not exact. */
  putInto(rows: readonly Record<string, unknown>[]): void {
    if (this.#table !== null) for (const row of rows) withDecimals(row, this.#table)
  }

  /** Reads an element with all that is in it, and makes it plain. @returns `null` where no decimal is */
  #read(): Decimals | null {
    const slot = this.#at
    const element = this.#schema[slot]
    this.#at += 1
    if (element === undefined) return null
    const { name, num_children = 0 } = element
    if (name === '__proto__') {
      throw new ImportFileError(this.#path, "it has a column '__proto__', which no object can have")
    }
    if (num_children === 0) return this.#readLeaf(slot, element)
    const isVariant = element.logical_type?.type === 'VARIANT'
    if (isVariant) this.#variants += 1
    const fields = new Map<string, Decimals>()
    for (let count = 0; count < num_children; count += 1) {
      const child = this.#schema[this.#at]
      if (child === undefined) break
      const decimals = this.#read()
      if (decimals !== null) fields.set(child.name, decimals)
    }
    if (isVariant) this.#variants -= 1
    return fields.size === 0 ? null : this.#groupOf(slot, element, fields)
  }

  /** The standard's lists and maps have a group between themselves and what they hold. */
  #groupOf(
    slot: number,
    { name, num_children, converted_type }: hyparquet.SchemaElement,
    fields: ReadonlyMap<string, Decimals>,
  ): Decimals {
    const child = this.#schema[slot + 1]
    const inner = firstOf({ fields })
    if (num_children !== 1 || child?.repetition_type !== 'REPEATED') return { fields }
    const { num_children: innerCount = 0 } = child
    if (converted_type === 'LIST' && innerCount <= 1) {
      return { items: innerCount === 0 ? inner : firstOf(inner) }
    }
    if (converted_type !== 'MAP' || innerCount !== 2) return { fields }
    if (inner.fields?.has('key') === true) {
      throw new ImportFileError(
        this.#path,
        `the keys of its map '${name}' are decimals of more than ${SAFE_DIGITS} digits, and would lose some`,
      )
    }
    return { values: firstOf(inner) }
  }

  #readLeaf(slot: number, element: hyparquet.SchemaElement): Decimals | null {
    const { scale = 0, precision = 0, converted_type } = element
    // What a variant holds says itself what it is.
    if (this.#variants > 0) return null
    if (converted_type !== 'DECIMAL' || precision <= SAFE_DIGITS) return null
    const plain = { ...element }
    delete plain.converted_type
    delete plain.logical_type
    this.#schema[slot] = plain
    return { scale }
  }
}

/** Of the only field that has some. */
function firstOf({ fields }: Decimals): Decimals {
  const [first] = fields?.values() ?? []
  return first ?? {}
}

/** @returns the value, or what is to be in its place; what it holds is changed in place */
function withDecimals(value: unknown, decimals: Decimals): unknown {
  const { scale, items, values, fields } = decimals
  if (Array.isArray(value)) {
    const list: unknown[] = value
    for (const [slot, each] of list.entries()) list[slot] = withDecimals(each, items ?? decimals)
    return list
  }
  if (scale !== undefined) return decimalOf(value, scale)
  if (typeof value !== 'object' || value === null) return value
  const object = value as Record<string, unknown>
  for (const name of values === undefined ? (fields?.keys() ?? []) : Object.keys(object)) {
    const of = values ?? fields?.get(name)
    if (of !== undefined && Object.hasOwn(object, name)) {
      object[name] = withDecimals(object[name], of)
    }
  }
  return object
}

function decimalOf(stored: unknown, scale: number): unknown {
  const unscaled = types.isUint8Array(stored) ? signedOf(stored) : stored
  if (typeof unscaled !== 'bigint') return stored
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0')
  const point = digits.length - scale
  const text = scale === 0 ? digits : `${digits.slice(0, point)}.${digits.slice(point)}`
  const signed = unscaled < 0n ? `-${text}` : text
  return digits.length <= SAFE_DIGITS ? Number(signed) : signed
}

/** Two's complement, the first byte first. */
function signedOf(bytes: Uint8Array): bigint {
  if (bytes.length === 0) return 0n
  return BigInt.asIntN(8 * bytes.length, BigInt(`0x${Buffer.from(bytes).toString('hex')}`))
}
