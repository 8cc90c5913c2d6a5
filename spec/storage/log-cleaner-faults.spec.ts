import { describe, expect, it } from 'vitest'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { NOW, openLog, readAll } from './log-fixtures.ts'

const CONFIG = {
  cleanupPolicy: 'compact',
  segmentBytes: 400,
  indexIntervalBytes: 64,
  // A sync per append, so that every record is durable.
  flushMessages: 1,
} as const
const KEYS = ['a', 'b', 'a', 'c', 'b', 'a', 'd', 'c', 'a', 'b'] as const
const LAST = [6, 7, 8, 9]

async function written(): Promise<{ disk: SimulatedFileSystem; log: Log }> {
  const disk = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(disk, { config: CONFIG })
  for (const [slot, key] of KEYS.entries()) {
    await log.append([{ key, value: `v${slot}`, timestamp: NOW }])
  }
  await log.roll()
  return { disk, log }
}

const compact = (log: Log): Promise<unknown> =>
  log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 4096 })

/** Checks that every record was appended, and that the last record of each key is present. */
async function expectWhole(log: Log): Promise<void> {
  const records = await readAll(log)
  for (const { offset, key, value } of records) {
    expect([String(key), String(value)]).toEqual([KEYS[offset], `v${offset}`])
  }
  const offsets = records.map(({ offset }) => offset)
  expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
  expect(offsets).toEqual(expect.arrayContaining(LAST))
  expect(log.logEndOffset).toBe(KEYS.length)
}

describe('a compaction pass on a failing disk', () => {
  it.each(['EIO', 'ENOSPC'])(
    'loses no record if any single disk operation fails with %s',
    async (code) => {
      const dry = await written()
      const from = dry.disk.operationCount
      await compact(dry.log)
      const count = dry.disk.operationCount - from
      expect(count).toBeGreaterThan(40)
      let [failed, doubtful] = [0, 0]
      for (let each = 1; each <= count; each += 1) {
        const { disk, log } = await written()
        disk.failAt(each, code)
        const outcome = await compact(log).then(
          () => 'done',
          () => 'failed',
        )
        disk.clearFaults()
        await expectWhole(log)
        if (outcome === 'failed') failed += 1
        if (!log.isWritable) doubtful += 1
        else {
          // What the fault prevented succeeds now.
          await compact(log)
          expect((await readAll(log)).map(({ offset }) => offset)).toEqual(LAST)
          expect(await log.verify()).toEqual([])
        }
        await log.close().catch(() => undefined)
        const again = await openLog(disk, { config: CONFIG })
        expect(again.damage, `call ${each}`).toBeNull()
        await expectWhole(again)
        expect(await again.verify()).toEqual([])
      }
      expect(failed).toBeGreaterThan(20)
      // Only after the decisive rename.
      expect(doubtful).toBeLessThan(failed / 2)
    },
  )

  it('leaves the log unchanged on a full disk, and succeeds once there is room', async () => {
    const { disk, log } = await written()
    const before = (await readAll(log)).length
    let sizeBytes = 0
    for (const bytes of disk.snapshot().values()) sizeBytes += bytes.length
    disk.capacityBytes = sizeBytes + 100
    await expect(compact(log)).rejects.toMatchObject({ outcome: 'not-written' })
    expect(await readAll(log)).toHaveLength(before)
    expect(log.isWritable).toBe(true)
    disk.capacityBytes = Infinity
    await compact(log)
    await expectWhole(log)
  })
})
