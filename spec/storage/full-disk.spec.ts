import { describe, expect, it } from 'vitest'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { NOW, offsetsOf, openLog, pathOf, SMALL, upTo } from './log-fixtures.ts'

const DAY_MS = 86_400_000
const CONFIG = { ...SMALL, retentionMs: DAY_MS }

interface WrittenLog {
  readonly fs: SimulatedFileSystem
  readonly log: Log
}

/** A log with two records in each segment. */
async function written(count: number): Promise<WrittenLog> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config: CONFIG })
  for (let each = 0; each < count; each += 1) {
    await log.append([{ key: 'k', value: 'v', timestamp: NOW }])
  }
  await log.checkpoint()
  return { fs, log }
}

/** Eight records in four segments, on a disk without space for a line of the record of segments. */
async function full(persistent: boolean): Promise<WrittenLog> {
  const { fs, log } = await written(8)
  fs.failNext('write', 'ENOSPC', { path: /varve-segments/, persistent })
  return { fs, log }
}

/** The last block of the record of segments has space for a line, and nothing else has. */
async function withoutRoomForCheckpoints(count: number): Promise<WrittenLog> {
  const { fs, log } = await written(count)
  fs.failNext('write', 'ENOSPC', { path: /offset-checkpoint/, persistent: true })
  return { fs, log }
}

function retain(log: Log): Promise<{ segments: number }> {
  const limits = { highWatermark: log.logEndOffset, startOffset: 0, maxSizeBytes: Infinity }
  return log.enforceRetention(() => ({ ...limits, nowMs: NOW + 10 * DAY_MS }))
}

const WAYS: [string, (log: Log) => Promise<{ segments: number }>, number][] = [
  ['retention', retain, 4],
  ['a deletion of records', (log) => log.advanceLogStartOffset(6), 3],
]

describe('a full disk', () => {
  it.each(WAYS)(
    'lets %s delete indexes of the removed segments first, to make room for the record',
    async (_, remove, segments) => {
      const { fs, log } = await full(false)
      const before = fs.operations.length
      await expect(remove(log)).resolves.toMatchObject({ segments })
      const done = fs.operations.slice(before)
      const firstRemoved = done.findIndex((operation) => operation.includes(' unlink '))
      const firstWritten = done.findLastIndex((operation) => operation.includes('varve-segments'))
      expect(done[firstRemoved]).toContain('.timeindex')
      expect(firstRemoved).toBeLessThan(firstWritten)
      // No index of the remaining segments is removed.
      const removed = done.filter((operation) => / unlink .*index/.test(operation))
      expect(removed).toHaveLength(2 * segments)
      expect(await log.append([{ key: 'k', value: 'more' }])).toMatchObject({ baseOffset: 8 })
    },
  )

  it.each(WAYS)('loses no record if %s cannot make enough room', async (_, remove) => {
    const { fs, log } = await full(true)
    await expect(remove(log)).rejects.toMatchObject({ cause: { code: 'ENOSPC' } })
    expect(await offsetsOf(log)).toEqual(upTo(8))
    const again = await openLog(fs.restart('process'), { config: CONFIG })
    expect(again.damage).toBeNull()
    expect(await offsetsOf(again)).toEqual(upTo(8))
  })

  it.each(WAYS)(
    'loses no record if %s cannot make enough room for the checkpoint',
    async (_, remove) => {
      const { fs, log } = await withoutRoomForCheckpoints(8)
      await expect(remove(log)).rejects.toMatchObject({ cause: { code: 'ENOSPC' } })
      expect(await offsetsOf(log)).toEqual(upTo(8))
      const again = await openLog(fs.restart('process'), { config: CONFIG })
      expect(again.damage).toBeNull()
      expect(again.logStartOffset).toBe(0)
      expect(await offsetsOf(again)).toEqual(upTo(8))
    },
  )

  it('loses no record of the only segment if a deletion cannot write the checkpoint', async () => {
    const { fs, log } = await withoutRoomForCheckpoints(2)
    expect(log.segments).toHaveLength(1)
    await expect(log.advanceLogStartOffset(1)).rejects.toMatchObject({ cause: { code: 'ENOSPC' } })
    const again = await openLog(fs.restart('process'), { config: CONFIG })
    expect(again.logStartOffset).toBe(0)
    expect(await offsetsOf(again)).toEqual(upTo(2))
  })

  it('lets retention delete sealed segments even if a new active one cannot be created', async () => {
    const { fs, log } = await full(false)
    fs.failNext('open', 'ENOSPC', { path: pathOf(8) })
    expect((await retain(log)).segments).toBeGreaterThan(2)
    expect(log.logStartOffset).toBeGreaterThan(0)
    expect(log.logStartOffset).toBeLessThan(8)
    await retain(log)
    expect(log.logStartOffset).toBe(8)
  })
})
