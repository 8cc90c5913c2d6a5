import { describe, expect, it } from 'vitest'
import type { Log } from '../../lib/storage/log.ts'
import { isNoRoom } from '../../lib/storage/owed-recovery.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { simulatedError } from '../../lib/testing/simulated-error.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, openLog, pathOf, valuesOf, valuesUpTo } from './log-fixtures.ts'

const MARK = `${DIR}/varve-durable-end`
const NO_ROOM = { outcome: 'not-written', cause: { code: 'ENOSPC' } }

/** A log of `count` records that a process left, on a disk without space even for overwrites. */
async function leftOnFullDisk(
  count: number,
  whileOpen: (fs: SimulatedFileSystem, log: Log) => Promise<void> = () => Promise.resolve(),
): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem({ copyOnWrite: true })
  const log = await openLog(fs)
  for (const value of valuesUpTo(count)) await log.append([{ key: 'k', value }])
  await whileOpen(fs, log)
  const next = fs.restart('process')
  next.capacityBytes = 0
  return next
}

/** Makes the sync of the next record fail, and its mark too. */
async function failLastSync(fs: SimulatedFileSystem, log: Log): Promise<void> {
  fs.failNext('datasync', 'EIO', { path: /\.log$/, persistent: true })
  fs.failNext('truncate', 'EIO', { persistent: true })
  fs.failNext('rename', 'EIO', { path: /durable-end/, persistent: true })
  const failed = log.append([{ key: 'k', value: 'in doubt' }])
  await expect(failed).rejects.toMatchObject({ outcome: 'unknown' })
}

describe('an unclean open on a full disk that never overwrites in place', () => {
  it('counts only proven records as durable, and loses nothing', async () => {
    const fs = await leftOnFullDisk(4)
    const log = await openLog(fs)
    expect([log.durableEndOffset, log.logEndOffset, log.damage]).toEqual([3, 4, null])
    expect(await valuesOf(log)).toEqual(valuesUpTo(4))
    for (const kind of ['process', 'power'] as const) {
      const next = fs.restart(kind, { unsynced: 'lost' })
      next.capacityBytes = Infinity
      expect(await valuesOf(await openLog(next)), kind).toEqual(valuesUpTo(4))
    }
  })

  it('refuses every change for lack of room, and accepts appends once there is some', async () => {
    const fs = await leftOnFullDisk(4)
    const log = await openLog(fs)
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject(NO_ROOM)
    await expect(log.roll()).rejects.toMatchObject(NO_ROOM)
    await expect(log.flush()).rejects.toMatchObject({ ...NO_ROOM, outcome: 'unknown' })
    await expect(log.truncateTo(2)).rejects.toMatchObject({ cause: { code: 'ENOSPC' } })
    expect(log).toMatchObject({ durableEndOffset: 3, logEndOffset: 4, isWritable: true })
    fs.capacityBytes = Infinity
    expect(await log.append([{ value: 'v4' }])).toMatchObject({ baseOffset: 4 })
    expect(log).toMatchObject({ durableEndOffset: 5, logEndOffset: 5 })
    const last = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect([await valuesOf(last), last.damage]).toEqual([valuesUpTo(5), null])
  })

  it('lets the first flush that has room make the recovered records durable', async () => {
    const fs = await leftOnFullDisk(3, failLastSync)
    const log = await openLog(fs)
    expect(log).toMatchObject({ durableEndOffset: 3, logEndOffset: 4 })
    fs.capacityBytes = Infinity
    await log.flush()
    expect(log.durableEndOffset).toBe(4)
    fs.evictPageCache()
    const last = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect(await valuesOf(last)).toEqual([...valuesUpTo(3), 'in doubt'])
  })

  it('does not count as durable what only the page cache holds', async () => {
    const fs = await leftOnFullDisk(3, failLastSync)
    const { durableEndOffset } = await openLog(fs)
    const next = fs.restart('power', { unsynced: 'lost' })
    next.capacityBytes = Infinity
    expect((await openLog(next)).logEndOffset).toBe(durableEndOffset)
  })

  it('cannot be followed by a clean close until there is room', async () => {
    const fs = await leftOnFullDisk(4)
    await expect((await openLog(fs)).close()).rejects.toMatchObject({ cause: { code: 'ENOSPC' } })
    fs.capacityBytes = Infinity
    const log = await openLog(fs)
    expect([log.durableEndOffset, await valuesOf(log)]).toEqual([4, valuesUpTo(4)])
    await log.close()
  })

  it('counts all records as durable if only the end of the file is in doubt', async () => {
    const fs = await leftOnFullDisk(3, (_, log) => log.checkpoint())
    const log = await openLog(fs)
    expect(log).toMatchObject({ durableEndOffset: 3, logEndOffset: 3 })
  })

  it('counts all records as durable if there is no room only for the leader epochs', async () => {
    const fs = await leftOnFullDisk(3, (_, log) => log.close())
    await fs.unlink(`${DIR}/.kafka_cleanshutdown`)
    await fs.unlink(`${DIR}/leader-epoch-checkpoint`)
    const log = await openLog(fs)
    expect([log.durableEndOffset, log.logEndOffset]).toEqual([3, 3])
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject(NO_ROOM)
  })

  it('counts no segment as durable that no batch proves', async () => {
    const fs = new SimulatedFileSystem({ copyOnWrite: true })
    for (const baseOffset of [0, 1, 2]) {
      fs.writeFile(pathOf(baseOffset), bytesOf({ baseOffset, values: [`v${baseOffset}`] }))
    }
    fs.capacityBytes = 0
    const log = await openLog(fs)
    expect(log).toMatchObject({ durableEndOffset: 0, logEndOffset: 3 })
    fs.capacityBytes = Infinity
    await log.append([{ value: 'v3' }])
    const last = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect(await valuesOf(last)).toEqual(valuesUpTo(4))
  })
})

