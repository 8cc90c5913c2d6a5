import { describe, expect, it } from 'vitest'
import { IndexCache } from '../../lib/storage/index-cache.ts'
import { LogSegment } from '../../lib/storage/log-segment.ts'
import { LogSegments } from '../../lib/storage/log-segments.ts'
import type { SegmentOptions } from '../../lib/storage/segment-options.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, NOW, batchOf, pathOf } from './log-fixtures.ts'

const BATCHES = 1500
const LIMITS = { maxBytes: 1, endOffset: Number.MAX_SAFE_INTEGER }

function optionsIn(fileSystem: SimulatedFileSystem, readOnly = false): SegmentOptions {
  return { fileSystem, dir: DIR, indexIntervalBytes: 1, segmentIndexBytes: 2 ** 20, readOnly }
}

/** With so many batches of one record that the index files hold more than their cached ends. */
async function sealedSegment(): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory(DIR)
  const segment = await LogSegment.create(0, optionsIn(fs))
  const batches = Array.from({ length: BATCHES }, (_, offset) =>
    batchOf({ baseOffset: offset, timestamp: NOW + offset }),
  )
  await segment.append(batches)
  await segment.seal()
  await segment.close()
  return fs
}

async function reopened(fs: SimulatedFileSystem, readOnly = false): Promise<LogSegment> {
  const segment = new LogSegment(0, optionsIn(fs, readOnly))
  segment.sizeBytes = (await fs.stat(pathOf(0)))?.sizeBytes ?? 0
  segment.nextOffset = BATCHES
  return segment
}

async function baseAt(segment: LogSegment, offset: number): Promise<number | undefined> {
  return (await segment.read(offset, LIMITS))[0]?.baseOffset
}

/** Swaps two entries in the middle of an index. */
function disorder(fs: SimulatedFileSystem, extension: 'index' | 'timeindex'): void {
  const path = pathOf(0, extension)
  const bytes = fs.readFile(path)
  bytes.fill(0x7f, 480, 492)
  fs.writeFile(path, bytes)
}

function readsOf(fs: SimulatedFileSystem, path: string, since: number): string[] {
  return fs.operations.slice(since).filter((line) => line.includes(` read ${path} `))
}

describe('the indexes of a segment', () => {
  it('are loaded only at their ends for appends, and as far as needed for reads', async () => {
    const fs = await sealedSegment()
    const segment = await reopened(fs)
    const before = fs.operationCount
    await segment.loadIndexes()
    expect(readsOf(fs, pathOf(0, 'index'), before)).toHaveLength(1)
    expect(segment.indexes.offsetIndex.isComplete).toBe(false)
    await segment.append([batchOf({ baseOffset: BATCHES, timestamp: NOW + BATCHES })])
    expect(segment.indexes.offsetIndex.isComplete).toBe(false)
    expect(await baseAt(segment, 700)).toBe(700)
    expect(segment.indexes.offsetIndex.isComplete).toBe(true)
    expect(segment.indexes.timeIndex.isComplete).toBe(false)
    expect((await segment.times.findFirst(NOW + 700, 0))?.baseOffset).toBe(700)
    expect(segment.indexes.isComplete).toBe(true)
    expect(segment.indexes.offsetIndex.lastEntry.offset).toBe(BATCHES)
    await segment.close()
  })

  it.each(['index', 'timeindex'] as const)(
    'are rebuilt if entries before the end of the %s are out of order, even during an append',
    async (extension) => {
      const fs = await sealedSegment()
      disorder(fs, extension)
      const segment = await reopened(fs)
      await segment.loadIndexes()
      const finding = segment.times.findFirst(NOW + 60, 0)
      await segment.append([batchOf({ baseOffset: BATCHES, timestamp: NOW + BATCHES })])
      expect((await finding)?.baseOffset).toBe(60)
      const { offsetIndex, timeIndex } = segment.indexes
      // The first batch never gets an entry.
      expect([offsetIndex.count, offsetIndex.lastOffset]).toEqual([BATCHES, BATCHES])
      expect(timeIndex.lastEntry).toEqual({ timestamp: NOW + BATCHES, offset: BATCHES })
      expect(await segment.held.write()).toBe(true)
      await segment.close()
      const again = await reopened(fs)
      await again.loadIndexes()
      expect(await again.indexes.timeIndex.complete()).toBe(true)
      expect(await baseAt(again, 60)).toBe(60)
      expect(again.indexes.offsetIndex.count).toBe(BATCHES)
      await again.close()
    },
  )

  it('are loaded again after the disk has failed while loading them', async () => {
    const fs = await sealedSegment()
    const segment = await reopened(fs)
    await segment.loadIndexes()
    fs.failNext('read', 'EIO', { path: /\.index$/ })
    await expect(segment.read(700, LIMITS)).rejects.toMatchObject({ code: 'EIO' })
    expect(await baseAt(segment, 700)).toBe(700)
    await segment.close()
  })

  it('can still be appended to after the disk has failed a read', async () => {
    const fs = await sealedSegment()
    const segment = await reopened(fs)
    for (const read of [() => segment.read(700, LIMITS), () => segment.times.findFirst(NOW, 0)]) {
      fs.failNext('read', 'EIO', { path: /\.index$/ })
      await expect(read()).rejects.toMatchObject({ code: 'EIO' })
      expect(segment.held.canAppend).toBe(false)
    }
    await segment.append([
      batchOf({ baseOffset: BATCHES, timestamp: NOW + BATCHES }),
      batchOf({ baseOffset: BATCHES + 1, timestamp: NOW + BATCHES + 1 }),
    ])
    const { offsetIndex } = segment.indexes
    const { lastEntry } = offsetIndex
    for (const extension of ['index', 'timeindex']) {
      fs.failNext('read', 'EIO', { path: new RegExp(`\\.${extension}$`) })
      await expect(segment.times.findFirst(NOW, 0)).rejects.toMatchObject({ code: 'EIO' })
      expect([segment.held.canAppend, offsetIndex.lastEntry]).toEqual([true, lastEntry])
    }
    expect((await segment.times.findFirst(NOW + 700, 0))?.baseOffset).toBe(700)
    await segment.close()
  })

  it('are not unloaded while they are written', async () => {
    const fs = await sealedSegment()
    const segment = await reopened(fs)
    await segment.times.findFirst(NOW + 700, 0)
    const before = fs.readFile(pathOf(0, 'index'))
    const writing = segment.held.write()
    expect(segment.held.unloadIndexes()).toBe(false)
    await writing
    expect(fs.readFile(pathOf(0, 'index'))).toEqual(before)
    expect(segment.held.unloadIndexes()).toBe(true)
    await segment.close()
  })

  it('are unloaded when they are on disk and not in use, and loaded again by a read', async () => {
    const segment = await reopened(await sealedSegment())
    expect(await baseAt(segment, 700)).toBe(700)
    expect(segment.held.indexBytes).toBeGreaterThan(BATCHES * 8)
    const reading = segment.read(3, LIMITS)
    expect(segment.held.unloadIndexes()).toBe(false)
    await reading
    expect(segment.held.unloadIndexes()).toBe(true)
    expect([segment.held.indexBytes, segment.held.isLoaded]).toEqual([0, false])
    expect(await segment.held.write()).toBe(false)
    const loading = segment.loadIndexes()
    expect(segment.held.unloadIndexes()).toBe(false)
    await loading
    expect(await baseAt(segment, 1200)).toBe(1200)
    await segment.close()
  })

  it.each([
    ['stay in memory as long as they are not on disk', false],
    ['are let go of by who must not write them', true],
  ])('%s', async (_, readOnly) => {
    const fs = await sealedSegment()
    await fs.unlink(pathOf(0, 'index'))
    const segment = await reopened(fs, readOnly)
    expect(await baseAt(segment, 700)).toBe(700)
    expect(segment.held.unloadIndexes()).toBe(readOnly)
    if (!readOnly) await segment.held.write()
    expect(segment.held.unloadIndexes()).toBe(true)
    await segment.close()
  })
})

