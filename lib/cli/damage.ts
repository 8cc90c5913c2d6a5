import type { CorruptRecordError } from '../errors.ts'

/** What is wrong with a partition, in JSON. */
export interface JsonDamage {
  readonly message: string
  /** The file; `null` where it is not known, or none. */
  readonly path: string | null
  readonly position: number
  readonly firstOffset: number | null
  readonly lastOffset: number | null
}

/** Where it is. */
export function damageOf(error: CorruptRecordError): JsonDamage {
  const { message, path, position, firstOffset, lastOffset } = error
  return { message, path, position, firstOffset, lastOffset }
}
