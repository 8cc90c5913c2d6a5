import { types } from 'node:util'
import type * as hyparquet from 'hyparquet'
import { ImportFileError } from './import-errors.ts'
import { SAFE_DIGITS } from './raw-fields.ts'

/** Logical types that hyparquet knows by the deprecated converted type alone. An enum is text. */
const CONVERTED_TYPES: Partial<Record<string, hyparquet.ConvertedType>> = {
  DATE: 'DATE',
  DECIMAL: 'DECIMAL',
  ENUM: 'UTF8',
  JSON: 'JSON',
  LIST: 'LIST',
  MAP: 'MAP',
}

/** Logical types whose values are objects. */
const GEO_TYPES: ReadonlySet<string | undefined> = new Set(['GEOMETRY', 'GEOGRAPHY'])

/** An element with the converted type by which hyparquet reads it as what it is. */
function withConvertedType(element: hyparquet.SchemaElement): hyparquet.SchemaElement {
  const { converted_type, logical_type } = element
  if (converted_type === 'ENUM') return { ...element, converted_type: 'UTF8' }
  const type = CONVERTED_TYPES[logical_type?.type ?? '']
  if (converted_type !== undefined || type === undefined) return element
  const digits =
    logical_type?.type === 'DECIMAL'
      ? { scale: logical_type.scale, precision: logical_type.precision }
      : {}
  return { ...element, ...digits, converted_type: type }
}

/** The decimals in a value: it is a decimal, or contains some in its items or fields. */
interface Decimals {
  readonly scale?: number
  /** Of a list. */
  readonly items?: Decimals
  /** Of a map, for any key. */
  readonly values?: Decimals
  /** Of a struct. */
  readonly fields?: ReadonlyMap<string, Decimals>
}

/**
 * Decimals that a number may not hold exactly. hyparquet reads them as plain numbers or bytes, and
 * this class converts the results to decimals.
 */
export class ExactDecimals {
  /** Metadata for the reader: these decimals are plain values, others have a converted type. */
  readonly metadata: hyparquet.FileMetaData
  readonly #path: string
  readonly #schema: hyparquet.SchemaElement[]
  readonly #table: Decimals | null
  /** Index of the element that {@link ExactDecimals.#read} reads next. */
  #at = 0
  /** Number of variants around that element. */
  #variants = 0

  /**
   * @param path of the file, for the error
   * @throws {@link ImportFileError} for a column that hyparquet would lose or change
   */
  constructor(metadata: hyparquet.FileMetaData, path: string) {
    this.#path = path
    this.#schema = metadata.schema.map(withConvertedType)
    this.#table = this.#read()
    this.metadata = { ...metadata, schema: this.#schema }
  }

  /** Replaces values of these rows with decimals: numbers, or text if a number is not exact. */
  putInto(rows: readonly Record<string, unknown>[]): void {
    if (this.#table !== null) for (const row of rows) withDecimals(row, this.#table)
  }

  /** Reads an element with its children, and makes it plain. @returns `null` without decimals */
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
    this.#checkKeys(slot, element)
    const fields = new Map<string, Decimals>()
    const names = new Set<string>()
    for (let count = 0; count < num_children; count += 1) {
      const child = this.#schema[this.#at]
      if (child === undefined) break
      if (names.has(child.name)) {
        throw new ImportFileError(this.#path, `it has the column '${child.name}' twice`)
      }
      names.add(child.name)
      const decimals = this.#read()
      if (decimals !== null) fields.set(child.name, decimals)
    }
    if (isVariant) this.#variants -= 1
    return fields.size === 0 ? null : this.#groupOf(slot, element, fields)
  }

  /** The standard's lists and maps have a group between themselves and their elements. */
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
        `the keys of its map '${name}' are decimals of more than ${SAFE_DIGITS} digits, some of which would be lost`,
      )
    }
    return { values: firstOf(inner) }
  }

  /** Keys become the names of properties, which are the same for all objects. */
  #checkKeys(slot: number, { name, converted_type }: hyparquet.SchemaElement): void {
    const entry = this.#schema[slot + 1]
    const key = this.#schema[slot + 2]
    if (converted_type !== 'MAP' || entry?.repetition_type !== 'REPEATED') return
    const { num_children = 0, converted_type: keyType, logical_type } = key ?? {}
    const isObject = num_children > 0 || keyType === 'JSON' || GEO_TYPES.has(logical_type?.type)
    if (entry.num_children !== 2 || !isObject) return
    throw new ImportFileError(
      this.#path,
      `the keys of its map '${name}' are objects or JSON, some of which would be lost`,
    )
  }

  #readLeaf(slot: number, element: hyparquet.SchemaElement): Decimals | null {
    const { scale = 0, precision = 0, converted_type } = element
    // A value in a variant carries its own type.
    if (this.#variants > 0) return null
    if (converted_type !== 'DECIMAL' || precision <= SAFE_DIGITS) return null
    const plain = { ...element }
    delete plain.converted_type
    delete plain.logical_type
    this.#schema[slot] = plain
    return { scale }
  }
}

/** The decimals of the only field that has some. */
function firstOf({ fields }: Decimals): Decimals {
  const [first] = fields?.values() ?? []
  return first ?? {}
}

/** @returns the value or its replacement; the contents of a value are changed in place */
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

/** Two's complement, big-endian. */
function signedOf(bytes: Uint8Array): bigint {
  if (bytes.length === 0) return 0n
  return BigInt.asIntN(8 * bytes.length, BigInt(`0x${Buffer.from(bytes).toString('hex')}`))
}
