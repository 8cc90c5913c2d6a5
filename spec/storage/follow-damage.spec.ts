import { expect, it } from 'vitest'
import { OffsetOutOfRangeError } from '../../lib/errors.ts'
import type { FileSystem } from '../../lib/platform/file-system.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { seenThrough } from '../helpers/seen-through.ts'
import { openLog, recordOpenFiles, SMALL, upTo, valuesOf, valuesUpTo } from './log-fixtures.ts'

const RECORDS = 20

async function filled(fs: FileSystem): Promise<Log> {
  const writer = await openLog(fs, { config: SMALL })
  for (const value of valuesUpTo(RECORDS)) await writer.append([{ value }])
  await writer.checkpoint()
  return writer
}

/** Calls `happen` before each read of the record of segments that follows a directory listing. */
function betweenLooks(
  fs: SimulatedFileSystem,
  happen: (look: number) => Promise<void>,
): FileSystem {
  let lists = 0
  return seenThrough(fs, {
    list: (path) => {
      lists += 1
      return fs.list(path)
    },
    open: async (path, mode) => {
      // Each look lists the directory twice.
      if (path.endsWith('varve-segments') && lists % 2 === 0) await happen(lists / 2)
      return fs.open(path, mode)
    },
  })
}

async function cut(fs: SimulatedFileSystem, path: string): Promise<void> {
  const file = await fs.open(path, 'update')
  await file.truncate(10)
  await file.close()
}

it.each([
  ['is missing', (fs: SimulatedFileSystem, path: string) => fs.unlink(path)],
  ['was cut', cut],
] as const)(
  'reports damage if a segment %s, even if the writer appends before each look',
  async (_, hurt) => {
    const fs = new SimulatedFileSystem()
    const writer = await filled(fs)
    const { path, baseOffset } = writer.segments[3] ?? expect.fail('it has too few segments')
    await hurt(fs, path)
    const beside = betweenLooks(fs, async () => {
      for (let each = 0; each < 5; each += 1) await writer.append([{ value: 'more' }])
    })
    const reader = await openLog(beside, { config: SMALL, readOnly: true })
    expect(reader.damage).toMatchObject({ firstOffset: baseOffset })
    await expect(reader.read(baseOffset)).rejects.toBe(reader.damage)
  },
)

it('reports damage that it finds again, even if a look in between found something else', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await filled(fs)
  const [missing, fickle] = [writer.segments[5], writer.segments[3]]
  if (missing === undefined || fickle === undefined) expect.fail('it has too few segments')
  await fs.unlink(missing.path)
  let looks = 0
  const beside = seenThrough(fs, {
    stat: async (path) => {
      const stat = await fs.stat(path)
      if (path !== fickle.path || stat === null) return stat
      looks += 1
      return looks === 2 ? { ...stat, sizeBytes: stat.sizeBytes - 1 } : stat
    },
  })
  const reader = await openLog(beside, { config: SMALL, readOnly: true })
  expect([looks, reader.damage?.firstOffset]).toEqual([3, missing.baseOffset])
})

it('leaves no file open if it fails after looks that all found something else', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await filled(fs)
  const paths = writer.segments.map(({ path }) => path).toReversed()
  await cut(fs, paths[1] ?? expect.fail('there are too few segments'))
  let isRefused = false
  const beside = seenThrough(
    betweenLooks(fs, async (look) => {
      await cut(fs, paths[look + 1] ?? expect.fail('there are too few segments'))
      isRefused = look === 4
    }),
    {
      stat: (path) => {
        // The look after the last one, which accepts what it finds.
        if (isRefused && path.endsWith('.log'))
          throw systemError('EIO', 'stat', path, 'it is broken')
        return fs.stat(path)
      },
    },
  )
  const openFiles = recordOpenFiles(fs)
  await expect(openLog(beside, { config: SMALL, readOnly: true })).rejects.toThrow('EIO')
  expect(openFiles()).toEqual([])
})

