import { describe, expect, it } from 'vitest'
import { ClosedError, CorruptRecordError } from '../../lib/errors.ts'
import { LogSegment } from '../../lib/storage/log-segment.ts'
import type { SegmentOptions } from '../../lib/storage/segment-options.ts'
import type { TimestampOffset } from '../../lib/storage/time-index.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, batchOf, bytesOf, pathOf, type BatchSpec } from './log-fixtures.ts'

const BASE = 40
const END = { maxBytes: 1024, endOffset: Number.MAX_SAFE_INTEGER }

function optionsIn(
  fileSystem: SimulatedFileSystem,
  options: Partial<SegmentOptions> = {},
): SegmentOptions {
  return {
    fileSystem,
    dir: DIR,
    indexIntervalBytes: 32,
    segmentIndexBytes: 1024,
    readOnly: false,
    ...options,
  }
}

async function segmentWith(
  specs: readonly BatchSpec[],
  options: Partial<SegmentOptions> = {},
): Promise<{ fs: SimulatedFileSystem; segment: LogSegment }> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory(DIR)
  const segment = await LogSegment.create(BASE, optionsIn(fs, options))
  if (specs.length > 0) await segment.append(specs.map(batchOf))
  return { fs, segment }
}

/** Batches of two records from 50 on, with timestamps 100, 110, … */
function pairs(count: number): BatchSpec[] {
  return Array.from({ length: count }, (_, slot) => ({
    baseOffset: 50 + 2 * slot,
    values: ['a', 'b'],
    timestamp: 100 + 10 * slot,
  }))
}

/** The same files, opened as a segment that is not the last. */
async function reopened(fs: SimulatedFileSystem, nextOffset: number): Promise<LogSegment> {
  const segment = new LogSegment(BASE, optionsIn(fs))
  segment.sizeBytes = (await fs.stat(pathOf(BASE)))?.sizeBytes ?? 0
  segment.nextOffset = nextOffset
  return segment
}

async function maxOf(segment: LogSegment): Promise<TimestampOffset> {
  return (await segment.times.largest()).max
}

async function basesOf(segment: LogSegment, offset: number, limits = END): Promise<number[]> {
  return (await segment.read(offset, limits)).map((batch) => batch.baseOffset)
}

describe('read', () => {
  it('returns nothing in an empty segment or after the last batch', async () => {
    expect(await basesOf((await segmentWith([])).segment, BASE)).toEqual([])
    expect(await basesOf((await segmentWith(pairs(3))).segment, 56)).toEqual([])
  })

  it('from an offset below the first batch starts with that batch', async () => {
    expect(await basesOf((await segmentWith(pairs(3))).segment, 41)).toEqual([50, 52, 54])
  })

  it.each([
    [50, [50, 52, 54]],
    [51, [50, 52, 54]],
    [52, [52, 54]],
    [55, [54]],
  ])('from %i starts with the batch that contains it', async (offset, bases) => {
    expect(await basesOf((await segmentWith(pairs(3))).segment, offset)).toEqual(bases)
  })

  it('from an offset in a gap starts with the next batch', async () => {
    const { segment } = await segmentWith([{ baseOffset: 50 }, { baseOffset: 60 }])
    expect(await basesOf(segment, 51)).toEqual([60])
  })

  it('returns the first batch however small the limit, and no more batches than fit', async () => {
    const { segment } = await segmentWith(pairs(4))
    const sizeBytes = batchOf(pairs(1)[0]).sizeBytes
    expect(await basesOf(segment, 50, { ...END, maxBytes: 1 })).toEqual([50])
    expect(await basesOf(segment, 50, { ...END, maxBytes: 2 * sizeBytes })).toEqual([50, 52])
    expect(await basesOf(segment, 50, { ...END, maxBytes: 3 * sizeBytes - 1 })).toEqual([50, 52])
  })

  it('leaves out batches at or above the end offset', async () => {
    const { segment } = await segmentWith(pairs(4))
    expect(await basesOf(segment, 50, { ...END, endOffset: 54 })).toEqual([50, 52])
    expect(await basesOf(segment, 54, { ...END, endOffset: 54 })).toEqual([])
  })

  it('finds every offset with an index of any density', async () => {
    for (const indexIntervalBytes of [0, 32, 100, 100_000]) {
      const { segment } = await segmentWith(pairs(30), { indexIntervalBytes })
      for (let offset = 50; offset < 110; offset += 1) {
        const [first] = await basesOf(segment, offset, { ...END, maxBytes: 1 })
        expect(first).toBe(offset - (offset % 2))
      }
    }
  })
})

