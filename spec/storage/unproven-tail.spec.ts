import { describe, expect, it } from 'vitest'
import type { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, NOW, openLog, pathOf, upTo, valuesOf, valuesUpTo } from './log-fixtures.ts'

const LARGE = { segmentBytes: 50_000_000 }
/** The size of a batch with only the record `v0`. */
const SIZE = bytesOf({ values: ['v0'] }).length

/** Makes every sync of a log file fail, and its mark too. */
function failSyncs(fs: SimulatedFileSystem): void {
  fs.failNext('datasync', 'EIO', { path: /\.log$/, persistent: true })
  fs.failNext('truncate', 'EIO', { persistent: true })
  fs.failNext('rename', 'EIO', { path: /durable-end/, persistent: true })
}

async function filled(
  count: number,
  config = LARGE,
): Promise<{ fs: SimulatedFileSystem; log: Log }> {
  const fs = new SimulatedFileSystem()
  const log = await openLog(fs, { config })
  for (const value of valuesUpTo(count)) await log.append([{ key: 'k', value }])
  return { fs, log }
}

/** What an open of a log writes into its files, as `<position> <bytes>`. */
async function writesOf(fs: SimulatedFileSystem, path = pathOf(0)): Promise<string[]> {
  await openLog(fs, { config: LARGE })
  return fs.operations
    .map((line) => / write (\S+) @(\d+) \+(\d+)$/.exec(line))
    .filter((match) => match?.[1] === path)
    .map((match) => `${match?.[2] ?? ''} ${match?.[3] ?? ''}`)
}