it('opens and follows a log whose writer deletes segments after each directory listing', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await filled(fs)
  const beside = seenThrough(fs, {
    list: async (path) => {
      const names = await fs.list(path)
      for (let each = 0; each < 2; each += 1) await writer.append([{ value: 'more' }])
      await writer.advanceLogStartOffset(writer.logStartOffset + 2)
      return names
    },
  })
  const reader = await openLog(beside, { config: SMALL, readOnly: true })
  expect(reader.recovery).toEqual({
    truncations: [],
    rebuiltIndexes: [],
    failedSyncOffset: null,
    damage: null,
  })
  for (let each = 0; each < 100; each += 1) await reader.refresh()
  // The last look saw the state before its own list.
  expect(reader.logEndOffset).toBeGreaterThanOrEqual(writer.logEndOffset - 2 * 2)
  expect(reader.logStartOffset).toBeGreaterThanOrEqual(writer.logStartOffset - 2 * 2)
  const newest = await valuesOf(reader)
  expect(newest.at(-1)).toBe('more')
})

it.each([
  ['goes missing', (fs: SimulatedFileSystem, path: string) => fs.unlink(path)],
  ['is cut', cut],
] as const)('ends the log before a segment that %s while it is followed', async (_, hurt) => {
  const fs = new SimulatedFileSystem()
  const writer = await filled(fs)
  const reader = await openLog(fs, { config: SMALL, readOnly: true })
  const { path, baseOffset } = writer.segments[3] ?? expect.fail('it has too few segments')
  await hurt(fs, path)
  await writer.append([{ value: 'more' }])
  await reader.refresh()
  expect(reader.damage).toBeNull()
  await reader.refresh()
  expect(reader.damage).toMatchObject({ firstOffset: baseOffset, lastOffset: RECORDS })
  expect(reader.logEndOffset).toBe(baseOffset)
  for (const offset of upTo(baseOffset)) {
    expect((await reader.read(offset))[0]?.offset).toBe(offset)
  }
  for (const offset of [baseOffset, RECORDS]) {
    await expect(reader.read(offset)).rejects.toBe(reader.damage)
  }
  await writer.append([{ value: 'more' }])
  await reader.refresh()
  expect(reader.logEndOffset).toBe(baseOffset)
})

it('does not report damage that only a single look has found', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await filled(fs)
  const { path } = writer.segments[3] ?? expect.fail('it has too few segments')
  let isHidden = false
  const beside = seenThrough(fs, {
    list: async (dir) => {
      const names = await fs.list(dir)
      return isHidden ? names.filter(({ name }) => !path.endsWith(name)) : names
    },
  })
  const reader = await openLog(beside, { config: SMALL, readOnly: true })
  for (isHidden of [true, false, true, false]) await reader.refresh()
  expect(reader.damage).toBeNull()
  expect(await valuesOf(reader)).toEqual(valuesUpTo(RECORDS))
})

it('does not report missing indexes of a segment whose deletion was interrupted', async () => {
  const fs = new SimulatedFileSystem()
  const stuck = seenThrough(fs, {
    unlink: async (path) => {
      if (path.endsWith('.log')) throw systemError('EIO', 'unlink', path, 'it is broken')
      await fs.unlink(path)
    },
  })
  const writer = await filled(stuck)
  const [first, second] = writer.segments
  if (first === undefined || second === undefined) expect.fail('it has too few segments')
  await writer.advanceLogStartOffset(second.baseOffset).catch(() => undefined)
  expect([await fs.stat(first.path), await fs.stat(first.path.replace('.log', '.index'))]).toEqual([
    expect.objectContaining({ sizeBytes: first.sizeBytes }),
    null,
  ])
  const reader = await openLog(fs, { config: SMALL, readOnly: true })
  expect([reader.logStartOffset, reader.recovery.rebuiltIndexes]).toEqual([second.baseOffset, []])
})

it('rejects reads below the new log start offset if segments are deleted during a refresh', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await filled(fs)
  const [first, second, third] = writer.segments
  if (first === undefined || second === undefined || third === undefined) {
    expect.fail('it has too few segments')
  }
  let isDue = false
  const beside = seenThrough(fs, {
    stat: async (path) => {
      const stat = await fs.stat(path)
      if (isDue && path === first.path) await writer.advanceLogStartOffset(third.baseOffset)
      return stat
    },
  })
  const reader = await openLog(beside, { config: SMALL, readOnly: true })
  isDue = true
  await reader.refresh()
  expect(reader.logStartOffset).toBe(third.baseOffset)
  await expect(reader.read(first.baseOffset)).rejects.toThrow(OffsetOutOfRangeError)
})
