import { describe, expect, it } from 'vitest'
import { crashEverywhere } from './exhaustive.ts'
import { LONG } from './torture.ts'
import { WORKLOADS } from './workloads.ts'

/**
 * One in this many recoveries is itself interrupted, at each of its operations: enough to notice
 * that one is broken without making everybody wait who runs the tests. `npm run test:durability`
 * interrupts all of them in the shorter half of the workloads, `npm run test:torture` in each.
 */
const RECOVERIES_INTERRUPTED = 48

describe('a crash at every operation, and in the recovery from it', () => {
  it.each(WORKLOADS)('keeps every promise: $name', async (workload) => {
    const result = await crashEverywhere(workload, {
      seed: 1,
      interruptEach: RECOVERIES_INTERRUPTED,
    })
    expect(result.failures).toEqual([])
    expect(result.crashes).toBeGreaterThan(20)
    expect(result.crashesInRecovery).toBeGreaterThan(20)
  })

  it('is tried in at least 30 workloads', () => {
    expect(new Set(WORKLOADS.map(({ name }) => name)).size).toBeGreaterThanOrEqual(30)
  })

  it('interrupts every recovery of at least 30 workloads in the short size of the torture run', () => {
    const names = new Set(WORKLOADS.map(({ name }) => name))
    expect([...LONG].filter((name) => !names.has(name))).toEqual([])
    expect(names.size - LONG.size).toBeGreaterThanOrEqual(30)
  })
})
