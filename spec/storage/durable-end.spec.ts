import { describe, expect, it } from 'vitest'
import { DurableEndFile, type DurableEnd } from '../../lib/storage/durable-end.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, openLog, pathOf, valuesOf, valuesUpTo, writtenLog } from './log-fixtures.ts'

const COUNT = 7
const MARK = `${DIR}/varve-durable-end`
/** Each batch has this size, and two of them share a segment. */
const SIZE = 71

/** A log that was not closed, with the mark of a failed sync after its fifth record. */
async function marked(end: Partial<DurableEnd> = {}): Promise<SimulatedFileSystem> {
  const fs = await writtenLog(COUNT, { close: false })
  const mark = { offset: 5, segment: 4, position: SIZE, leaderEpoch: 0, ...end }
  await new DurableEndFile(fs, DIR).leave(mark)
  return fs.restart('process')
}

/** Otherwise the recovery point is beyond the mark, which is then outdated. */
async function withoutRecoveryPoint(fs: SimulatedFileSystem): Promise<void> {
  for (const name of ['recovery-point-offset-checkpoint', 'varve-segments']) {
    if ((await fs.stat(`${DIR}/${name}`)) !== null) await fs.unlink(`${DIR}/${name}`)
  }
}

describe('the mark of a failed sync', () => {
  it('truncates the log there, keeps the bytes beside it, starts a new leader epoch, and is removed', async () => {
    const fs = await marked()
    await withoutRecoveryPoint(fs)
    const rest = fs.readFile(pathOf(4)).subarray(SIZE)
    const log = await openLog(fs)
    expect(await valuesOf(log)).toEqual(valuesUpTo(5))
    const keptIn = `${pathOf(4)}.${SIZE}.torn`
    expect(log.recovery.truncations).toMatchObject([{ path: pathOf(4), position: SIZE, keptIn }])
    expect(rest).toHaveLength(SIZE)
    expect(fs.readFile(keptIn)).toEqual(rest)
    expect(log.leaderEpoch).toBeGreaterThan(0)
    expect(await fs.stat(MARK)).toBeNull()
    expect((await log.append([{ value: 'next' }])).baseOffset).toBe(5)
    await log.close()
  })

  it('ends what a read-only open reads, without changing any file', async () => {
    const fs = await marked()
    await withoutRecoveryPoint(fs)
    const before = fs.snapshot()
    const log = await openLog(fs, { readOnly: true })
    expect(await valuesOf(log)).toEqual(valuesUpTo(5))
    expect(fs.snapshot()).toEqual(before)
  })

  it('removes the later segments if it is at the end of a segment', async () => {
    const fs = await marked({ offset: 4, segment: 2, position: 2 * SIZE })
    await withoutRecoveryPoint(fs)
    const log = await openLog(fs)
    expect(await valuesOf(log)).toEqual(valuesUpTo(4))
    expect(log.recovery.truncations).toEqual([])
  })

  it.each<[string, Partial<DurableEnd>]>([
    ['of an epoch before that of the records', { leaderEpoch: -1 }],
  ])('is ignored as already obeyed if it is %s', async (_, end) => {
    const fs = await marked(end)
    await withoutRecoveryPoint(fs)
    expect(await valuesOf(await openLog(fs))).toEqual(valuesUpTo(COUNT))
  })

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['rubbish', Buffer.from('varve')],
    ['another version', Buffer.from('varve-durable-end 2 00000000\n5 4 71 0\n')],
    ['another checksum', Buffer.from('varve-durable-end 1 00000000\n5 4 71 0\n')],
    [
      'an offset that is none',
      Buffer.from(`varve-durable-end 1 00000000\n${'9'.repeat(20)} 4 71 0\n`),
    ],
    ['too much', Buffer.alloc(100_000, 'x')],
  ])('is ignored if it holds %s', async (_, content) => {
    const fs = await writtenLog(COUNT, { close: false })
    fs.writeFile(MARK, content)
    const restarted = fs.restart('process')
    expect(await new DurableEndFile(restarted, DIR).read()).toBeNull()
    expect(await valuesOf(await openLog(restarted))).toEqual(valuesUpTo(COUNT))
  })

  it('makes its read reject if the disk fails', async () => {
    const fs = await marked()
    fs.failNext('open', 'EIO', { path: MARK })
    await expect(new DurableEndFile(fs, DIR).read()).rejects.toMatchObject({ code: 'EIO' })
  })
})
