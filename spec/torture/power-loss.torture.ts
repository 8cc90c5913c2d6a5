import { describe, expect, it } from 'vitest'
import { WORKLOADS } from '../crash/workloads.ts'
import { losePower } from './power-losses.ts'
import { runs, seed } from './size.ts'

describe(`random power losses (seed ${seed})`, () => {
  it('lose nothing that was acknowledged as durable, on any disk', async () => {
    const count = runs({ short: 12_000, full: 1_000_000 })
    expect(await losePower('power losses', WORKLOADS, count)).toBe('')
  })
})
