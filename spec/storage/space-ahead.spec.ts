import { describe, expect, it } from 'vitest'
import type { TopicConfig } from '../../lib/config.ts'
import { Log } from '../../lib/storage/log.ts'
import { MAX_SPACE_BYTES, SpaceAhead } from '../../lib/storage/space-ahead.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, openLog, pathOf, valuesOf, valuesUpTo, withoutSpace } from './log-fixtures.ts'

const LARGE: TopicConfig = { segmentBytes: 2 ** 30 }
const PATH = pathOf(0)

async function openedLog(
  count: number,
  config: TopicConfig = LARGE,
): Promise<{ fs: SimulatedFileSystem; log: Log }> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config })
  for (const value of valuesUpTo(count)) await log.append([{ key: 'k', value }])
  return { fs, log }
}

/** Bytes behind the batches of a file, all of which have to be zero. */
function spaceOf(fs: SimulatedFileSystem, path = PATH): number {
  const file = fs.readFile(path)
  const space = file.subarray(withoutSpace(file).length)
  expect(space.every((byte) => byte === 0)).toBe(true)
  return space.length
}

/** One bit in the middle of the space is not as it was. */
function rotten(fs: SimulatedFileSystem): SimulatedFileSystem {
  const fork = fs.fork()
  fork.flipBit(PATH, 2_000, 3)
  return fork
}

