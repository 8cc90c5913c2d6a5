import { describe, expect, it } from 'vitest'
import { CODECS } from '../crash/workloads/codecs.ts'
import { COMPACTION } from '../crash/workloads/compaction.ts'
import { drawnLives } from '../crash/workloads/drawn-lives.ts'
import { RETENTION } from '../crash/workloads/retention.ts'
import { losePower } from './power-losses.ts'
import { runs, seed } from './size.ts'

/** With more of them, each would see too few power losses. */
const LIVES = 200

describe(`power losses in the life of a log (seed ${seed})`, () => {
  it('lose only what compaction and retention may remove', async () => {
    const workloads = [...RETENTION, ...COMPACTION, ...CODECS, ...drawnLives(LIVES)]
    const count = runs({ short: 4_000, full: 500_000 })
    expect(await losePower('power losses in lives', workloads, count)).toBe('')
  })
})
