import { expect, it } from 'vitest'
import { judgeDirectory, rottenDirectory } from '../broker/rotten-directory.ts'
import { tryRot, type Sweep } from '../storage/rot.ts'
import { judgeRotten, rottenLog } from '../storage/rotten-log.ts'
import { report, runs, seed } from './size.ts'

/** One in this many kinds of damage is tried. With 1, every bit, byte, block and length is. */
const share = runs({ short: 12, full: 1 })
const take = (number: number): boolean => number % share === seed % share

async function check(what: string, sweep: () => Promise<Sweep>): Promise<void> {
  const start = performance.now()
  const { tried, problems } = await sweep()
  const seconds = Math.round((performance.now() - start) / 1000)
  report(`bit-flips, ${what}`, { ...Object.fromEntries(tried), seconds })
  expect(problems, `seed ${seed}`).toEqual([])
}

it.each(['closed', 'killed'] as const)(
  'T5: reports any damage to a file of a log that was %s, unless it makes no difference',
  async (end) => {
    const log = await rottenLog(end)
    await check(`log, ${end}`, () => tryRot(log.fs, judgeRotten(log), take))
  },
)

it.each(['closed', 'killed'] as const)(
  'T5: reports any damage in a data directory that was %s, unless it makes no difference',
  async (end) => {
    const fs = await rottenDirectory(end)
    await check(`directory, ${end}`, () => tryRot(fs, judgeDirectory, take))
  },
)