describe('an owed recovery', () => {
  it('is given up until the next open if its sync fails, and the next open finds all records', async () => {
    const fs = await leftOnFullDisk(4)
    const log = await openLog(fs)
    fs.capacityBytes = Infinity
    fs.failNext('datasync', 'EIO', { path: /\.log$/ })
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject({ outcome: 'unknown' })
    await expect(log.append([{ value: 'x' }])).rejects.toThrow('opened again')
    expect(log.failure).not.toBeNull()
    // It had been acknowledged, so it is neither truncated nor marked for truncation.
    expect([log.durableEndOffset, await valuesOf(log)]).toEqual([3, valuesUpTo(4)])
    expect(fs.snapshot().has(MARK)).toBe(false)
    await log.close()
    const last = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect([await valuesOf(last), last.damage]).toEqual([valuesUpTo(4), null])
  })

  it('is retried if a file could not be opened for it', async () => {
    const fs = await leftOnFullDisk(4)
    const log = await openLog(fs)
    fs.capacityBytes = Infinity
    fs.failNext('syncDirectory', 'EMFILE')
    const refused = log.append([{ value: 'v4' }])
    await expect(refused).rejects.toMatchObject({
      outcome: 'not-written',
      cause: { code: 'EMFILE' },
    })
    await log.append([{ value: 'v4' }])
    expect([log.durableEndOffset, await valuesOf(log)]).toEqual([5, valuesUpTo(5)])
  })

  it('truncates a torn tail once there is room', async () => {
    const fs = await leftOnFullDisk(4)
    const { length } = fs.readFile(pathOf(2))
    const torn = Buffer.concat([fs.readFile(pathOf(2)), Buffer.alloc(40, 1)])
    fs.writeFile(pathOf(2), torn)
    fs.failNext('truncate', 'ENOSPC', { path: pathOf(2), persistent: true })
    const log = await openLog(fs)
    expect([log.durableEndOffset, await valuesOf(log)]).toEqual([3, valuesUpTo(4)])
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject(NO_ROOM)
    expect(fs.readFile(pathOf(2))).toHaveLength(torn.length)
    fs.capacityBytes = Infinity
    fs.clearFaults()
    await log.append([{ key: 'k', value: 'v4' }])
    expect(fs.readFile(pathOf(2)).length).toBe(length)
    const last = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect([await valuesOf(last), last.damage]).toEqual([valuesUpTo(5), null])
  })

  it('truncates to the end marked by a failed sync, and keeps the mark until that is done', async () => {
    const fs = await leftOnFullDisk(3, async (disk, log) => {
      disk.failNext('datasync', 'EIO', { path: pathOf(2) })
      disk.failNext('truncate', 'EIO', { path: pathOf(2), persistent: true })
      await expect(log.append([{ value: 'lost' }])).rejects.toMatchObject({ outcome: 'unknown' })
    })
    fs.failNext('truncate', 'ENOSPC', { path: pathOf(2), persistent: true })
    const log = await openLog(fs)
    expect(await valuesOf(log)).toEqual(valuesUpTo(3))
    expect(fs.snapshot().has(MARK)).toBe(true)
    fs.capacityBytes = Infinity
    fs.clearFaults()
    await log.append([{ value: 'v3' }])
    expect(fs.snapshot().has(MARK)).toBe(false)
    expect(await valuesOf(await openLog(fs.restart('process')))).toEqual(valuesUpTo(4))
  })

  it('replaces the file of an empty segment, and appends go to the new file', async () => {
    const fs = new SimulatedFileSystem()
    const first = await openLog(fs)
    for (const value of valuesUpTo(3)) await first.append([{ key: 'k', value }])
    await first.roll()
    const next = fs.restart('process')
    next.failNext('open', 'ENOSPC', { path: `${pathOf(3)}.tmp`, persistent: true })
    const log = await openLog(next)
    await expect(log.append([{ value: 'x' }])).rejects.toMatchObject(NO_ROOM)
    expect(await valuesOf(log)).toEqual(valuesUpTo(3))
    next.clearFaults()
    await log.append([{ value: 'v3' }])
    const last = await openLog(next.restart('power', { unsynced: 'lost' }))
    expect([await valuesOf(last), last.damage]).toEqual([valuesUpTo(4), null])
  })
})

it('treats a full disk or quota as lack of room, except in a sync, which may have lost something', () => {
  const error = (code: string, syscall: string): Error => systemError(code, syscall, '/x', 'full')
  expect(isNoRoom(error('ENOSPC', 'write'))).toBe(true)
  expect(isNoRoom(error('EDQUOT', 'ftruncate'))).toBe(true)
  expect(isNoRoom(simulatedError('EDQUOT', 'write', '/x'))).toBe(true)
  expect(isNoRoom(error('ENOSPC', 'fdatasync'))).toBe(false)
  expect(isNoRoom(error('EIO', 'write'))).toBe(false)
  expect(isNoRoom(new Error('ENOSPC'))).toBe(false)
})