describe('the indexes', () => {
  it('get entries of last offset and start position that are more than an interval apart', async () => {
    const sizeBytes = batchOf(pairs(1)[0]).sizeBytes
    const { segment } = await segmentWith(pairs(7), { indexIntervalBytes: 2 * sizeBytes - 1 })
    const { offsetIndex, timeIndex } = segment.indexes
    expect([0, 1, 2].map((slot) => offsetIndex.entry(slot))).toEqual([
      { offset: 55, position: 2 * sizeBytes },
      { offset: 59, position: 4 * sizeBytes },
      { offset: 63, position: 6 * sizeBytes },
    ])
    expect([0, 1, 2].map((slot) => timeIndex.entry(slot))).toEqual([
      { timestamp: 120, offset: 55 },
      { timestamp: 140, offset: 59 },
      { timestamp: 160, offset: 63 },
    ])
  })

  it('get no entry when exactly an interval was appended', async () => {
    const sizeBytes = batchOf(pairs(1)[0]).sizeBytes
    const { segment } = await segmentWith(pairs(3), { indexIntervalBytes: 2 * sizeBytes })
    expect(segment.indexes.offsetIndex.count).toBe(0)
  })

  it('name the earliest batch with the largest timestamp', async () => {
    const timestamps = [5, 9, 9, 3]
    const { segment } = await segmentWith(
      timestamps.map((timestamp, slot) => ({ baseOffset: 50 + slot, timestamp })),
    )
    expect(await maxOf(segment)).toEqual({ timestamp: 9, offset: 51 })
    await segment.seal()
    expect(segment.indexes.timeIndex.lastEntry).toEqual({ timestamp: 9, offset: 51 })
  })

  it('get no time entries from batches without a timestamp', async () => {
    const specs = pairs(4).map((spec) => ({ ...spec, timestamp: -1 }))
    const { fs, segment } = await segmentWith(specs)
    await segment.seal()
    expect(fs.readFile(pathOf(BASE, 'timeindex'))).toHaveLength(0)
    expect(await maxOf(segment)).toEqual({ timestamp: -1, offset: BASE })
    expect(await segment.times.findFirst(0, BASE)).toBeNull()
  })

  it('get no more entries when they are full, except one last time entry when the segment is sealed', async () => {
    const { segment } = await segmentWith(pairs(9), { segmentIndexBytes: 36 })
    const { timeIndex } = segment.indexes
    expect(segment.indexes.isFull).toBe(true)
    expect(timeIndex.count).toBe(2)
    await segment.seal()
    expect(timeIndex.lastEntry).toEqual({ timestamp: 180, offset: 67 })
    await segment.append([batchOf({ baseOffset: 68, timestamp: 900 })])
    await segment.seal()
    expect(timeIndex.count).toBe(3)
  })

  it('are loaded from their files before a segment that was not used yet is sealed', async () => {
    const { fs, segment } = await segmentWith(pairs(6))
    await segment.held.write()
    const again = await reopened(fs, 62)
    await again.seal()
    expect(fs.readFile(pathOf(BASE, 'index'))).toHaveLength(8 * segment.indexes.offsetIndex.count)
    expect((await reopened(fs, 62)).held.isLoaded).toBe(false)
    expect(await maxOf(await reopened(fs, 62))).toEqual({ timestamp: 150, offset: 61 })
  })

  it('are loaded from their files when they are needed', async () => {
    const { fs, segment } = await segmentWith(pairs(6))
    await segment.seal()
    const again = await reopened(fs, 62)
    expect(await again.held.write()).toBe(false)
    expect(await basesOf(again, 58)).toEqual([58, 60])
    expect(again.indexes.offsetIndex.count).toBe(segment.indexes.offsetIndex.count)
    expect(await maxOf(again)).toEqual({ timestamp: 150, offset: 61 })
  })

  it.each<[string, (fs: SimulatedFileSystem) => void | Promise<void>]>([
    ['are missing', (fs) => fs.unlink(pathOf(BASE, 'index'))],
    ['miss the time index', (fs) => fs.unlink(pathOf(BASE, 'timeindex'))],
    [
      'are garbage',
      (fs) => {
        fs.writeFile(pathOf(BASE, 'index'), Buffer.alloc(16, 0xee))
      },
    ],
    [
      'are of a longer log',
      (fs) => {
        fs.writeFile(pathOf(BASE, 'index'), entry(20, 0x7000_0000))
      },
    ],
    [
      'name offsets behind the end',
      (fs) => {
        fs.writeFile(pathOf(BASE, 'index'), entry(999, 100))
      },
    ],
    [
      'name times behind the end',
      (fs) => {
        fs.writeFile(pathOf(BASE, 'timeindex'), Buffer.from('0000000000000001000003e7', 'hex'))
      },
    ],
  ])('are rebuilt in memory when they %s', async (_, damage) => {
    const { fs, segment } = await segmentWith(pairs(6))
    await segment.seal()
    const { offsetIndex } = segment.indexes
    const before = fs.readFile(pathOf(BASE, 'index'))
    await damage(fs)
    const again = await reopened(fs, 62)
    expect(await basesOf(again, 58)).toEqual([58, 60])
    expect(again.indexes.offsetIndex.lastEntry).toEqual(offsetIndex.lastEntry)
    expect(await maxOf(again)).toEqual({ timestamp: 150, offset: 61 })
    await again.seal()
    expect(fs.readFile(pathOf(BASE, 'index'))).toEqual(before)
  })

  it('may have entries with the last offset of an append and the position of its first batch', async () => {
    const { fs, segment } = await segmentWith(pairs(12))
    await segment.seal()
    const sizeBytes = batchOf(pairs(1)[0]).sizeBytes
    const written = [entry(50 + 7 - BASE, 2 * sizeBytes), entry(50 + 15 - BASE, 6 * sizeBytes)]
    fs.writeFile(pathOf(BASE, 'index'), Buffer.concat(written))
    const again = await reopened(fs, 74)
    for (let offset = 50; offset < 74; offset += 1) {
      expect((await basesOf(again, offset))[0]).toBe(offset - (offset % 2))
    }
  })

  it('do not mislead a read if an entry names an offset inside a gap', async () => {
    const { fs, segment } = await segmentWith([
      { baseOffset: 50 },
      { baseOffset: 51 },
      { baseOffset: 60 },
      { baseOffset: 61 },
    ])
    await segment.seal()
    const sizeBytes = batchOf({ baseOffset: 50 }).sizeBytes
    fs.writeFile(pathOf(BASE, 'index'), entry(58 - BASE, sizeBytes))
    expect(await basesOf(await reopened(fs, 62), 59)).toEqual([60, 61])
  })
})

