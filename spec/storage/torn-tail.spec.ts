import { describe, expect, it } from 'vitest'
import { LockLostError } from '../../lib/errors.ts'
import type { File } from '../../lib/platform/file-system.ts'
import { LogSegment } from '../../lib/storage/log-segment.ts'
import { LogSegments } from '../../lib/storage/log-segments.ts'
import { cutTornTail, findDamage, goBackTo } from '../../lib/storage/torn-tail.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, pathOf } from './log-fixtures.ts'

const BATCH = bytesOf({ values: ['v'] })
const SIZE = BATCH.length
const MIB = 1024 * 1024
const BAD = { position: SIZE, nextOffset: 1, reason: 'its magic is 0, not 2' }

/** A segment from offset 0 with one batch, followed by `tail`. */
function tornSegment(tail: Buffer): {
  fs: SimulatedFileSystem
  segment: LogSegment
  segments: LogSegments
  open: Set<File>
} {
  const fs = new SimulatedFileSystem()
  const open = new Set<File>()
  const openFile = fs.open.bind(fs)
  fs.open = async (path, mode) => {
    const file = await openFile(path, mode)
    const close = file.close.bind(file)
    file.close = () => {
      open.delete(file)
      return close()
    }
    open.add(file)
    return file
  }
  fs.writeFile(pathOf(0), Buffer.concat([BATCH, tail]))
  const segment = new LogSegment(0, {
    fileSystem: fs,
    dir: DIR,
    indexIntervalBytes: 32,
    segmentIndexBytes: 1024,
    readOnly: false,
  })
  segment.sizeBytes = SIZE
  return { fs, segment, segments: new LogSegments(fs, DIR, [segment]), open }
}

describe('findDamage', () => {
  it.each([
    ['below the recovery point', { durableOffset: 4, nextBaseOffset: null }, 3],
    ['before a later segment', { durableOffset: 0, nextBaseOffset: 9 }, 8],
    ['at the very end of what had been durable', { durableOffset: 0, nextBaseOffset: 1 }, null],
  ])('reports path, position, offsets and reason of damage %s', async (_, evidence, lastOffset) => {
    const { fs, segment, open } = tornSegment(Buffer.alloc(SIZE))
    const fileSizeBytes = 2 * SIZE
    const damage = await findDamage(fs, segment, BAD, { fileSizeBytes, ...evidence })
    expect(damage).toMatchObject({ path: pathOf(0), position: SIZE, firstOffset: 1, lastOffset })
    expect(damage?.reason).toBe('its magic is 0, not 2; these bytes had been durable')
    expect([...open]).toEqual([])
  })

  it('returns null for bytes that were not durable', async () => {
    const { fs, segment } = tornSegment(Buffer.alloc(SIZE))
    const evidence = { fileSizeBytes: 2 * SIZE, durableOffset: 1, nextBaseOffset: null }
    expect(await findDamage(fs, segment, BAD, evidence)).toBeNull()
  })
})

describe('the truncation of a torn tail', () => {
  it('reports its position, size and reason, and leaves only the segment file open', async () => {
    const { fs, segments, segment, open } = tornSegment(Buffer.alloc(5, 'x'))
    segment.sizeBytes = SIZE + 5
    const end = { offset: 1, segment: 0, position: SIZE, leaderEpoch: 0 }
    expect(await goBackTo(fs, segments, end, false)).toEqual({
      path: pathOf(0),
      position: SIZE,
      sizeBytes: 5,
      reason: 'a sync failed at offset 1',
      keptIn: `${pathOf(0)}.${SIZE}.torn`,
    })
    // One file of the segment itself stays open.
    expect([...open].map(({ path }) => path)).toEqual([pathOf(0)])
  })

  it.each([
    ['data', Buffer.alloc(17 * MIB, 'x')],
    ['zeros, and data behind them', Buffer.concat([Buffer.alloc(17 * MIB), Buffer.from('x')])],
  ])('keeps a copy of all truncated bytes, however many: %s', async (_, tail) => {
    const { fs, segment, open } = tornSegment(tail)
    const cut = await cutTornTail(fs, segment, SIZE + tail.length, 'torn')
    expect(cut).toMatchObject({ sizeBytes: tail.length, keptIn: `${pathOf(0)}.${SIZE}.torn` })
    expect(fs.readFile(cut?.keptIn ?? '').equals(tail)).toBe(true)
    expect(fs.readFile(pathOf(0))).toHaveLength(SIZE)
    expect([...open].map(({ path }) => path)).toEqual([pathOf(0)])
  })

  it('does nothing if the segment that a mark names is gone', async () => {
    const { fs, segments, segment } = tornSegment(Buffer.alloc(5, 'x'))
    segment.sizeBytes = SIZE + 5
    const end = { offset: 9, segment: 7, position: 1, leaderEpoch: 0 }
    expect(await goBackTo(fs, segments, end, false)).toBeNull()
    const none = new LogSegments(fs, DIR, [])
    expect(await goBackTo(fs, none, end, false)).toBeNull()
    expect(fs.readFile(pathOf(0))).toHaveLength(SIZE + 5)
  })

  it.each([
    ['open', 'ENOSPC'],
    ['write', 'ENOSPC'],
    ['write', 'EDQUOT'],
    ['sync', 'ENOSPC'],
  ] as const)(
    'succeeds without a copy, and leaves no part of one, if the disk has no room for it: %s, %s',
    async (kind, code) => {
      const { fs, segment, open } = tornSegment(Buffer.alloc(5, 'x'))
      fs.failNext(kind, code, { path: /torn/ })
      const cut = await cutTornTail(fs, segment, SIZE + 5, 'torn')
      expect(cut).toMatchObject({ sizeBytes: 5, keptIn: null })
      expect(fs.readFile(pathOf(0))).toHaveLength(SIZE)
      expect([...fs.snapshot().keys()]).toEqual([pathOf(0)])
      expect([...open].map(({ path }) => path)).toEqual([pathOf(0)])
    },
  )

  it.each(['open', 'write', 'sync', 'rename'] as const)(
    'rejects and leaves the segment unchanged if the copy of its bytes fails: %s',
    async (kind) => {
      const { fs, segment } = tornSegment(Buffer.alloc(5, 'x'))
      fs.failNext(kind, 'EIO', { path: /torn/ })
      await expect(cutTornTail(fs, segment, SIZE + 5, 'torn')).rejects.toMatchObject({
        code: 'EIO',
      })
      expect(fs.readFile(pathOf(0))).toHaveLength(SIZE + 5)
    },
  )

  it.each([
    ['truncate', 'EIO', { code: 'EIO' }],
    // A failed sync is not retried, but one that finds no space is.
    ['sync', 'EIO', { cause: { code: 'EIO' } }],
  ] as const)('rejects if the truncate or its sync fails: %s', async (kind, code, error) => {
    const { fs, segment } = tornSegment(Buffer.alloc(5, 'x'))
    fs.failNext(kind, code, { path: pathOf(0) })
    await expect(cutTornTail(fs, segment, SIZE + 5, 'torn')).rejects.toMatchObject(error)
  })

  it('rejects and leaves the segment unchanged if the lock is lost', async () => {
    const { fs, segment } = tornSegment(Buffer.alloc(5, 'x'))
    const lost = new LockLostError(DIR, 'another owner may have taken it', 'unknown')
    fs.rename = () => Promise.reject(lost)
    await expect(cutTornTail(fs, segment, SIZE + 5, 'torn')).rejects.toBe(lost)
    expect(fs.readFile(pathOf(0))).toHaveLength(SIZE + 5)
  })
})