describe('a failed sync that left no mark', () => {
  it('loses no record once the log was opened again, even if the page cache is evicted', async () => {
    const { fs, log } = await filled(3)
    failSyncs(fs)
    const failed = log.append([{ key: 'k', value: 'v3' }])
    await expect(failed).rejects.toMatchObject({ outcome: 'unknown' })
    const next = fs.restart('process')
    const again = await openLog(next)
    // Nobody was told that it is missing.
    expect(await valuesOf(again)).toEqual(valuesUpTo(4))
    await again.append([{ key: 'k', value: 'v4' }])
    next.evictPageCache()
    for (const kind of ['process', 'power'] as const) {
      const last = await openLog(next.restart(kind, { unsynced: 'lost' }))
      expect([await valuesOf(last), last.damage]).toEqual([valuesUpTo(5), null])
    }
  })

  it('loses only the record that it was to cover if the page cache is evicted before the next open', async () => {
    const { fs, log } = await filled(3)
    failSyncs(fs)
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject({ outcome: 'unknown' })
    fs.evictPageCache()
    const again = await openLog(fs.restart('process'))
    expect([await valuesOf(again), again.damage]).toEqual([valuesUpTo(3), null])
  })

  it('is repaired by a later open if a sync of the first recovery fails too', async () => {
    const { fs, log } = await filled(3)
    failSyncs(fs)
    await expect(log.append([{ key: 'k', value: 'v3' }])).rejects.toThrow('EIO')
    const second = fs.restart('process')
    second.failNext('datasync', 'EIO', { path: pathOf(0) })
    await expect(openLog(second)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    const third = second.restart('process')
    expect(await valuesOf(await openLog(third))).toEqual(valuesUpTo(4))
    third.evictPageCache()
    const last = await openLog(third.restart('power', { unsynced: 'lost' }))
    expect([await valuesOf(last), last.damage]).toEqual([valuesUpTo(4), null])
  })

  it('loses no later record if it was the sync of the directory after a new segment', async () => {
    const { fs, log } = await filled(3)
    const sync = fs.syncDirectory.bind(fs)
    fs.syncDirectory = async (path) => {
      if ((await fs.stat(pathOf(3))) !== null) fs.failNext('syncDirectory', 'EIO')
      await sync(path)
    }
    fs.failNext('rename', 'EIO', { path: /durable-end/, persistent: true })
    fs.failNext('unlink', 'EIO', { path: pathOf(3), persistent: true })
    await expect(log.roll()).rejects.toMatchObject({ outcome: 'unknown' })
    const next = fs.restart('process')
    const again = await openLog(next)
    await again.append([{ key: 'k', value: 'v3' }])
    const last = await openLog(next.restart('power', { unsynced: 'lost' }))
    expect([await valuesOf(last), last.damage]).toEqual([valuesUpTo(4), null])
  })
})

describe('the bytes that an open after an unclean stop writes again', () => {
  it('are those of the last commit group, because it proves all bytes before it', async () => {
    const { fs } = await filled(5)
    expect(await writesOf(fs.restart('process'))).toEqual([`${4 * SIZE} ${SIZE}`])
  })

  it('are none if all records are known to be durable', async () => {
    const { fs, log } = await filled(5)
    await log.checkpoint()
    expect(await writesOf(fs.fork())).toEqual([])
  })

  it('are none if the log was closed cleanly', async () => {
    const { fs, log } = await filled(5)
    await log.close()
    expect(await writesOf(fs.fork())).toEqual([])
  })

  it('are all from the recovery point on, in every segment, if no batch proves anything', async () => {
    const fs = new SimulatedFileSystem()
    const bytes = upTo(4).map((baseOffset) => bytesOf({ baseOffset, values: ['v0'] }))
    fs.writeFile(pathOf(0), Buffer.concat(bytes.slice(0, 2)))
    fs.writeFile(pathOf(2), Buffer.concat(bytes.slice(2)))
    expect(await writesOf(fs.fork())).toEqual([`0 ${2 * SIZE}`])
    expect(await writesOf(fs.fork(), pathOf(2))).toEqual([`0 ${2 * SIZE}`])
  })

  it('are written in several pieces', async () => {
    const { fs, log } = await filled(0)
    const values = upTo(5).map((each) => String(each).repeat(600_000))
    await log.appendBatches(values.map((value) => bytesOf({ values: [value] })))
    const next = fs.restart('process')
    const writes = await writesOf(next)
    expect(writes).toHaveLength(3)
    const last = await openLog(next.restart('power', { unsynced: 'lost' }))
    expect(await valuesOf(last)).toEqual(values)
  })

  it('keep the modification times of the files, and do not fail the open if these cannot be set', async () => {
    for (const isPossible of [true, false]) {
      const clock = new ManualClock(NOW)
      const fs = new SimulatedFileSystem({ clock })
      for (const baseOffset of [0, 1]) fs.writeFile(pathOf(baseOffset), bytesOf({ baseOffset }))
      await clock.advance(5000)
      if (!isPossible) fs.failNext('setModified', 'EPERM', { persistent: true })
      const log = await openLog(fs, { clock })
      const ages = await Promise.all([0, 1].map((each) => fs.stat(pathOf(each))))
      const modifiedMs = isPossible ? NOW : NOW + 5000
      expect(ages).toMatchObject([{ modifiedMs }, { modifiedMs }])
      expect(log.logEndOffset).toBe(2)
      await log.close()
    }
  })

  it('are found even if the index names a batch that does not exist', async () => {
    const fs = new SimulatedFileSystem()
    const log = await openLog(fs, { config: { ...LARGE, indexIntervalBytes: 32 } })
    await log.appendBatches(upTo(5).map(() => bytesOf({ values: ['v0'] })))
    await log.flush()
    await log.checkpoint()
    await log.appendBatches(upTo(3).map(() => bytesOf({ values: ['v0'] })))
    const next = fs.restart('process')
    // Changes the offset of the last entry.
    const index = next.readFile(pathOf(0, 'index'))
    index.writeInt32BE(index.readInt32BE(index.length - 8) - 1, index.length - 8)
    next.writeFile(pathOf(0, 'index'), index)
    expect(await writesOf(next)).toEqual([`${5 * SIZE} ${3 * SIZE}`])
  })

  it('are not written into a log that is opened read-only', async () => {
    const { fs } = await filled(5)
    const next = fs.restart('process')
    const before = next.digest()
    expect(await valuesOf(await openLog(next, { readOnly: true }))).toEqual(valuesUpTo(5))
    expect(next.digest()).toBe(before)
  })
})

describe('a mark of a failed sync that could not be written', () => {
  it.each([
    ['the next append', (log: Log) => log.append([{ value: 'y' }])],
    ['a flush', (log: Log) => log.flush()],
    ['the close', (log: Log) => log.close()],
  ] as const)('is written by %s once the disk works again', async (_, call) => {
    const { fs, log } = await filled(3)
    failSyncs(fs)
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject({ outcome: 'unknown' })
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject({ outcome: 'not-written' })
    expect(fs.snapshot().has(`${DIR}/varve-durable-end`)).toBe(false)
    fs.clearFaults()
    await call(log).catch(() => undefined)
    expect(fs.snapshot().has(`${DIR}/varve-durable-end`)).toBe(true)
    expect(await valuesOf(await openLog(fs.restart('process')))).toEqual(valuesUpTo(3))
  })

  it('is no longer written if the log is closed or its file was replaced', async () => {
    for (const isClosed of [true, false]) {
      const { fs, log } = await filled(3)
      failSyncs(fs)
      await expect(log.append([{ value: 'x' }])).rejects.toMatchObject({ outcome: 'unknown' })
      if (isClosed) await log.close()
      fs.clearFaults()
      if (!isClosed) fs.writeFile('/other', Buffer.from('other'))
      if (!isClosed) await fs.rename('/other', pathOf(0))
      await expect(log.append([{ value: 'y' }])).rejects.toThrow()
      expect(fs.snapshot().has(`${DIR}/varve-durable-end`), String(isClosed)).toBe(false)
    }
  })
})