/** This many sealed segments of one batch each, and an active one, as an open finds them. */
async function segmentsOf(
  count: number,
  cache: IndexCache,
): Promise<{ fs: SimulatedFileSystem; all: LogSegments; segments: LogSegment[] }> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory(DIR)
  const segments: LogSegment[] = []
  for (let base = 0; base <= count; base += 1) {
    const segment = await LogSegment.create(base, optionsIn(fs))
    await segment.append([batchOf({ baseOffset: base })])
    await segment.seal()
    await segment.close()
    const found = new LogSegment(base, optionsIn(fs))
    found.sizeBytes = (await fs.stat(pathOf(base)))?.sizeBytes ?? 0
    found.nextOffset = base + 1
    segments.push(found)
  }
  return { fs, all: new LogSegments(fs, DIR, segments, cache), segments }
}

describe('the segments of a log', () => {
  it('count indexes that an open has loaded towards the limit of the cache', async () => {
    const cache = new IndexCache({ maxBytes: 2 ** 20, maxOwners: 3 })
    const { all, segments } = await segmentsOf(10, cache)
    for (const segment of segments) await segment.recover(segment.sizeBytes, 0)
    await all.writeIndexes()
    await all.park()
    const loaded = segments.flatMap(({ held, baseOffset }) => (held.isLoaded ? [baseOffset] : []))
    expect(loaded).toEqual([7, 8, 9, 10])
    await all.close()
  })

  it('count their indexes again after another log has caused them to be unloaded', async () => {
    const cache = new IndexCache({ maxBytes: 2 ** 20, maxOwners: 1 })
    const logs = [await segmentsOf(1, cache), await segmentsOf(1, cache)]
    for (let round = 0; round < 3; round += 1) {
      for (const { all } of logs) expect(await all.read(0, LIMITS)).toHaveLength(1)
      expect(logs.map(({ segments }) => segments[0]?.held.isLoaded)).toEqual([false, true])
    }
    for (const { all } of logs) await all.close()
  })

  it('close the files of segments that were active before as later ones take their place', async () => {
    const cache = new IndexCache({ maxBytes: 2 ** 20, maxOwners: 3 })
    const { fs, segments } = await segmentsOf(40, cache)
    const all = new LogSegments(fs, DIR, segments.slice(0, 1), cache)
    for (let count = 1; count <= segments.length; count += 1) {
      await all.replace(segments.slice(0, count))
      await all.read(count - 1, LIMITS)
    }
    expect(segments.filter(({ file }) => file.isOpen).length).toBe(33)
    expect(segments.filter(({ held }) => held.isLoaded).length).toBe(4)
    await all.close()
  })

  it('keep few indexes in memory and few files open, however many segments are read', async () => {
    const cache = new IndexCache({ maxBytes: 2 ** 20, maxOwners: 3 })
    const { all, segments } = await segmentsOf(40, cache)
    const loaded = (): number => segments.filter(({ held }) => held.isLoaded).length
    for (let round = 0; round < 2; round += 1) {
      for (let base = 0; base < 40; base += 1) {
        expect((await all.read(base, LIMITS))[0]?.baseOffset).toBe(base)
        expect(loaded()).toBeLessThanOrEqual(3)
        expect(segments.filter(({ file }) => file.isOpen).length).toBeLessThanOrEqual(33)
      }
    }
    expect(loaded()).toBe(3)
    await all.close()
  })
})
