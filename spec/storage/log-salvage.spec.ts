import { describe, expect, it } from 'vitest'
import { StorageError } from '../../lib/errors.ts'
import { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { spoil } from '../helpers/bad-sectors.ts'
import {
  bytesOf,
  DIR,
  offsetsOf,
  openLog,
  pathOf,
  recordOpenFiles,
  SMALL,
  upTo,
  writtenLog,
} from './log-fixtures.ts'

const COUNT = 7
const TARGET = '/saved/orders-0'
/** Each batch of these logs has this size, and two of them share a segment. */
const SIZE = 71

const salvage = (fs: SimulatedFileSystem): ReturnType<typeof Log.salvage> =>
  Log.salvage(DIR, TARGET, { fileSystem: fs, config: SMALL })
const openTarget = (fs: SimulatedFileSystem): Promise<Log> =>
  Log.open(TARGET, { fileSystem: fs, config: SMALL })

it.each<[string, (fs: SimulatedFileSystem) => unknown, number[]]>([
  ['nothing', () => undefined, []],
  [
    'a record in the middle',
    (fs) => {
      fs.flipBit(pathOf(2), 66, 1)
    },
    [2],
  ],
  [
    'the second batch of a segment',
    (fs) => {
      fs.flipBit(pathOf(2), SIZE + 66, 1)
    },
    [3],
  ],
  [
    'the length of a batch',
    (fs) => {
      fs.flipBit(pathOf(2), 9, 1)
    },
    [2],
  ],
  [
    'the last batch',
    (fs) => {
      fs.flipBit(pathOf(6), 66, 1)
    },
    [6],
  ],
  [
    'the end of a segment',
    (fs) => {
      fs.writeFile(pathOf(2), fs.readFile(pathOf(2)).subarray(0, SIZE))
    },
    [3],
  ],
  ['a missing segment', (fs) => fs.unlink(pathOf(2)), [2, 3]],
  ['the first segment', (fs) => fs.unlink(pathOf(0)), [0, 1]],
  ['the last segment', (fs) => fs.unlink(pathOf(6)), [6]],
  [
    'all of a segment',
    (fs) => {
      fs.writeFile(pathOf(4), Buffer.alloc(2 * SIZE))
    },
    [4, 5],
  ],
])('a salvage saves all but %s, under the same offsets', async (_, damage, lost) => {
  const fs = await writtenLog(COUNT)
  await damage(fs)
  const before = fs.snapshot()
  const report = await salvage(fs)
  const listed = report.lost.flatMap(({ firstOffset, lastOffset }) =>
    upTo(COUNT).filter((each) => each >= firstOffset && each <= (lastOffset ?? Infinity)),
  )
  expect(listed).toEqual(lost)
  expect(report).toMatchObject({ recordCount: COUNT - lost.length, logEndOffset: COUNT })
  for (const [path, bytes] of before) expect(fs.readFile(path)).toEqual(bytes)
  const log = await openTarget(fs)
  expect(log.damage).toBeNull()
  expect(await offsetsOf(log)).toEqual(upTo(COUNT).filter((each) => !lost.includes(each)))
  expect(await log.verify()).toEqual([])
  // No lost offset is assigned again.
  expect((await log.append([{ value: 'next' }])).baseOffset).toBe(COUNT)
})

it('a salvage of a path that is no partition directory rejects and creates no target', async () => {
  const fs = await writtenLog(COUNT)
  fs.writeFile('/meta.properties', Buffer.from('version=1'))
  for (const path of ['/', '/none-0', '/meta.properties']) {
    const salvaging = Log.salvage(path, TARGET, { fileSystem: fs })
    await expect(salvaging).rejects.toMatchObject({ code: 'STORAGE_ERROR', path })
  }
  await expect(Log.salvage('/', TARGET, { fileSystem: fs })).rejects.toThrow(
    '/ holds no segments: it is not the directory of a partition',
  )
  expect(await fs.stat(TARGET)).toBeNull()
})

it('a salvage of a log that has lost all segments reports what is lost', async () => {
  const fs = await writtenLog(COUNT)
  for (const path of [...fs.snapshot().keys()]) {
    if (path.startsWith(DIR) && path.endsWith('.log')) await fs.unlink(path)
  }
  const { recordCount, lost } = await salvage(fs)
  expect([recordCount, lost]).toMatchObject([0, [{ firstOffset: 0, path: null }]])
})

it('a salvage is durable when it resolves', async () => {
  const disk = await writtenLog(COUNT)
  disk.flipBit(pathOf(2), 66, 1)
  const report = await salvage(disk)
  const afterwards = disk.restart('power', { unsynced: 'lost' })
  expect(await offsetsOf(await openTarget(afterwards))).toEqual([0, 1, 3, 4, 5, 6])
  expect(report.recordCount).toBe(COUNT - 1)
})

it('a salvage does not restore deleted records', async () => {
  const disk = await writtenLog(COUNT)
  const source = await openLog(disk)
  await source.advanceLogStartOffset(3)
  await source.close()
  disk.flipBit(pathOf(4), 66, 1)
  const report = await salvage(disk)
  expect(report.lost).toMatchObject([{ firstOffset: 4, lastOffset: 4, path: pathOf(4) }])
  expect(await offsetsOf(await openTarget(disk))).toEqual([3, 5, 6])
})

it('a salvage begins at the log start offset even if a truncation of its batch was interrupted', async () => {
  const disk = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(disk)
  for (let each = 0; each < 4; each += 1) await log.append([{ value: `v${each}` }])
  await log.append(['v4', 'v5', 'v6'].map((value) => ({ value })))
  await log.advanceLogStartOffset(5)
  const moments: SimulatedFileSystem[] = []
  disk.observe(() => moments.push(disk.fork()))
  await log.truncateTo(6)
  disk.observe(null)
  expect(moments.length).toBeGreaterThan(5)
  for (const [slot, moment] of moments.entries()) {
    const stopped = moment.restart('process')
    await expect(salvage(stopped), `operation ${slot}`).resolves.toMatchObject({
      logStartOffset: 5,
    })
    const target = await openTarget(stopped)
    expect(target.damage).toBeNull()
    expect(target.logStartOffset, `operation ${slot}`).toBe(5)
    expect([[], [5, 6]]).toContainEqual(await offsetsOf(target))
  }
})

it('a salvage restores no deleted record even if the last edit of the record of segments is torn', async () => {
  const disk = await writtenLog(COUNT, { close: false })
  const stopped = disk.restart('process')
  const log = await openLog(stopped)
  await log.advanceLogStartOffset(3)
  for (let each = 0; each < 4; each += 1) await log.append([{ value: 'more' }])
  const record = `${DIR}/varve-segments`
  stopped.flipBit(record, stopped.readFile(record).length - 10, 0)
  expect(await salvage(stopped.restart('process'))).toMatchObject({ logStartOffset: 3, lost: [] })
})

it('a salvage does not treat a batch inside the value of a damaged record as a batch of the log', async () => {
  const fs = await writtenLog(0, { close: false })
  const log = await openLog(fs, { config: { segmentBytes: 5000 } })
  await log.append([{ value: bytesOf({ baseOffset: 0, values: ['forged'] }) }])
  await log.append([{ value: 'sound' }])
  await log.close()
  fs.flipBit(pathOf(0), 62, 1)
  const report = await salvage(fs)
  expect(report.lost).toMatchObject([{ firstOffset: 0, lastOffset: 0, position: 0 }])
  expect(await offsetsOf(await openTarget(fs))).toEqual([1])
})

it('a salvage with invalid options rejects before it copies anything', async () => {
  const fs = await writtenLog(COUNT)
  const wrong = [{ confg: SMALL }, { config: { segmentBytes: 1 } }] as never[]
  for (const options of wrong) {
    const salvaging = Log.salvage(DIR, TARGET, { fileSystem: fs, ...(options as object) })
    await expect(salvaging).rejects.toThrow(/confg|segmentBytes/)
    expect(await fs.stat(TARGET)).toBeNull()
  }
  await salvage(fs)
})

it('a salvage into a directory that is not empty rejects', async () => {
  const fs = await writtenLog(COUNT)
  await fs.createDirectory(TARGET)
  fs.writeFile(`${TARGET}/x`, Buffer.from('x'))
  await expect(salvage(fs)).rejects.toThrow(StorageError)
  await expect(Log.salvage(DIR, DIR, { fileSystem: fs })).rejects.toThrow(StorageError)
})

it.each<[string, (fs: SimulatedFileSystem) => unknown, number[]]>([
  ['nothing', () => undefined, []],
  [
    'the end of the last segment',
    (fs) => {
      fs.writeFile(pathOf(6), fs.readFile(pathOf(6)).subarray(0, SIZE - 5))
    },
    [6],
  ],
  [
    'the second batch of a segment',
    (fs) => {
      fs.flipBit(pathOf(2), SIZE + 66, 1)
    },
    [3],
  ],
  ['a segment', (fs) => fs.unlink(pathOf(2)), [2, 3]],
  [
    'the end of a segment',
    (fs) => {
      fs.writeFile(pathOf(2), fs.readFile(pathOf(2)).subarray(0, SIZE))
    },
    [3],
  ],
  [
    'all of a segment',
    (fs) => {
      fs.writeFile(pathOf(2), Buffer.alloc(2 * SIZE, 7))
    },
    [2, 3],
  ],
])('a salvage without a record of segments saves all but %s', async (_, damage, lost) => {
  const fs = await writtenLog(COUNT)
  await fs.unlink(`${DIR}/varve-segments`)
  await damage(fs)
  await salvage(fs)
  expect(await offsetsOf(await openTarget(fs))).toEqual(
    upTo(COUNT).filter((o) => !lost.includes(o)),
  )
})

it('a salvage works with a damaged record of segments, and rejects if the disk it writes to fails', async () => {
  const fs = await writtenLog(COUNT)
  fs.flipBit(`${DIR}/varve-segments`, 40, 1)
  await salvage(fs)
  expect(await offsetsOf(await openTarget(fs))).toEqual(upTo(COUNT))
  fs.failNext('write', 'EIO', { path: /orders-1.*log$/ })
  await expect(
    Log.salvage(DIR, '/saved/orders-1', { fileSystem: fs, config: SMALL }),
  ).rejects.toMatchObject({ cause: { code: 'EIO' } })
})

it.each(['varve-segments', 'leader-epoch-checkpoint', 'partition.metadata'])(
  'a salvage works without %s if the disk cannot read it',
  async (name) => {
    const fs = await writtenLog(COUNT)
    fs.writeFile(`${DIR}/partition.metadata`, Buffer.from('version: 0\ntopic_id: a\n'))
    spoil(fs, `${DIR}/${name}`)
    expect(await salvage(fs)).toMatchObject({ recordCount: COUNT, logEndOffset: COUNT, lost: [] })
    expect(await offsetsOf(await openTarget(fs))).toEqual(upTo(COUNT))
  },
)

it.each(['varve-segments', 'leader-epoch-checkpoint', pathOf(2).slice(DIR.length + 1)])(
  'a salvage without permission to open %s rejects, since permission can be granted',
  async (name) => {
    const fs = await writtenLog(COUNT)
    fs.failNext('open', 'EACCES', { path: `${DIR}/${name}`, persistent: true })
    await expect(salvage(fs)).rejects.toMatchObject({ cause: { code: 'EACCES' } })
  },
)

describe('a salvage from a disk with bad sectors', () => {
  const PIECE = 4096
  /** About four of these batches make up a piece. */
  const VALUE = 'x'.repeat(1000)
  const BATCH = 1070
  const BATCHES = 40

  async function largeLog(): Promise<SimulatedFileSystem> {
    const fs = await writtenLog(0, { close: false })
    const log = await openLog(fs, { config: { segmentBytes: 1024 * 1024 } })
    for (let each = 0; each < BATCHES; each += 1) await log.append([{ value: VALUE }])
    await log.close()
    expect(fs.readFile(pathOf(0))).toHaveLength(BATCHES * BATCH)
    return fs
  }

  /** The offsets of the batches with a byte in one of the pieces. */
  const inPieces = (pieces: readonly number[]): number[] =>
    upTo(BATCHES).filter((each) => {
      const [first, last] = [each * BATCH, (each + 1) * BATCH - 1]
      return pieces.some((piece) => first < (piece + 1) * PIECE && piece * PIECE <= last)
    })

  it.each<[string, number[], [number, number | null][]]>([
    ['at the beginning', [0], [[0, 3]]],
    ['in the middle', [2], [[7, 11]]],
    [
      'twice',
      [2, 5],
      [
        [7, 11],
        [19, 22],
      ],
    ],
    ['one behind the other', [2, 3, 4], [[7, 19]]],
    ['at the end', [10], [[38, 39]]],
  ])('loses the batches in those sectors and no others: %s', async (_, pieces, lost) => {
    const fs = await largeLog()
    for (const piece of pieces) spoil(fs, pathOf(0), piece * PIECE + 100, piece * PIECE + 101)
    const report = await salvage(fs)
    expect(report.lost.map((range) => [range.firstOffset, range.lastOffset])).toEqual(lost)
    for (const { path, reason } of report.lost) {
      expect([path, reason]).toEqual([pathOf(0), expect.stringContaining('EIO')])
    }
    const saved = upTo(BATCHES).filter((each) => !inPieces(pieces).includes(each))
    expect(await offsetsOf(await openTarget(fs))).toEqual(saved)
    expect(report).toMatchObject({ recordCount: saved.length, logEndOffset: BATCHES })
  })

  it.each([1, 7, 8])(
    'loses a batch whose first %d bytes, which no checksum covers, are in a bad sector',
    async (missing) => {
      const fs = await writtenLog(0, { close: false })
      const log = await openLog(fs, { config: { segmentBytes: 1024 * 1024 } })
      await log.append([{ value: 'x'.repeat(PIECE - missing - (BATCH - VALUE.length)) }])
      expect(fs.readFile(pathOf(0))).toHaveLength(PIECE - missing)
      for (const value of ['b', 'c']) await log.append([{ value }])
      await log.close()
      spoil(fs, pathOf(0), 100, 101)
      const report = await salvage(fs)
      expect(report.lost).toMatchObject([{ firstOffset: 0, lastOffset: 1, reason: /EIO/ }])
      expect(await offsetsOf(await openTarget(fs))).toEqual([2])
    },
  )

  it('reads each bad sector only a few times', async () => {
    const fs = await largeLog()
    let failures = 0
    const onFailure = (): void => {
      failures += 1
    }
    spoil(fs, pathOf(0), 0, 12 * PIECE, { onFailure })
    await salvage(fs)
    expect(failures).toBeLessThanOrEqual(12 + 2)
  })

  it.each([1, 2, 3])(
    'saves what a sector returned %d times before it went bad',
    async (readsBefore) => {
      const fs = await largeLog()
      spoil(fs, pathOf(0), 2 * PIECE, 3 * PIECE, { readsBefore })
      expect(await salvage(fs)).toMatchObject({ recordCount: BATCHES, lost: [] })
      expect(await offsetsOf(await openTarget(fs))).toEqual(upTo(BATCHES))
    },
  )

  it.each<[number, [number, number | null]]>([
    [2, [2, 3]],
    [6, [6, 6]],
  ])(
    'loses only the file that cannot be opened: the one with base offset %s',
    async (base, lost) => {
      const fs = await writtenLog(COUNT)
      fs.failNext('open', 'EIO', { path: pathOf(base), persistent: true })
      const report = await salvage(fs)
      expect(report.lost).toMatchObject([
        { firstOffset: lost[0], lastOffset: lost[1], path: pathOf(base), reason: /EIO/ },
      ])
      expect(report.logEndOffset).toBe(COUNT)
      const log = await openTarget(fs)
      const [first, last] = lost
      expect(await offsetsOf(log)).toEqual(
        upTo(COUNT).filter((each) => each < first || each > (last ?? COUNT)),
      )
      expect((await log.append([{ value: 'next' }])).baseOffset).toBe(COUNT)
    },
  )
})

it('a salvage copies a large segment in pieces of about 8 MiB, without its damaged batches', async () => {
  const fs = await writtenLog(0, { close: false })
  const log = await openLog(fs, { config: { segmentBytes: 64 * 1024 * 1024 } })
  const values = upTo(20).map((each) => String(each).repeat(500_000))
  for (const value of values) await log.append([{ value }])
  await log.close()
  const before = fs.readFile(pathOf(0))
  expect(before.length).toBeGreaterThan(12 * 1024 * 1024)
  // The first ten batches have the same size. Damaged are the second one and the last one.
  const size = 12 + before.readInt32BE(8)
  fs.flipBit(pathOf(0), size + 66, 1)
  fs.flipBit(pathOf(0), before.length - 1000, 1)
  const done = fs.operations.length
  const report = await salvage(fs)
  expect(report).toMatchObject({
    recordCount: 18,
    lost: [
      { firstOffset: 1, lastOffset: 1 },
      { firstOffset: 19, lastOffset: 19 },
    ],
  })
  const sizes = fs.operations
    .slice(done)
    .flatMap((line) => / write \/saved\/.*\.log @\d+ \+(\d+)/.exec(line)?.[1] ?? [])
    .map(Number)
  expect(Math.max(...sizes)).toBeLessThan(9.5 * 1024 * 1024)
  const saved = fs.readFile(`${TARGET}/${pathOf(0).slice(DIR.length + 1)}`)
  const whole = Buffer.concat([before.subarray(0, size), before.subarray(2 * size)])
  expect(saved.equals(whole.subarray(0, saved.length))).toBe(true)
  expect(await offsetsOf(await openTarget(fs))).toEqual(upTo(19).filter((each) => each !== 1))
})

it('a failed salvage leaves no file open', async () => {
  const fs = await writtenLog(COUNT, { close: false })
  const log = await openLog(fs)
  await log.advanceLogStartOffset(1)
  await log.close()
  const openFiles = recordOpenFiles(fs)
  fs.failNext('write', 'EIO', { path: /saved.*log-start-offset/, persistent: true })
  await expect(salvage(fs)).rejects.toMatchObject({ cause: { code: 'EIO' } })
  expect(openFiles()).toEqual([])
})
