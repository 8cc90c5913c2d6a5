import { PowerLossTrials } from '../crash/power-loss-trials.ts'
import type { Workload } from '../crash/workload.ts'
import { report, seed } from './size.ts'

/** Enough to see what is wrong. */
const REPORTED_FAILURES = 3

/** Draws `count` power losses in `workloads`. @returns what is wrong; empty if nothing is */
export async function losePower(
  part: string,
  workloads: readonly Workload[],
  count: number,
): Promise<string> {
  const trials = new PowerLossTrials(workloads)
  const perPersona: Record<string, number> = {}
  const failures: string[] = []
  const started = performance.now()
  for (let each = 0; each < count && failures.length < REPORTED_FAILURES; each += 1) {
    const trial = await trials.run(seed + each)
    perPersona[trial.persona] = (perPersona[trial.persona] ?? 0) + 1
    if (trial.failures.length > 0) {
      const story = await trial.story()
      failures.push([...trial.failures, `VARVE_SEED=${seed + each} VARVE_RUNS=1`, story].join('\n'))
    }
  }
  const perSecond = Math.round(count / ((performance.now() - started) / 1000))
  report(part, { trials: count, 'per second': perSecond, ...perPersona })
  return failures.join('\n\n')
}
