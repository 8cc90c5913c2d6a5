/**
 * How much of a part is run. `npm run test:durability` runs the short size, `npm run test:torture`
 * the full one; `VARVE_RUNS` replaces either, and `VARVE_SEED` repeats an earlier run.
 */
export function runs(size: { readonly short: number; readonly full: number }): number {
  const { VARVE_RUNS, VARVE_TORTURE } = process.env
  if (VARVE_RUNS !== undefined) return Number(VARVE_RUNS)
  return VARVE_TORTURE === 'full' ? size.full : size.short
}

/** Whether the full size was requested. */
export const isFull: boolean = process.env['VARVE_TORTURE'] === 'full'

/**
 * The seed of all random numbers: `VARVE_SEED` if set; a new one in the full size, which searches
 * for unknown failures; the same every time in the short size, where a failure is due to a change
 * of the code. Printed with every figure and failure.
 */
export const seed: number = Number(
  process.env['VARVE_SEED'] ?? (isFull ? Date.now() % 0x7fffffff : 20_261_127),
)

/** Prints a figure of a part, in one format for all parts. */
export function report(part: string, figures: Readonly<Record<string, string | number>>): void {
  const text = Object.entries(figures).map(([name, value]) => `${name} ${value}`)
  console.log(`${part}: ${text.join(', ')} (seed ${seed})`)
}