describe('findByTimestamp', () => {
  it.each([
    [99, 50],
    [100, 50],
    [101, 52],
    [150, 60],
    [151, null],
  ])('of %i returns the first batch that is at least as recent', async (timestamp, baseOffset) => {
    const { segment } = await segmentWith(pairs(6))
    const found = await segment.times.findFirst(timestamp, BASE)
    expect(found?.baseOffset ?? null).toBe(baseOffset)
  })

  it('searches from the start offset on', async () => {
    const { segment } = await segmentWith(pairs(6))
    expect((await segment.times.findFirst(100, 55))?.baseOffset).toBe(54)
    expect(await segment.times.findFirst(100, 62)).toBeNull()
  })

  it('is not misled by a wrong time index', async () => {
    const { fs, segment } = await segmentWith(pairs(8))
    await segment.seal()
    // Both claim that no timestamp up to the sixth batch is later than 101.
    for (const hex of ['0000000000000065' + '00000015', '0000000000000065' + '00000014']) {
      fs.writeFile(pathOf(BASE, 'timeindex'), Buffer.from(hex, 'hex'))
      const again = await reopened(fs, 66)
      expect(await maxOf(again)).toEqual({ timestamp: 170, offset: 65 })
      expect((await again.times.findFirst(120, BASE))?.baseOffset).toBe(54)
    }
  })

  it('finds the largest timestamp if the end of the time index is missing', async () => {
    const specs = [9, 5, 30, 2, 1, 1, 1, 1].map((timestamp, slot) => ({
      baseOffset: 50 + slot,
      timestamp,
    }))
    const { fs, segment } = await segmentWith(specs)
    await segment.seal()
    fs.writeFile(pathOf(BASE, 'timeindex'), fs.readFile(pathOf(BASE, 'timeindex')).subarray(0, 12))
    const again = await reopened(fs, 58)
    expect(await maxOf(again)).toEqual({ timestamp: 30, offset: 52 })
    fs.writeFile(pathOf(BASE, 'timeindex'), Buffer.alloc(0))
    expect(await maxOf(await reopened(fs, 58))).toEqual({ timestamp: 30, offset: 52 })
  })
})

