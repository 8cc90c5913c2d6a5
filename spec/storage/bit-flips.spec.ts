import { describe, expect, it } from 'vitest'
import { judgeDirectory, rottenDirectory } from '../broker/rotten-directory.ts'
import { tryRot } from './rot.ts'
import { judgeRotten, rottenLog } from './rotten-log.ts'

/**
 * A sample of the ways in which files can rot; all of them are tried by the long programme. The share
 * has no divisor in common with what repeats in files and in the order of their rot.
 */
const SHARE = 149

const ENDS = ['closed', 'killed'] as const

/** Of a broker's directory, where a trial takes longer. */
const DIRECTORY_SHARE = 89

describe('of what has rotted in a log that was', () => {
  it.each(ENDS)('%s, all is told or makes no difference', async (end) => {
    const log = await rottenLog(end)
    const names = [...log.fs.snapshot().keys()].join()
    expect(names).toMatch(/varve-segments/)
    expect(log.fs.snapshot().size).toBeGreaterThan(14)
    const sweep = await tryRot(log.fs, judgeRotten(log), (number) => number % SHARE === 0)
    expect(sweep.problems).toEqual([])
    expect(sweep.tried.get('log')).toBeGreaterThan(200)
  })
})

describe("of what has rotted in a broker's directory that was", () => {
  it.each(ENDS)('%s, all is told or makes no difference', async (end) => {
    const fs = await rottenDirectory(end)
    const sweep = await tryRot(fs, judgeDirectory, (number) => number % DIRECTORY_SHARE === 0)
    expect(sweep.problems).toEqual([])
    expect([...sweep.tried.keys()]).toEqual(expect.arrayContaining(['log', 'varve-topics']))
  })
})
