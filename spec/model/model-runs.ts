/** Arbitrary, but the same in every run. */
const SEED = 20_261_127

/**
 * How many sequences of steps a model goes through, and from which seed. They are the same in every
 * run, so a failure is due to a change of the code. `VARVE_MODEL_RUNS=40000` searches for new
 * failures.
 */
export function modelRuns(usual: number): { readonly numRuns: number; readonly seed?: number } {
  const { VARVE_MODEL_RUNS } = process.env
  if (VARVE_MODEL_RUNS === undefined) return { numRuns: usual, seed: SEED }
  return { numRuns: Number(VARVE_MODEL_RUNS) }
}