describe('the space that a log takes ahead', () => {
  it('is there for appends that are synced, so that the file does not grow with each of them', async () => {
    const { fs, log } = await openedLog(1)
    const sizes = new Set<number>()
    for (let each = 0; each < 20; each += 1) {
      await log.append([{ key: 'k', value: 'next' }])
      sizes.add(fs.readFile(PATH).length)
    }
    expect([...sizes]).toEqual([4096])
    const lost = fs.fork().restart('power', { unsynced: 'lost' })
    expect(lost.readFile(PATH)).toEqual(fs.readFile(PATH))
  })

  it('is never more than the file has already, nor more than 256 KiB, and ends with a block', async () => {
    const { fs, log } = await openedLog(0)
    let largest = 0
    for (let sizeBytes = 100; sizeBytes < 2_000_000; sizeBytes *= 1.7) {
      await log.append([{ value: Buffer.alloc(Math.min(sizeBytes, 200_000), 1) }])
      const space = spaceOf(fs)
      const { length } = fs.readFile(PATH)
      expect(space).toBeLessThanOrEqual(Math.max(length - space + 4096, 4096))
      expect(space).toBeLessThanOrEqual(MAX_SPACE_BYTES)
      expect(length % 4096).toBe(0)
      largest = Math.max(largest, space)
    }
    expect(largest).toBeGreaterThan(MAX_SPACE_BYTES - 4096)
  })

  it('is not taken where much is appended between two syncs, nor without any', async () => {
    const { fs, log } = await openedLog(5, { ...LARGE, flushMessages: 1_000 })
    expect(spaceOf(fs)).toBe(0)
    await log.append([{ value: Buffer.alloc(MAX_SPACE_BYTES) }])
    await log.flush()
    expect(fs.readFile(PATH).length).toBe(log.segments[0]?.sizeBytes)
    await log.append([{ value: 'few bytes' }])
    await log.flush()
    expect(spaceOf(fs)).toBeGreaterThan(MAX_SPACE_BYTES - 4096)
  })

  it('makes no file larger than a broker of Kafka opens', async () => {
    const ends: number[] = []
    const file = {
      write: (buffers: readonly Uint8Array[], position: number) => {
        ends.push(position + (buffers[0]?.length ?? 0))
        return Promise.resolve()
      },
      writeNow: () => -1,
    }
    const sizeBytes = 2 ** 31 - 5_000
    const space = new SpaceAhead({ file, sizeBytes, durable: { sizeBytes: sizeBytes - 100 } })
    await space.take()
    expect(ends).toEqual([2 ** 31 - 1])
  })

  it('is given back by a roll, a truncation and a close', async () => {
    const { fs, log } = await openedLog(6)
    const sizeOf = (slot: number): number | undefined => log.segments[slot]?.sizeBytes
    expect(spaceOf(fs)).toBeGreaterThan(0)
    await log.truncateTo(5)
    expect([spaceOf(fs), fs.readFile(PATH).length]).toEqual([0, sizeOf(0)])
    await log.append([{ value: 'v5' }])
    expect(spaceOf(fs)).toBeGreaterThan(0)
    await log.roll()
    const rolled = fs.fork().restart('power', { unsynced: 'lost' })
    expect([spaceOf(rolled), rolled.readFile(PATH).length]).toEqual([0, sizeOf(0)])
    await log.append([{ value: 'v6' }])
    expect(spaceOf(fs, pathOf(6))).toBeGreaterThan(0)
    await log.close()
    const closed = fs.fork().restart('power', { unsynced: 'lost' })
    expect(spaceOf(closed, pathOf(6))).toBe(0)
    const again = await openLog(closed, { config: LARGE })
    expect(again.recovery).toEqual({ truncations: [], rebuiltIndexes: [], damage: null })
    expect(await valuesOf(again)).toEqual(valuesUpTo(7))
  })

  it('is given back together with what is not durable yet by one sync', async () => {
    const { fs, log } = await openedLog(2, { ...LARGE, flushMessages: 2 })
    await log.append([{ key: 'k', value: 'v2' }])
    const before = fs.operations.length
    await log.roll()
    const syncs = fs.operations
      .slice(before)
      .filter((line) => /sync/.test(line) && line.includes(PATH))
    expect(syncs.map((line) => line.split(' ')[1])).toEqual(['sync'])
    const again = await openLog(fs.fork().restart('power', { unsynced: 'lost' }), { config: LARGE })
    expect(await valuesOf(again)).toEqual(valuesUpTo(3))
  })

  it.each(['process', 'power'] as const)(
    'is cut off after a crash of the %s, which is nothing to be reported',
    async (kind) => {
      const { fs } = await openedLog(3)
      const stopped = fs.restart(kind, { unsynced: 'lost' })
      expect(spaceOf(stopped)).toBeGreaterThan(0)
      const log = await openLog(stopped, { config: LARGE })
      expect(log.recovery).toEqual({ truncations: [], rebuiltIndexes: [], damage: null })
      expect(spaceOf(stopped)).toBe(0)
      await log.append([{ key: 'k', value: 'v3' }])
      expect(await valuesOf(log)).toEqual(valuesUpTo(4))
    },
  )

  it('is not what more zeros are than a log ever takes, which are reported', async () => {
    const { fs } = await openedLog(3)
    const stopped = fs.restart('process')
    const batches = withoutSpace(stopped.readFile(PATH))
    const sizeBytes = MAX_SPACE_BYTES + 1
    stopped.writeFile(PATH, Buffer.concat([batches, Buffer.alloc(sizeBytes)]))
    const log = await openLog(stopped, { config: LARGE })
    expect(log.recovery.truncations).toMatchObject([{ sizeBytes, keptIn: null }])
    expect(await valuesOf(log)).toEqual(valuesUpTo(3))
  })

  it('is no loss to a salvage', async () => {
    const { fs } = await openedLog(3)
    const stopped = fs.restart('process')
    expect(spaceOf(stopped)).toBeGreaterThan(0)
    const report = await Log.salvage(DIR, '/target', { fileSystem: stopped })
    expect(report).toMatchObject({ recordCount: 3, logEndOffset: 3, lost: [] })
    expect((await Log.salvage(DIR, '/again', { fileSystem: rotten(stopped) })).lost).toHaveLength(1)
  })

  it('is nothing to a reader beside the writer', async () => {
    const { fs, log } = await openedLog(3)
    const follower = await openLog(fs, { config: LARGE, readOnly: true })
    expect([follower.logEndOffset, follower.damage]).toEqual([3, null])
    await log.append([{ key: 'k', value: 'v3' }])
    await follower.refresh()
    expect(await valuesOf(follower)).toEqual(valuesUpTo(4))
    await log.roll()
    await follower.refresh()
    expect(follower.segments).toEqual(log.segments)
  })

  it.each(['in-order', 'awaited'] as const)(
    'need not be had: a record is acknowledged where the zeros cannot be written, with calls %s',
    async (completion) => {
      const fs = new SimulatedFileSystem({ seed: 1, completion })
      const log = await openLog(fs, { config: LARGE })
      await log.append([{ value: 'few bytes' }])
      for (const [code, sizeBytes] of [
        ['ENOSPC', 5_000],
        ['EIO', 20_000],
      ] as const) {
        // Behind the write of the batch.
        fs.failAt(2, code, { path: PATH })
        await log.append([{ value: Buffer.alloc(sizeBytes, 1) }])
        expect(fs.operations.at(-2)).toMatch(new RegExp(` write .* ! ${code}$`))
        expect([spaceOf(fs), log.isWritable]).toEqual([0, true])
      }
      expect(log.durableEndOffset).toBe(3)
      await log.append([{ value: Buffer.alloc(80_000, 1) }])
      expect(spaceOf(fs)).toBeGreaterThan(0)
      const again = await openLog(fs.fork().restart('power', { unsynced: 'lost' }), {
        config: LARGE,
      })
      expect(again.logEndOffset).toBe(4)
    },
  )

  it('lets appends go on where the disk is full', async () => {
    const { fs, log } = await openedLog(3)
    fs.capacityBytes = 0
    for (const value of ['v3', 'v4', 'v5']) await log.append([{ key: 'k', value }])
    expect(await valuesOf(log)).toEqual(valuesUpTo(6))
  })
})
