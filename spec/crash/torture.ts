import { describe, expect, it } from 'vitest'
import { report, runs, seed } from '../torture/size.ts'
import { crashEverywhere } from './exhaustive.ts'
import type { Workload } from './workload.ts'

/** Declares the exhaustive trial of `workloads`: once, or with other random cuts and losses too. */
export function crashEverywhereIn(workloads: readonly Workload[]): void {
  describe(`a crash at every operation, and at every operation of the recovery (seed ${seed})`, () => {
    it.each(workloads)('keeps every promise: $name', async (workload) => {
      let [crashes, crashesInRecovery, disks] = [0, 0, 0]
      const rounds = runs({ short: 1, full: 50 })
      for (let round = 0; round < rounds; round += 1) {
        const result = await crashEverywhere(workload, { seed: seed + round, interruptEach: 1 })
        expect(result.failures, `seed ${seed + round}`).toEqual([])
        crashes += result.crashes
        crashesInRecovery += result.crashesInRecovery
        disks += result.disks
      }
      report(workload.name, { crashes, 'crashes in recovery': crashesInRecovery, disks })
    })
  })
}
