import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { OffsetOutOfRangeError } from '../../lib/errors.ts'
import type { FileSystem } from '../../lib/platform/file-system.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { seenThrough } from '../helpers/seen-through.ts'
import { DIR, openLog, pathOf, SMALL, valuesOf } from './log-fixtures.ts'

/** One segment for each of `values`, the last one active. */
async function oneInEach(fs: FileSystem, values: readonly string[]): Promise<Log> {
  const log = await openLog(fs, { config: SMALL })
  for (const value of values) {
    if (log.logEndOffset > 0) await log.roll()
    await log.append([{ value }])
  }
  await log.checkpoint()
  return log
}

async function refreshed(reader: Log): Promise<Log> {
  for (let look = 0; look < 4; look += 1) await reader.refresh()
  return reader
}

/** The ends seen by a reader that has followed, and by one that opens. */
async function endsOf(fs: FileSystem, reader: Log): Promise<(number | null | undefined)[]> {
  await refreshed(reader)
  const opened = await openLog(fs, { config: SMALL, readOnly: true })
  expect(opened.damage?.reason).toBe(reader.damage?.reason)
  await expect(reader.read(reader.logEndOffset)).rejects.toBe(reader.damage)
  return [reader.damage?.firstOffset, reader.logEndOffset]
}

it('ends the log before the last known segment if that was rolled and is missing', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await oneInEach(fs, ['a', 'b', 'c'])
  const reader = await openLog(fs, { config: SMALL, readOnly: true })
  await writer.roll()
  await writer.append([{ value: 'd' }])
  await writer.checkpoint()
  await fs.unlink(pathOf(2))
  expect(await endsOf(fs, reader)).toEqual([2, 2])
})

it('ends the log before the last known segment if that was rolled and then lost whole batches', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await oneInEach(fs, ['a', 'b'])
  const sizeBytes = writer.segments[1]?.sizeBytes ?? expect.fail('there is one segment')
  await writer.append([{ value: 'c' }])
  const reader = await openLog(fs, { config: SMALL, readOnly: true })
  await writer.roll()
  await writer.append([{ value: 'd' }])
  await writer.checkpoint()
  const file = await fs.open(pathOf(1), 'update')
  await file.truncate(sizeBytes)
  await file.close()
  expect(await endsOf(fs, reader)).toEqual([1, 1])
})

it('ends the log before a missing segment that was rolled between two refreshes', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await oneInEach(fs, ['a'])
  const reader = await openLog(fs, { config: SMALL, readOnly: true })
  for (const value of ['b', 'c', 'd']) {
    await writer.roll()
    await writer.append([{ value }])
  }
  await writer.checkpoint()
  await fs.unlink(pathOf(2))
  await refreshed(reader)
  expect(reader.damage?.reason).toContain(pathOf(2))
  expect(reader.logEndOffset).toBeLessThanOrEqual(2)
  await expect(reader.read(2)).rejects.toBe(reader.damage)
})

it('ends the log before the active segment if that is missing', async () => {
  const fs = new SimulatedFileSystem()
  await oneInEach(fs, ['a', 'b', 'c'])
  const reader = await openLog(fs, { config: SMALL, readOnly: true })
  await fs.unlink(pathOf(2))
  expect(await endsOf(fs, reader)).toEqual([2, 2])
})

it('ends the log before a segment inside which another one begins, as long as that exists', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await openLog(fs, { config: SMALL })
  await writer.append([{ value: 'a' }, { value: 'b' }])
  await writer.roll()
  await writer.append([{ value: 'c' }])
  await writer.checkpoint()
  const reader = await openLog(fs, { config: SMALL, readOnly: true })
  fs.writeFile(pathOf(1), Buffer.alloc(0))
  await refreshed(reader)
  expect(reader.damage).toMatchObject({ path: pathOf(1), firstOffset: 0 })
  await expect(reader.read(0)).rejects.toBe(reader.damage)
  await fs.unlink(pathOf(1))
  await refreshed(reader)
  expect(await valuesOf(reader)).toEqual(['a', 'b', 'c'])
})

it('continues once the writer has deleted the missing segment', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await oneInEach(fs, ['a', 'b', 'c', 'd', 'e'])
  const reader = await openLog(fs, { config: SMALL, readOnly: true })
  await fs.unlink(pathOf(1))
  await refreshed(reader)
  expect(reader.damage).toMatchObject({ firstOffset: 1 })
  await writer.advanceLogStartOffset(3)
  await refreshed(reader)
  expect([reader.damage, reader.logStartOffset]).toEqual([null, 3])
  await expect(reader.read(0)).rejects.toThrow(OffsetOutOfRangeError)
  expect(await valuesOf(reader)).toEqual(['d', 'e'])
})

