import type { Cell, ColumnType } from './row-shape.ts'

const NOTHING: Uint8Array = new Uint8Array(0)

/** A value for the Parquet writer. */
export type ParquetValue = bigint | number | boolean | Uint8Array | null

const INITIAL_BYTES = 4 * 1024
/** A buffer that a single large value has grown beyond this size is not kept. */
const MAX_KEPT_BYTES = 4 * 1024 * 1024
/** Up to this many bytes are copied one by one, as a native call costs more. */
const FEW_BYTES = 32

/** The values of one column until they are written. */
export interface ParquetColumn {
  /** Whether one of them is -0, which a dictionary of the writer takes for 0. */
  readonly hasNegativeZero: boolean
  /** Adds the next value. @returns the bytes of memory that it uses */
  add(value: Cell): number
  /** The values, valid until the column is cleared. Each call creates them again. */
  values(): ParquetValue[]
  clear(): void
}

/** @returns an empty column for values of a type. */
export function parquetColumn(type: ColumnType): ParquetColumn {
  switch (type) {
    case 'string':
    case 'json':
    case 'bytes':
      return new BytesColumn()
    case 'int':
    case 'timestamp':
      return new NumberColumn(BigInt)
    case 'double':
      return new NumberColumn((value) => value)
    case 'boolean':
      return new NumberColumn((value) => value === 1)
  }
}

const NUMBER_BYTES = 8
const INITIAL_COUNT = 256

/** Numbers in a typed array, with NaN for null. */
class NumberColumn implements ParquetColumn {
  readonly #toValue: (value: number) => ParquetValue
  #numbers = new Float64Array(INITIAL_COUNT)
  #count = 0

  constructor(toValue: (value: number) => ParquetValue) {
    this.#toValue = toValue
  }

  get hasNegativeZero(): boolean {
    return this.#numbers.subarray(0, this.#count).some((value) => Object.is(value, -0))
  }

  add(value: Cell): number {
    if (this.#count === this.#numbers.length) {
      const numbers = new Float64Array(2 * this.#count)
      numbers.set(this.#numbers)
      this.#numbers = numbers
    }
    this.#numbers[this.#count] = value === null ? NaN : Number(value)
    this.#count += 1
    return NUMBER_BYTES
  }

  values(): ParquetValue[] {
    const values = new Array<ParquetValue>(this.#count)
    for (let slot = 0; slot < this.#count; slot += 1) {
      const value = this.#numbers[slot] ?? NaN
      values[slot] = Number.isNaN(value) ? null : this.#toValue(value)
    }
    return values
  }

  clear(): void {
    this.#count = 0
  }
}

/**
 * Copies values into one reused buffer. Otherwise each value would keep everything in memory that
 * was read with it.
 */
class BytesColumn implements ParquetColumn {
  readonly hasNegativeZero = false
  #bytes: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES)
  #length = 0
  /** Start and end of each value; -1 for null. */
  #places = new Int32Array(2 * INITIAL_COUNT)
  #count = 0
  /** Text that is repeated, such as the headers of most records, is stored once. */
  #lastText: string | null = null
  #lastStart = 0
  #lastEnd = 0

  add(value: Cell): number {
    if (value === null) return this.#place(-1, -1)
    if (typeof value !== 'string') return this.#copy(value as Buffer)
    if (value !== this.#lastText) return this.#encode(value)
    this.#place(this.#lastStart, this.#lastEnd)
    return NUMBER_BYTES
  }

  values(): ParquetValue[] {
    const values = new Array<ParquetValue>(this.#count)
    const { buffer, byteOffset } = this.#bytes
    let lastStart = -1
    let last = NOTHING
    for (let index = 0; index < this.#count; index += 1) {
      const start = this.#places[2 * index] ?? -1
      const length = (this.#places[2 * index + 1] ?? -1) - start
      if (start >= 0 && (start !== lastStart || last.length !== length)) {
        last = new Uint8Array(buffer, byteOffset + start, length)
        lastStart = start
      }
      values[index] = start < 0 ? null : last
    }
    return values
  }

  clear(): void {
    this.#count = 0
    this.#length = 0
    this.#lastText = null
    if (this.#bytes.length > MAX_KEPT_BYTES) this.#bytes = Buffer.allocUnsafeSlow(INITIAL_BYTES)
  }

  /** @returns the bytes of memory that the value uses */
  #place(start: number, end: number): number {
    const slot = 2 * this.#count
    if (slot === this.#places.length) {
      const places = new Int32Array(2 * slot)
      places.set(this.#places)
      this.#places = places
    }
    this.#places[slot] = start
    this.#places[slot + 1] = end
    this.#count += 1
    return NUMBER_BYTES + end - start
  }

  #copy(value: Uint8Array): number {
    const start = this.#length
    this.#ensure(value.length)
    const bytes = this.#bytes
    if (value.length > FEW_BYTES) bytes.set(value, start)
    else for (let slot = 0; slot < value.length; slot += 1) bytes[start + slot] = value[slot] ?? 0
    this.#length = start + value.length
    return this.#place(start, this.#length)
  }

  #encode(text: string): number {
    const start = this.#length
    this.#ensure(3 * text.length)
    this.#length = start + this.#bytes.write(text, start, 'utf8')
    this.#lastText = text
    this.#lastStart = start
    this.#lastEnd = this.#length
    return this.#place(start, this.#length)
  }

  #ensure(count: number): void {
    const needed = this.#length + count
    if (needed <= this.#bytes.length) return
    const bytes = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, needed))
    this.#bytes.copy(bytes, 0, 0, this.#length)
    this.#bytes = bytes
  }
}
