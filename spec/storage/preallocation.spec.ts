import { describe, expect, it } from 'vitest'
import type { TopicConfig } from '../../lib/config.ts'
import { Log } from '../../lib/storage/log.ts'
import {
  MAX_PREALLOCATED_BYTES,
  Preallocation,
  isPreallocated,
} from '../../lib/storage/preallocation.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, openLog, pathOf, valuesOf, valuesUpTo } from './log-fixtures.ts'

const LARGE: TopicConfig = { segmentBytes: 2 ** 30, preallocate: true }
const WITHOUT: TopicConfig = { ...LARGE, preallocate: false }
const PATH = pathOf(0)
const LOST = { unsynced: 'lost' } as const
const NOTHING = { truncations: [], rebuiltIndexes: [], failedSyncOffset: null, damage: null }

async function openedLog(
  count: number,
  config: TopicConfig = LARGE,
): Promise<{ fs: SimulatedFileSystem; log: Log }> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config })
  for (const value of valuesUpTo(count)) await log.append([{ key: 'k', value }])
  return { fs, log }
}

/** How many bytes follow the batches of a file; all of them must be preallocation. */
function preallocatedIn(fs: SimulatedFileSystem, path = PATH): number {
  const bytes = fs.readFile(path)
  return bytes.length - 1 - bytes.findLastIndex((byte) => byte !== 0xfe)
}

describe('preallocate', () => {
  it('is off by default', async () => {
    const { fs, log } = await openedLog(3, { segmentBytes: 2 ** 30 })
    expect(fs.readFile(PATH).length).toBe(log.segments[0]?.sizeBytes)
  })

  it('keeps a file from growing with each append', async () => {
    const { fs, log } = await openedLog(1)
    const sizes = new Set<number>()
    for (let each = 0; each < 20; each += 1) {
      await log.append([{ key: 'k', value: 'next' }])
      sizes.add(fs.readFile(PATH).length)
    }
    expect([...sizes]).toEqual([4096])
    const lost = fs.fork().restart('power', LOST)
    expect(lost.readFile(PATH)).toEqual(fs.readFile(PATH))
  })

  it('adds at most as much as the file has, or one block, and 256 KiB, and ends at a block boundary', async () => {
    const { fs, log } = await openedLog(0)
    let largest = 0
    for (let sizeBytes = 100; sizeBytes < 2_000_000; sizeBytes *= 1.7) {
      await log.append([{ value: Buffer.alloc(Math.min(sizeBytes, 200_000), 1) }])
      const taken = preallocatedIn(fs)
      const { length } = fs.readFile(PATH)
      expect(taken).toBeLessThanOrEqual(Math.max(length - taken, 4096))
      expect(taken).toBeLessThanOrEqual(MAX_PREALLOCATED_BYTES)
      expect(length % 4096).toBe(0)
      largest = Math.max(largest, taken)
    }
    expect(largest).toBeGreaterThan(MAX_PREALLOCATED_BYTES - 4096)
  })

  it('adds nothing while records are not durable, or for one large append', async () => {
    const { fs, log } = await openedLog(0, { ...LARGE, flushMessages: 1_000 })
    await log.append([{ value: Buffer.alloc(5000) }])
    const { length } = fs.readFile(PATH)
    for (let each = 0; each < 5; each += 1) await log.append([{ value: Buffer.alloc(5000) }])
    expect(fs.readFile(PATH).length).toBeGreaterThan(length)
    expect(fs.readFile(PATH).length).toBe(log.segments[0]?.sizeBytes)
    await log.flush()
    await log.append([{ value: Buffer.alloc(MAX_PREALLOCATED_BYTES) }])
    expect(preallocatedIn(fs)).toBe(0)
    await log.flush()
    await log.append([{ value: 'few bytes' }])
    expect(preallocatedIn(fs)).toBeGreaterThan(MAX_PREALLOCATED_BYTES - 4096)
  })

  it('adds nothing beyond segmentBytes, or if maxBytes or minFreeBytes is set', async () => {
    const { fs, log } = await openedLog(0, { ...LARGE, segmentBytes: 10_000 })
    await log.append([{ value: Buffer.alloc(5000) }])
    expect(fs.readFile(PATH).length).toBe(8192)
    await log.append([{ value: Buffer.alloc(3500) }])
    expect(fs.readFile(PATH).length).toBe(log.segments[0]?.sizeBytes)
    for (const limit of [{ maxBytes: 1_000_000 }, { minFreeBytes: 1 }]) {
      const limited = await openedLog(3, { ...LARGE, ...limit })
      expect(preallocatedIn(limited.fs)).toBe(0)
    }
  })

  it('makes no file larger than a Kafka broker opens', async () => {
    const ends: number[] = []
    const file = {
      write: (buffers: readonly Uint8Array[], position: number) => {
        ends.push(position + (buffers[0]?.length ?? 0))
        return Promise.resolve()
      },
      shrink: () => Promise.reject(new Error('nothing was refused')),
    }
    const sizeBytes = 2 ** 31 - 50_000
    const grown = new Preallocation({ file, sizeBytes, durable: { sizeBytes } })
    await grown.takeFor(100, 2 ** 31 - 1)
    expect(ends).toEqual([2 ** 31 - 4096])
  })
})