describe('truncateTo', () => {
  it('removes the batch that contains the offset and all after it, and ends at the offset', async () => {
    const { segment } = await segmentWith(pairs(3))
    await segment.truncateTo(53)
    expect(await basesOf(segment, 50)).toEqual([50])
    expect(segment.nextOffset).toBe(53)
    await segment.append([batchOf({ baseOffset: 53 })])
    expect(await basesOf(segment, 50)).toEqual([50, 53])
  })

  it('can be repeated, and each time leaves the batches below the offset readable', async () => {
    const { segment } = await segmentWith(pairs(10))
    for (let offset = 69; offset >= 50; offset -= 1) {
      await segment.truncateTo(offset)
      const bases = await basesOf(segment, 50)
      expect(bases).toEqual(
        pairs(10)
          .map((spec) => spec.baseOffset)
          .slice(0, (offset - 50) >> 1),
      )
      expect(segment.indexes.offsetIndex.lastOffset).toBeLessThan(Math.max(offset, BASE + 1))
    }
    expect(segment.sizeBytes).toBe(0)
  })

  it('to the base offset empties the segment, which can then be appended to again', async () => {
    const { fs, segment } = await segmentWith(pairs(3))
    expect(await segment.times.first()).toBe(100)
    await segment.truncateTo(BASE)
    expect(segment.nextOffset).toBe(BASE)
    expect(await segment.times.first()).toBe(-1)
    await segment.append([batchOf({ baseOffset: BASE, timestamp: 7 })])
    expect(await segment.times.first()).toBe(7)
    expect(await maxOf(segment)).toEqual({ timestamp: 7, offset: BASE })
    await segment.seal()
    expect(fs.readFile(pathOf(BASE, 'index'))).toHaveLength(0)
    expect(fs.readFile(pathOf(BASE, 'timeindex'))).toHaveLength(12)
  })

  it('to an offset in a gap keeps the batches before the gap', async () => {
    const { segment } = await segmentWith([{ baseOffset: 50 }, { baseOffset: 60 }])
    expect(await segment.restBelow(55)).toMatchObject({ endOffset: 51 })
    expect(await segment.restBelow(60)).toMatchObject({ endOffset: 51 })
    await segment.truncateTo(55)
    expect(await basesOf(segment, 50)).toEqual([50])
    expect(segment.nextOffset).toBe(55)
  })

  it('leaves the largest timestamp of the remaining batches', async () => {
    const { segment } = await segmentWith(pairs(8))
    await segment.truncateTo(56)
    expect(await maxOf(segment)).toEqual({ timestamp: 120, offset: 55 })
  })
})

