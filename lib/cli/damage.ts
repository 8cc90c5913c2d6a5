import { CorruptRecordError } from '../errors.ts'

/** What is wrong with a partition, in JSON. */
export interface JsonDamage {
  readonly message: string
  /** The file; `null` where it is not known, or none. */
  readonly path: string | null
  readonly position: number | null
  readonly firstOffset: number | null
  readonly lastOffset: number | null
}

/** Where it is, as far as the error knows. */
export function damageOf(error: Error): JsonDamage {
  const { message } = error
  if (!(error instanceof CorruptRecordError)) {
    return { message, path: null, position: null, firstOffset: null, lastOffset: null }
  }
  const { path, position, firstOffset, lastOffset } = error
  return { message, path, position, firstOffset, lastOffset }
}
