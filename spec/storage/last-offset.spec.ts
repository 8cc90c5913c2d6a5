import { describe, expect, it } from 'vitest'
import type { TopicConfig } from '../../lib/config.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition } from '../helpers/partitions.ts'
import { DIR, SMALL, bytesOf, offsetsOf, openLog, pathOf } from './log-fixtures.ts'

/** The end of a log whose offsets are used up. */
const END = Number.MAX_SAFE_INTEGER
const REFUSED = { code: 'STORAGE_ERROR', outcome: 'not-written' }

/** A log with this many offsets left. */
async function logWith(
  left: number,
  config: TopicConfig = SMALL,
): Promise<{ fs: SimulatedFileSystem; log: Log }> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  fs.writeFile(pathOf(END - left), Buffer.alloc(0))
  return { fs, log: await openLog(fs, { config }) }
}

/** Names and sizes of all files of the log. */
async function filesOf(fs: SimulatedFileSystem): Promise<string[]> {
  const names = (await fs.list(DIR)).map(({ name }) => name)
  const sizes = await Promise.all(names.map((name) => fs.stat(`${DIR}/${name}`)))
  return names.map((name, each) => `${name} ${sizes[each]?.sizeBytes}`)
}

describe('an append beyond the last offset', () => {
  it('is rejected with an error that names the log end offset and the valid offsets', async () => {
    const { fs, log } = await logWith(0)
    const before = await filesOf(fs)
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject({
      ...REFUSED,
      path: DIR,
      message:
        'orders-0 ends at 9007199254740991 and has no room for 1 more offset(s): ' +
        'the offsets of a log are 0 to 9007199254740990 (2^53 - 2)',
    })
    expect(await filesOf(fs)).toEqual(before)
    expect([log.logEndOffset, log.failure, log.isWritable]).toEqual([END, null, true])
    await log.close()
    expect((await openLog(fs)).logEndOffset).toBe(END)
  })

  it('is rejected if only its last record is beyond, and the remaining offsets can be used', async () => {
    const { fs, log } = await logWith(3)
    await log.append([{ value: 'a' }, { value: 'b' }])
    const before = await filesOf(fs)
    await expect(log.append([{ value: 'x' }, { value: 'y' }])).rejects.toMatchObject(REFUSED)
    expect(await filesOf(fs)).toEqual(before)
    expect(await log.append([{ value: 'c' }])).toMatchObject({ lastOffset: END - 1 })
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject(REFUSED)
    await log.close()
    const again = await openLog(fs)
    expect(await offsetsOf(again)).toEqual([END - 3, END - 2, END - 1])
    expect(await again.verify()).toEqual([])
  })

  it('is rejected as a whole if it has several batches, even if a roll comes before the last', async () => {
    const { fs, log } = await logWith(4, { segmentBytes: 2 * bytesOf().length })
    await log.append([{ key: 'k', value: 'v' }])
    const [before, { segments }] = [await filesOf(fs), log]
    const batches = [bytesOf(), bytesOf(), bytesOf(), bytesOf()]
    await expect(log.appendBatches(batches)).rejects.toMatchObject(REFUSED)
    expect(await filesOf(fs)).toEqual(before)
    expect(log.segments).toEqual(segments)
    await log.appendBatches(batches.slice(1))
    expect(await offsetsOf(log)).toEqual([END - 4, END - 3, END - 2, END - 1])
    await log.close()
  })

  it('fails the appends that share its write, but no later one that fits', async () => {
    const fileSystem = new SimulatedFileSystem({ seed: 1 })
    fileSystem.writeFile(`/data/orders-0/${pathOf(END - 2).slice(DIR.length + 1)}`, Buffer.alloc(0))
    const partition = await openPartition({ fileSystem })
    const outcomes = await Promise.allSettled([
      partition.append([{ value: 'a' }, { value: 'b' }]),
      partition.append([{ value: 'c' }, { value: 'd' }]),
    ])
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: REFUSED })
    }
    expect(partition.logEndOffset).toBe(END - 2)
    expect(await partition.append([{ value: 'a' }, { value: 'b' }])).toMatchObject({
      lastOffset: END - 1,
    })
    await expect(partition.append({ value: 'c' })).rejects.toMatchObject(REFUSED)
    await partition.log.close()
  })
})
