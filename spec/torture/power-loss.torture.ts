import { describe, expect, it } from 'vitest'
import { PowerLossTrials } from '../crash/power-loss-trials.ts'
import { WORKLOADS } from '../crash/workloads.ts'
import { report, runs, seed } from './size.ts'

/** Enough to see what is wrong. */
const REPORTED_FAILURES = 3

describe(`power losses at random (seed ${seed})`, () => {
  it('take nothing that was acknowledged as durable, on any disk', async () => {
    const trials = new PowerLossTrials(WORKLOADS)
    const count = runs({ short: 20_000, full: 1_000_000 })
    const perPersona: Record<string, number> = {}
    const failures: string[] = []
    const started = performance.now()
    for (let each = 0; each < count && failures.length < REPORTED_FAILURES; each += 1) {
      const trial = await trials.run(seed + each)
      perPersona[trial.persona] = (perPersona[trial.persona] ?? 0) + 1
      if (trial.failures.length > 0) {
        const story = await trial.story()
        failures.push(
          [...trial.failures, `VARVE_SEED=${seed + each} VARVE_RUNS=1`, story].join('\n'),
        )
      }
    }
    const perSecond = Math.round(count / ((performance.now() - started) / 1000))
    report('power losses', { trials: count, 'per second': perSecond, ...perPersona })
    expect(failures.join('\n\n')).toBe('')
  })
})
