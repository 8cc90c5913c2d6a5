import type { CorruptRecordError } from '../errors.ts'

/** Damage of a partition, as JSON. */
export interface JsonDamage {
  readonly message: string
  /** The damaged file; `null` if it is unknown or there is none. */
  readonly path: string | null
  readonly position: number
  readonly firstOffset: number | null
  readonly lastOffset: number | null
}

/** The damage that an error reports. */
export function damageOf(error: CorruptRecordError): JsonDamage {
  const { message, path, position, firstOffset, lastOffset } = error
  return { message, path, position, firstOffset, lastOffset }
}