describe('recover', () => {
  it('finds the end, the indexes and the timestamps from the log file alone', async () => {
    const { fs, segment } = await segmentWith(pairs(6))
    const bases: number[] = []
    const again = new LogSegment(BASE, optionsIn(fs))
    const result = await again.recover(segment.sizeBytes, 0, {
      onBatch: (batch) => bases.push(batch.baseOffset),
    })
    expect(result).toMatchObject({ position: segment.sizeBytes, nextOffset: 62, reason: null })
    expect(bases).toEqual(pairs(6).map((spec) => spec.baseOffset))
    expect(again.indexes.offsetIndex.lastEntry).toEqual(segment.indexes.offsetIndex.lastEntry)
    expect(await maxOf(again)).toEqual(await maxOf(segment))
    expect(await again.times.first()).toBe(100)
  })

  it('trusts index entries below the given offset', async () => {
    const { fs, segment } = await segmentWith(pairs(6))
    await segment.seal()
    const bases: number[] = []
    const again = new LogSegment(BASE, optionsIn(fs))
    await again.recover(segment.sizeBytes, 58, {
      onBatch: (batch) => bases.push(batch.baseOffset),
    })
    expect(bases).toEqual([56, 58, 60])
    expect(await again.times.first()).toBe(100)
  })

  it('starts at the beginning if the last index entry points to no batch', async () => {
    const { fs, segment } = await segmentWith(pairs(6))
    await segment.seal()
    fs.writeFile(pathOf(BASE, 'index'), entry(15, 100))
    const again = new LogSegment(BASE, optionsIn(fs))
    const result = await again.recover(segment.sizeBytes, Number.MAX_SAFE_INTEGER)
    expect(result).toMatchObject({ nextOffset: 62, reason: null, wasRebuilt: true })
    expect(await basesOf(again, 58)).toEqual([58, 60])
  })

  it.each([0, 1, 3, 5])('stops at a damaged batch, number %i', async (bad) => {
    const { fs, segment } = await segmentWith(pairs(6))
    const sizeBytes = batchOf(pairs(1)[0]).sizeBytes
    fs.flipBit(pathOf(BASE), bad * sizeBytes + 65, 3)
    const again = new LogSegment(BASE, optionsIn(fs))
    const result = await again.recover(segment.sizeBytes, 0)
    expect(result).toMatchObject({
      position: bad * sizeBytes,
      nextOffset: bad === 0 ? BASE : 50 + 2 * bad,
    })
    expect(result.reason).toContain('the CRC is')
    expect(again.sizeBytes).toBe(bad * sizeBytes)
  })
})