describe('preallocated space', () => {
  it('is removed by a roll, a truncation and a close', async () => {
    const { fs, log } = await openedLog(6)
    const sizeOf = (slot: number): number | undefined => log.segments[slot]?.sizeBytes
    expect(preallocatedIn(fs)).toBeGreaterThan(0)
    await log.truncateTo(5)
    expect([preallocatedIn(fs), fs.readFile(PATH).length]).toEqual([0, sizeOf(0)])
    await log.append([{ value: 'v5' }])
    expect(preallocatedIn(fs)).toBeGreaterThan(0)
    await log.roll()
    const rolled = fs.fork().restart('power', LOST)
    expect([preallocatedIn(rolled), rolled.readFile(PATH).length]).toEqual([0, sizeOf(0)])
    await log.append([{ value: 'v6' }])
    expect(preallocatedIn(fs, pathOf(6))).toBeGreaterThan(0)
    await log.close()
    const closed = fs.fork().restart('power', LOST)
    expect(preallocatedIn(closed, pathOf(6))).toBe(0)
    const again = await openLog(closed, { config: LARGE })
    expect(again.recovery).toEqual(NOTHING)
    expect(await valuesOf(again)).toEqual(valuesUpTo(7))
  })

  it.each(['close', 'roll'] as const)(
    'is removed by a %s once the records are durable, so that a failed truncation loses none',
    async (what) => {
      let failedCuts = 0
      for (let failing = 1; failing <= 6; failing += 1) {
        const { fs, log } = await openedLog(2, { ...LARGE, flushMessages: 3 })
        await log.append([{ key: 'k', value: 'v2' }])
        await log.append([{ key: 'k', value: 'v3' }])
        fs.failAt(failing, 'EIO', { path: PATH })
        await log[what]().catch(() => undefined)
        if (!fs.operations.some((line) => / truncate .* ! EIO$/.test(line))) continue
        failedCuts += 1
        const again = await openLog(fs.fork().restart('power', LOST), { config: LARGE })
        expect(again.recovery).toEqual(NOTHING)
        expect(await valuesOf(again)).toEqual(valuesUpTo(4))
      }
      expect(failedCuts).toBeGreaterThan(0)
    },
  )

  it.each(['process', 'power'] as const)(
    'is removed after a %s crash, and the recovery reports nothing',
    async (kind) => {
      const { fs } = await openedLog(3)
      const stopped = fs.restart(kind, LOST)
      expect(preallocatedIn(stopped)).toBeGreaterThan(0)
      const log = await openLog(stopped, { config: LARGE })
      expect(log.recovery).toEqual(NOTHING)
      expect(preallocatedIn(stopped)).toBe(0)
      await log.append([{ key: 'k', value: 'v3' }])
      expect(await valuesOf(log)).toEqual(valuesUpTo(4))
    },
  )

  it.each([null, 'ENOSPC'])(
    'is removed after a clean close too, at the latest by a roll, if the first truncation ends in %s',
    async (code) => {
      const { fs, log } = await openedLog(3)
      await log.close()
      const { length } = fs.readFile(PATH)
      fs.writeFile(PATH, Buffer.concat([fs.readFile(PATH), Buffer.alloc(5000, 0xfe)]))
      const rehearsal = fs.fork()
      const before = rehearsal.operationCount
      await openLog(rehearsal, { config: WITHOUT })
      const cut = rehearsal.operations.slice(before).findIndex((line) => / truncate /.test(line))
      expect(cut).toBeGreaterThan(0)
      if (code !== null) fs.failAt(cut + 1, code)
      const again = await openLog(fs, { config: WITHOUT })
      expect(again.recovery).toEqual(NOTHING)
      if (code === null) expect(fs.readFile(PATH).length).toBe(length)
      await again.append([{ key: 'k', value: 'v3' }])
      await again.roll()
      await again.close()
      expect(fs.readFile(PATH).length).toBe(again.segments[0]?.sizeBytes)
      expect((await openLog(fs, { config: LARGE })).recovery).toEqual(NOTHING)
    },
  )

  it('is kept aside with a torn tail as a whole, since nobody can tell where the tail ends', async () => {
    const { fs } = await openedLog(3)
    const stopped = fs.restart('process')
    const bytes = stopped.readFile(PATH)
    const position = bytes.length - preallocatedIn(stopped)
    const sizeBytes = bytes.length - position
    bytes.fill(7, position, position + 70)
    stopped.writeFile(PATH, bytes)
    const log = await openLog(stopped, { config: LARGE })
    expect(log.recovery.truncations).toMatchObject([{ position, sizeBytes }])
    const kept = stopped.readFile(log.recovery.truncations[0]?.keptIn ?? '')
    expect(kept).toEqual(bytes.subarray(position))
  })

  it.each([true, false])(
    'is not confused with fill bytes at the end of a batch: preallocate %s',
    async (preallocate) => {
      const fs = new SimulatedFileSystem({ seed: 1 })
      const config = { ...LARGE, preallocate }
      const log = await openLog(fs, { config })
      await log.append([{ value: 'v0' }])
      const position = log.segments[0]?.sizeBytes ?? 0
      await log.append([{ value: 'v1' }])
      const headers = [{ key: 'h', value: Buffer.alloc(40, 0xfe) }]
      await log.append([{ value: 'v2', headers }])
      const stopped = fs.restart('power', LOST)
      stopped.flipBit(PATH, position + 64, 1)
      const again = await openLog(stopped, { config })
      // The last batch proves that the one before had been durable.
      expect(again.damage).toMatchObject({ position, firstOffset: 1 })
      expect(again.isWritable).toBe(false)
    },
  )

  it.each([
    ['zeros from a block on', (bytes: Buffer) => bytes.fill(0, 4096)],
    ['zeros up to what was preallocated', (bytes: Buffer, end: number) => bytes.fill(0, 4096, end)],
    ['a flipped bit in it', (bytes: Buffer, end: number) => (bytes[end + 9] = 0xfc)],
  ])('does not hide damage in the last bytes: %s', async (_, rot) => {
    const { fs } = await openedLog(200)
    const stopped = fs.restart('process')
    const bytes = stopped.readFile(PATH)
    rot(bytes, bytes.length - preallocatedIn(stopped))
    stopped.writeFile(PATH, bytes)
    const log = await openLog(stopped, { config: LARGE })
    expect(log.recovery.truncations.length + (log.damage === null ? 0 : 1)).toBe(1)
  })

  it('is not reported as lost by a salvage', async () => {
    const { fs } = await openedLog(3)
    const stopped = fs.restart('process')
    expect(preallocatedIn(stopped)).toBeGreaterThan(0)
    const report = await Log.salvage(DIR, '/target', { fileSystem: stopped })
    expect(report).toMatchObject({ recordCount: 3, logEndOffset: 3, lost: [] })
    stopped.flipBit(PATH, 2_000, 3)
    const again = await Log.salvage(DIR, '/again', { fileSystem: stopped })
    expect(again.lost).toHaveLength(1)
  })

  it('is recognized only if every byte is the fill byte', async () => {
    const fs = new SimulatedFileSystem()
    for (const other of [0, 1, 300_000, 599_999]) {
      const bytes = Buffer.alloc(600_000, 0xfe)
      bytes[other] = 0xff
      fs.writeFile('/f', bytes)
      const file = await fs.open('/f', 'read')
      expect(await isPreallocated(file, 0, 600_000)).toBe(false)
      expect(await isPreallocated(file, other + 1, 600_000)).toBe(other < 599_999)
      expect(await isPreallocated(file, 0, other)).toBe(other > 0)
    }
  })
})

