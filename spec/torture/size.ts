/**
 * How much of a part is run. `npm run test:durability` runs the short size, `npm run test:torture`
 * the full one; `VARVE_RUNS` replaces either, and `VARVE_SEED` makes a run the same as an earlier one.
 */
export function runs(size: { readonly short: number; readonly full: number }): number {
  const { VARVE_RUNS, VARVE_TORTURE } = process.env
  if (VARVE_RUNS !== undefined) return Number(VARVE_RUNS)
  return VARVE_TORTURE === 'full' ? size.full : size.short
}

/** Whether the full programme was asked for. */
export const isFull: boolean = process.env['VARVE_TORTURE'] === 'full'

/**
 * Where chance starts: as told; anew in the full programme, which looks for what nobody has met; and
 * the same each time in the short one, which says of a change whether it broke something. To be
 * printed with every figure and failure.
 */
export const seed: number = Number(
  process.env['VARVE_SEED'] ?? (isFull ? Date.now() % 0x7fffffff : 20_261_127),
)

/** Prints a figure of a part, in a form that is the same for all. */
export function report(part: string, figures: Readonly<Record<string, string | number>>): void {
  const text = Object.entries(figures).map(([name, value]) => `${name} ${value}`)
  console.log(`${part}: ${text.join(', ')} (seed ${seed})`)
}
