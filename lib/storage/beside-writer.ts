import type { CorruptRecordError } from '../errors.ts'

/** How often what another process may be changing is looked at until two looks agree. */
export const LOOKS_BESIDE_A_WRITER = 4

/**
 * What is damaged, in a form in which two looks can be compared. How far the damage goes is left out: that
 * depends on what else the one who looked knew of the log.
 */
export function damageKey({ reason, path, position, firstOffset }: CorruptRecordError): string {
  return JSON.stringify([reason, path, position, firstOffset])
}
