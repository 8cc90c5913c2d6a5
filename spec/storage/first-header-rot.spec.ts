import { expect, it } from 'vitest'
import { openLog, pathOf, writtenLog } from './log-fixtures.ts'

const CONFIG = { segmentBytes: 100_000, indexIntervalBytes: 32 }

it.each([2, 0])(
  'accepts appends if batch %i of the active segment is damaged where a clean open does not read',
  async (batch) => {
    const fs = await writtenLog(10, { config: CONFIG })
    fs.flipBit(pathOf(0), batch * 71 + 16, 0)
    const log = await openLog(fs, { config: CONFIG })
    expect([log.damage, log.isWritable]).toEqual([null, true])
    expect(await log.append([{ key: 'k', value: 'more' }])).toMatchObject({ baseOffset: 10 })
  },
)