describe('damage inside a segment', () => {
  const sizeBytes = batchOf(pairs(1)[0]).sizeBytes

  async function rotten(position: number, bit: number): Promise<LogSegment> {
    const { fs, segment } = await segmentWith(pairs(6), { indexIntervalBytes: 100_000 })
    await segment.seal()
    fs.flipBit(pathOf(BASE), position, bit)
    return reopened(fs, 62)
  }

  it('in a record is reported by reads of its batch and by no others', async () => {
    const segment = await rotten(2 * sizeBytes + 65, 0)
    expect(await basesOf(segment, 50)).toEqual([50, 52])
    await expect(segment.read(54, END)).rejects.toMatchObject({
      path: pathOf(BASE),
      position: 2 * sizeBytes,
      firstOffset: 54,
      lastOffset: 55,
    })
    expect(await basesOf(segment, 56)).toEqual([56, 58, 60])
  })

  it.each([
    ['lower', 2 * sizeBytes + 7, 4, null],
    ['higher', 2 * sizeBytes + 7, 3, null],
    ['far too high', 2 * sizeBytes + 2, 0, null],
    ['beyond 2^53', 2 * sizeBytes, 0, null],
    ['negative', 2 * sizeBytes, 7, null],
    // The batch after it shows that one of the two is wrong.
    ['one too high', 2 * sizeBytes + 7, 0, 57],
  ])(
    'in a base offset that looks %s is reported from the expected offset on',
    async (_, position, bit, lastOffset) => {
      const segment = await rotten(position, bit)
      expect(await basesOf(segment, 50)).toEqual([50, 52])
      for (const offset of [54, 55]) {
        const error: unknown = await segment.read(offset, END).catch((reason: unknown) => reason)
        expect(error).toBeInstanceOf(CorruptRecordError)
        expect(error).toMatchObject({ path: pathOf(BASE), firstOffset: 54, lastOffset })
      }
      expect((await basesOf(segment, 60))[0]).toBe(60)
    },
  )

  it('in a batch length hides the batches after it, and reads of those reject', async () => {
    const segment = await rotten(2 * sizeBytes + 11, 1)
    expect(await basesOf(segment, 50)).toEqual([50, 52])
    await expect(segment.read(54, END)).rejects.toThrow(CorruptRecordError)
    await expect(segment.read(58, END)).rejects.toThrow(CorruptRecordError)
  })

  it('in the last base offset is not mistaken for a later offset', async () => {
    const segment = await rotten(5 * sizeBytes + 7, 1)
    await expect(segment.read(60, END)).rejects.toThrow(CorruptRecordError)
  })

  it('in a record is reported by a search by time that needs it', async () => {
    const segment = await rotten(2 * sizeBytes + 65, 0)
    await expect(segment.times.findFirst(120, BASE)).rejects.toThrow(CorruptRecordError)
    expect((await segment.times.findFirst(110, BASE))?.baseOffset).toBe(52)
  })
})

describe('follow', () => {
  it('picks up appended batches, but no incomplete one', async () => {
    const { fs, segment } = await segmentWith(pairs(2))
    const follower = new LogSegment(BASE, optionsIn(fs, { readOnly: true }))
    await follower.recover(segment.sizeBytes, 0)
    expect(await follower.follow(segment.sizeBytes)).toBe(true)
    await segment.append([batchOf({ baseOffset: 54 })])
    expect(await follower.follow(segment.sizeBytes - 1)).toBe(true)
    expect(follower.nextOffset).toBe(54)
    expect(await follower.follow(segment.sizeBytes)).toBe(true)
    expect(await basesOf(follower, 50)).toEqual([50, 52, 54])
  })

  it.each([
    ['cut', async (segment: LogSegment) => segment.truncateTo(50)],
    [
      'replaced',
      async (segment: LogSegment) => {
        await segment.truncateTo(52)
        await segment.append([batchOf({ baseOffset: 52, values: ['another'] })])
        await segment.append([batchOf({ baseOffset: 53 })])
      },
    ],
    [
      'replaced by bytes that are no batch yet',
      async (segment: LogSegment, fs: SimulatedFileSystem) => {
        await segment.truncateTo(52)
        const file = await fs.open(pathOf(BASE), 'update')
        await file.write([Buffer.alloc(200, 1)], segment.sizeBytes)
      },
    ],
  ])('returns false if the known batches were %s', async (_, change) => {
    const { fs, segment } = await segmentWith(pairs(2))
    const follower = new LogSegment(BASE, optionsIn(fs, { readOnly: true }))
    await follower.recover(segment.sizeBytes, 0)
    await change(segment, fs)
    expect(await follower.follow((await fs.stat(pathOf(BASE)))?.sizeBytes ?? 0)).toBe(false)
  })

  it('treats preallocated bytes as free space, not as records', async () => {
    const { fs, segment } = await segmentWith(pairs(2))
    const follower = new LogSegment(BASE, optionsIn(fs, { readOnly: true }))
    await follower.recover(segment.sizeBytes, 0)
    const file = await fs.open(pathOf(BASE), 'update')
    await file.write([Buffer.alloc(4096, 0xfe)], segment.sizeBytes)
    expect(await follower.follow(segment.sizeBytes + 4096)).toBe(true)
    expect([follower.nextOffset, follower.sizeBytes]).toEqual([54, segment.sizeBytes])
  })

  it('rejects with the error of a failed read', async () => {
    const { fs, segment } = await segmentWith(pairs(2))
    const follower = new LogSegment(BASE, optionsIn(fs, { readOnly: true }))
    await follower.recover(segment.sizeBytes, 0)
    fs.failNext('read', 'EIO')
    await expect(follower.follow(segment.sizeBytes)).rejects.toMatchObject({ code: 'EIO' })
  })
})