describe('a preallocation without room', () => {
  it.each(['in-order', 'awaited'] as const)(
    'is undone before the record is written and synced, with calls %s',
    async (completion) => {
      const fs = new SimulatedFileSystem({ seed: 1, completion })
      const log = await openLog(fs, { config: LARGE })
      await log.append([{ value: 'few bytes' }])
      fs.failAt(1, 'ENOSPC', { path: PATH })
      const before = fs.operations.length
      await log.append([{ value: Buffer.alloc(5_000, 1) }])
      const steps = fs.operations.slice(before).map((line) => line.split(' ')[1])
      expect(steps).toEqual(['write', 'truncate', 'write', 'datasync'])
      expect([log.durableEndOffset, log.isWritable]).toEqual([2, true])
      await log.append([{ value: Buffer.alloc(50_000, 1) }])
      expect(preallocatedIn(fs)).toBe(0)
      const again = await openLog(fs.fork().restart('power', LOST), { config: LARGE })
      expect(again.logEndOffset).toBe(3)
    },
  )

  it.each(['in-order', 'awaited'] as const)(
    'leaves the space that it got to the record, with calls %s',
    async (completion) => {
      const fs = new SimulatedFileSystem({ seed: 1, completion })
      const log = await openLog(fs, { config: LARGE })
      await log.append([{ value: Buffer.alloc(50_000, 1) }])
      const { length } = fs.readFile(PATH)
      await log.append([{ value: Buffer.alloc(length - 52_000, 1) }])
      // Enough for the record, and for a part of what follows it.
      const record = Buffer.alloc(30_000, 1)
      fs.shortWriteAt(1, 10_000)
      fs.failAt(2, 'ENOSPC', { path: PATH })
      const before = fs.operations.length
      await log.append([{ value: record }])
      const steps = fs.operations.slice(before).map((line) => line.split(' ')[1])
      expect(steps.filter((step) => step !== 'write')).toEqual(['truncate', 'datasync'])
      expect(fs.readFile(PATH).length).toBe(log.segments[0]?.sizeBytes)
      expect([log.durableEndOffset, log.leaderEpoch]).toEqual([3, 0])
    },
  )
})
