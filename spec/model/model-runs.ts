/** Any; the same each time. */
const SEED = 20_261_127

/**
 * How many sequences of steps a model is put through, and which. They are the same each time, and say
 * of a change whether it broke something. `VARVE_MODEL_RUNS=40000` looks for what nobody has met.
 */
export function modelRuns(usual: number): { readonly numRuns: number; readonly seed?: number } {
  const { VARVE_MODEL_RUNS } = process.env
  if (VARVE_MODEL_RUNS === undefined) return { numRuns: usual, seed: SEED }
  return { numRuns: Number(VARVE_MODEL_RUNS) }
}