const COMPACTED = {
  segmentBytes: 1_048_576,
  cleanupPolicy: 'compact',
  minCleanableDirtyRatio: 0,
  minCompactionLagMs: 0,
} as const

/**
 * A compaction that stops before it gives the first segment its name. If a file is renamed while
 * its directory is listed, the list may have neither name: `misses` says for which lists this is
 * so.
 */
async function compacting(misses: () => boolean): Promise<{
  readonly beside: FileSystem
  /** Begins the compaction; resolves when it has stopped. */
  readonly halt: () => Promise<void>
  readonly finish: () => Promise<void>
}> {
  const fs = new SimulatedFileSystem()
  let go: (() => void) | null = null
  const halting = seenThrough(fs, {
    rename: async (from, to) => {
      if (from === pathOf(0, 'log.swap')) {
        await new Promise<void>((resolve) => {
          go = resolve
        })
      }
      await fs.rename(from, to)
    },
  })
  const writer = await openLog(halting, { config: COMPACTED })
  for (const value of ['v0', 'v1']) await writer.append([{ key: 'k', value }])
  await writer.roll()
  await writer.append([{ key: 'z', value: 'v2' }])
  await writer.checkpoint()
  const beside = seenThrough(fs, {
    list: async (path) => {
      const names = await fs.list(path)
      return misses() ? names.filter((entry) => !entry.name.endsWith('0.log.swap')) : names
    },
  })
  let compacted: Promise<unknown> | null = null
  return {
    beside,
    halt: async () => {
      compacted = writer.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 65_536 })
      while (go === null) await nextTurn()
    },
    finish: async () => {
      go?.()
      await compacted
    },
  }
}

it('follows a compaction even if a directory listing misses a file that is being renamed', async () => {
  let hasMissed = true
  const { beside, halt, finish } = await compacting(() => !hasMissed)
  const reader = await openLog(beside, { config: COMPACTED, readOnly: true })
  await halt()
  hasMissed = false
  await reader.refresh()
  hasMissed = true
  expect(reader.logStartOffset).toBe(0)
  await finish()
  await refreshed(reader)
  expect([reader.logStartOffset, await valuesOf(reader)]).toEqual([0, ['v1', 'v2']])
})

it('opens a log even if a directory listing misses a file that is being renamed', async () => {
  let lists = 0
  const { beside, halt, finish } = await compacting(() => {
    lists += 1
    // An open lists the directory twice.
    return lists <= 2
  })
  await halt()
  const reader = await openLog(beside, { config: COMPACTED, readOnly: true })
  expect(lists).toBeGreaterThan(2)
  await finish()
  await refreshed(reader)
  expect([reader.logStartOffset, await valuesOf(reader)]).toEqual([0, ['v1', 'v2']])
})

it('stays damaged while the segment record cannot be read', async () => {
  const fs = new SimulatedFileSystem()
  await oneInEach(fs, ['a', 'b', 'c', 'd'])
  const reader = await openLog(fs, { config: SMALL, readOnly: true })
  await fs.unlink(pathOf(1))
  await refreshed(reader)
  const { damage } = reader
  expect(damage).toMatchObject({ firstOffset: 1 })
  const file = await fs.open(`${DIR}/varve-segments`, 'update')
  await file.truncate(20)
  await file.close()
  await refreshed(reader)
  expect([reader.damage, reader.logEndOffset]).toEqual([damage, 1])
})

it('reports no damage if two segments are replaced one after the other, even with equal sizes', async () => {
  const fs = new SimulatedFileSystem()
  await oneInEach(fs, ['a', 'b', 'c', 'd'])
  let replaced = -1
  const beside = seenThrough(fs, {
    stat: async (path) => {
      const stat = await fs.stat(path)
      return stat !== null && path === pathOf(replaced) ? { ...stat, sizeBytes: 1000 } : stat
    },
  })
  const reader = await openLog(beside, { config: SMALL, readOnly: true })
  for (const base of [1, 2]) {
    // It sees the old size, and then reads the record.
    replaced = base
    await reader.refresh()
    expect(reader.damage).toBeNull()
  }
  replaced = -1
  await reader.refresh()
  expect(await valuesOf(reader)).toEqual(['a', 'b', 'c', 'd'])
})
