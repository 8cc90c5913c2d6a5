import { expect, it } from 'vitest'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, NOW, openLog, pathOf, readAll, upTo } from './log-fixtures.ts'

const config = { segmentBytes: 4096, indexIntervalBytes: 64, segmentMs: 10 ** 12 } as const
/** The second record is the latest one by far. */
const TIMES = [-5000, 0, -4900, -4800, -4700, -4600]

async function fill(log: Log, times: readonly number[]): Promise<void> {
  const value = 'x'.repeat(30)
  for (const time of times) await log.append([{ value, timestamp: NOW + time }])
}

/** Every search by time finds what a look at each record finds. */
async function expectSearches(log: Log, where: string): Promise<void> {
  const records = await readAll(log)
  for (const { timestamp } of records) {
    for (const since of [timestamp, timestamp + 1]) {
      const first = records.find((record) => record.timestamp >= since)
      const found = await log.offsetForTimestamp(since)
      expect(found?.offset, `${where}, since ${since - NOW}`).toBe(first?.offset)
    }
  }
}

it.each(['kill', 'power loss'] as const)(
  'a time index that is written again after a failed sync is whole after a %s at any operation',
  async (how) => {
    for (const error of ['EIO', 'ENOSPC'] as const) {
      const filled = new SimulatedFileSystem({ seed: 1 })
      const log = await openLog(filled, { config })
      await fill(log, TIMES)
      await log.checkpoint()
      const fs = filled.restart('process')
      fs.failNext('datasync', error, { path: pathOf(0, 'timeindex') })
      const again = await openLog(fs, { config })
      expect(again.failure).toBeNull()
      const moments: [string, SimulatedFileSystem][] = []
      fs.observe(({ kind, path }) => moments.push([`${kind} ${path}`, fs.fork()]))
      await again.checkpoint()
      fs.observe(null)
      expect(moments.some(([operation]) => operation === `write ${pathOf(0, 'timeindex')}`)).toBe(
        true,
      )
      for (const [operation, moment] of moments) {
        const stopped = moment.restart(how === 'kill' ? 'process' : 'power', { seed: 1 })
        const next = await openLog(stopped, { config: { ...config, retentionMs: 1000 } })
        await fill(next, [-4500, -4400, -4300])
        await expectSearches(next, `${how} before ${operation}`)
        await next.roll()
        const freed = await next.enforceRetention(() => ({
          highWatermark: next.logEndOffset,
          startOffset: 0,
          maxSizeBytes: Infinity,
          nowMs: NOW + 500,
        }))
        expect(freed.segments, `${how} before ${operation}`).toBe(0)
      }
    }
  },
)

it('a kill between the first entries of both indexes is no loss of an index', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config })
  await fill(log, TIMES.slice(0, 1))
  await log.checkpoint()
  await fill(log, TIMES.slice(1))
  const moments: SimulatedFileSystem[] = []
  fs.observe(() => moments.push(fs.fork()))
  await log.checkpoint()
  fs.observe(null)
  for (const moment of moments) {
    const again = await openLog(moment.restart('process'), { config })
    expect(again.recovery.rebuiltIndexes).toEqual([])
    await expectSearches(again, DIR)
  }
})

it('an empty time index of records without timestamps is whole', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const batches = upTo(20).map((baseOffset) => bytesOf({ baseOffset, timestamp: -1 }))
  fs.writeFile(pathOf(0), Buffer.concat(batches))
  await (await openLog(fs, { config })).close()
  expect([fs.readFile(pathOf(0, 'index')).length > 0, fs.readFile(pathOf(0, 'timeindex'))]).toEqual(
    [true, Buffer.alloc(0)],
  )
  const before = fs.operations.length
  const again = await openLog(fs, { config })
  expect(again.recovery.rebuiltIndexes).toEqual([])
  await again.close()
  const written = fs.operations.slice(before).filter((line) => / write .*index/.test(line))
  expect(written).toEqual([])
})

it.each(['closed', 'killed'])(
  'an emptied time index is rebuilt: of a log that was %s',
  async (end) => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs, { config })
    await fill(log, TIMES)
    await log.checkpoint()
    if (end === 'closed') await log.close()
    const stopped = fs.restart('process')
    stopped.writeFile(pathOf(0, 'timeindex'), Buffer.alloc(0))
    for (const readOnly of [true, false]) {
      const again = await openLog(stopped, { config, readOnly })
      await expectSearches(again, `readOnly: ${readOnly}`)
      if (!readOnly) expect(again.recovery.rebuiltIndexes).toContain(pathOf(0))
      if (!readOnly) await fill(again, [-4500, -4400, -4300])
      await expectSearches(again, `readOnly: ${readOnly}, after appends`)
      await again.close()
    }
    const last = await openLog(stopped, { config })
    expect(last.recovery.rebuiltIndexes).toEqual([])
    await expectSearches(last, DIR)
  },
)
