import type { CorruptRecordError } from '../errors.ts'

/** Maximum number of looks at files that another process may be changing, until two agree. */
export const LOOKS_BESIDE_A_WRITER = 4

/**
 * Identifies damage, so that two looks can be compared. The extent of the damage is left out,
 * because it depends on what else the reader knew about the log.
 */
export function damageKey({ reason, path, position, firstOffset }: CorruptRecordError): string {
  return JSON.stringify([reason, path, position, firstOffset])
}
