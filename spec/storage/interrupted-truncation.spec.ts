import { describe, expect, it } from 'vitest'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openLog, valuesOf } from './log-fixtures.ts'

const CONFIG = { config: { segmentBytes: 300, indexIntervalBytes: 32 } }
/** More than any truncation here takes. */
const MOST_OPERATIONS = 80

/** Segments of one batch each from 0 and 2 on, with 4 cut out of another, and more from 5 on. */
async function logWithGap(): Promise<{ fs: SimulatedFileSystem; log: Log }> {
  const fs = new SimulatedFileSystem()
  const log = await openLog(fs, CONFIG)
  await log.append(['v0', 'v1'].map((value) => ({ value })))
  await log.roll()
  await log.append(['v2', 'v3'].map((value) => ({ value })))
  await log.append(['v4', 'v5', 'v6'].map((value) => ({ value })))
  await log.truncateTo(5)
  await log.append([{ value: 'w5' }])
  await log.append([{ value: 'w6'.padEnd(180) }])
  await log.append([{ value: 'w7'.padEnd(180) }])
  expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 2, 5, 6, 7])
  return { fs, log }
}

describe('a truncation before a gap that an earlier truncation has left', () => {
  it.each([1, 4, 6])(
    'causes no damage wherever it is interrupted: to offset %i',
    async (offset) => {
      const damaged: string[] = []
      for (let operation = 1; operation <= MOST_OPERATIONS; operation += 1) {
        const { fs, log } = await logWithGap()
        fs.crashAt(operation, { when: 'before' })
        const isDone = await log.truncateTo(offset).then(
          () => true,
          () => false,
        )
        if (isDone) break
        const again = await openLog(fs.restart('process'), CONFIG)
        if (again.damage !== null)
          damaged.push(`before operation ${operation}: ${again.damage.message}`)
        const kept = Math.min(4, Math.floor(offset / 2) * 2)
        expect((await valuesOf(again)).slice(0, kept)).toEqual(
          ['v0', 'v1', 'v2', 'v3'].slice(0, kept),
        )
      }
      expect(damaged).toEqual([])
    },
  )
})

it('reports no damage at the next open wherever a truncation into a batch fails', async () => {
  const damaged: string[] = []
  for (let operation = 1; operation <= MOST_OPERATIONS; operation += 1) {
    const fs = new SimulatedFileSystem()
    const log = await openLog(fs, CONFIG)
    await log.append([{ value: 'v0' }])
    await log.append(['v1', 'v2', 'v3'].map((value) => ({ value })))
    fs.failAt(operation, 'EIO')
    await log.truncateTo(3).catch(() => undefined)
    fs.clearFaults()
    const again = await openLog(fs.restart('process'), CONFIG)
    if (again.damage !== null) damaged.push(`operation ${operation}: ${again.damage.message}`)
    expect((await valuesOf(again))[0]).toBe('v0')
  }
  expect(damaged).toEqual([])
})

it('loses no later record if the record of segments cannot be written, wherever a truncation into a batch fails', async () => {
  const damaged: string[] = []
  let appended = 0
  for (let operation = 1; operation <= MOST_OPERATIONS; operation += 1) {
    const fs = new SimulatedFileSystem()
    const log = await openLog(fs, CONFIG)
    await log.append([{ value: 'v0' }])
    await log.append(['v1', 'v2', 'v3'].map((value) => ({ value })))
    fs.failAt(operation, 'EIO')
    await log.truncateTo(3).catch(() => undefined)
    fs.clearFaults()
    const disk = fs.restart('process')
    disk.failNext('write', 'EIO', { path: /varve-segments/, persistent: true })
    const again = await openLog(disk, CONFIG).catch(() => null)
    const isTaken = await again?.append([{ value: 'later' }]).then(
      () => true,
      () => false,
    )
    disk.clearFaults()
    const last = await openLog(disk.restart('process'), CONFIG)
    if (last.damage !== null) damaged.push(`operation ${operation}: ${last.damage.message}`)
    else if (isTaken === true) {
      appended += 1
      expect((await valuesOf(last)).at(-1)).toBe('later')
    }
  }
  expect(damaged).toEqual([])
  expect(appended).toBeGreaterThan(5)
})