describe('a segment', () => {
  it('fits offsets up to 2^31 - 1 above its base', async () => {
    const { segment } = await segmentWith([])
    expect(segment.fits(BASE + 0x7fff_ffff)).toBe(true)
    expect(segment.fits(BASE + 0x8000_0000)).toBe(false)
  })

  it('overwrites existing files of its name when it is created', async () => {
    const fs = new SimulatedFileSystem()
    for (const extension of ['log', 'index', 'timeindex']) {
      fs.writeFile(pathOf(BASE, extension), Buffer.alloc(24, 1))
    }
    const segment = await LogSegment.create(BASE, optionsIn(fs))
    await segment.append([batchOf({ baseOffset: BASE })])
    await segment.flush()
    await segment.seal()
    const after = fs.restart('power', { unsynced: 'lost' })
    expect(after.readFile(pathOf(BASE))).toHaveLength(segment.sizeBytes)
    expect(after.readFile(pathOf(BASE, 'index'))).toHaveLength(0)
  })

  it('starts empty, whatever batches are in the existing file of its name', async () => {
    const fs = new SimulatedFileSystem()
    const left = [BASE, BASE + 1].map((baseOffset) => bytesOf({ baseOffset }))
    fs.writeFile(pathOf(BASE), Buffer.concat(left))
    const segment = await LogSegment.create(BASE, optionsIn(fs))
    await segment.append([batchOf({ baseOffset: BASE })])
    expect(fs.readFile(pathOf(BASE))).toHaveLength(segment.sizeBytes)
  })

  it('closes its file if it cannot be created', async () => {
    const { fs } = await segmentWith([])
    fs.failNext('read', 'EIO', { path: pathOf(60, 'index') })
    fs.writeFile(pathOf(60, 'index'), Buffer.alloc(8))
    await expect(LogSegment.create(60, optionsIn(fs))).rejects.toMatchObject({ code: 'EIO' })
    expect(fs.operations.at(-1)).toContain(`close ${pathOf(60)}`)
  })

  it('can be read after loading its indexes has failed', async () => {
    const { fs, segment } = await segmentWith(pairs(3))
    await segment.seal()
    const again = await reopened(fs, 56)
    fs.failNext('read', 'EIO')
    await expect(again.read(50, END)).rejects.toMatchObject({ code: 'EIO' })
    expect(await basesOf(again, 50)).toEqual([50, 52, 54])
  })

  it('reopens its file after it was parked, but not after it was closed', async () => {
    const { segment } = await segmentWith(pairs(3))
    await segment.flush()
    await segment.file.park()
    expect(await basesOf(segment, 50)).toEqual([50, 52, 54])
    await segment.close()
    await expect(segment.read(50, END)).rejects.toThrow(ClosedError)
  })
})

/** The bytes of one entry of an offset index. */
function entry(relativeOffset: number, position: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeInt32BE(relativeOffset, 0)
  bytes.writeInt32BE(position, 4)
  return bytes
}
