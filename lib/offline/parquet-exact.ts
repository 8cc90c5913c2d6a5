import type * as hyparquet from 'hyparquet'

/** A number holds as many decimal digits, whatever they are. */
const SAFE_DIGITS = 15

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

/** Times with all of their digits, which a Date alone does not have. */
export const EXACT_TIMES: Partial<hyparquet.ParquetParsers> = {
  timestampFromMicroseconds: (micros: bigint): Date => timeOf(micros, 3),
  timestampFromNanoseconds: (nanos: bigint): Date => timeOf(nanos, 6),
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

/**
 * Columns of decimals that a number may not hold. hyparquet is told that they are plain numbers or
 * bytes, and what it reads is made decimals here.
 */
export class ExactDecimals {
  /** For the reader. */
  readonly metadata: hyparquet.FileMetaData
  readonly #scales = new Map<string, number>()

  constructor(metadata: hyparquet.FileMetaData) {
    const leaves = new Set(leavesOf(metadata.schema))
    const schema = metadata.schema.map((element) => {
      const { name, scale = 0, precision = 0, converted_type } = element
      if (converted_type !== 'DECIMAL' || precision <= SAFE_DIGITS) return element
      if (!leaves.has(element)) return element
      this.#scales.set(name, scale)
      const plain = { ...element }
      delete plain.converted_type
      delete plain.logical_type
      return plain
    })
    this.metadata = { ...metadata, schema }
  }

  /** Puts decimals into rows in the place of what was read: numbers, or text where those are not exact. */
  putInto(rows: readonly Record<string, unknown>[]): void {
    for (const [name, scale] of this.#scales) {
      for (const row of rows) row[name] = decimalOf(row[name], scale)
    }
  }
}

/** The columns of the table itself, without those that are in others. */
function leavesOf([, ...elements]: readonly hyparquet.SchemaElement[]): hyparquet.SchemaElement[] {
  const leaves: hyparquet.SchemaElement[] = []
  let inside = 0
  for (const element of elements) {
    const { num_children = 0, repetition_type } = element
    if (inside === 0 && num_children === 0 && repetition_type !== 'REPEATED') leaves.push(element)
    inside = Math.max(0, inside - 1) + num_children
  }
  return leaves
}

function decimalOf(stored: unknown, scale: number): unknown {
  const unscaled = stored instanceof Uint8Array ? signedOf(stored) : stored
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
