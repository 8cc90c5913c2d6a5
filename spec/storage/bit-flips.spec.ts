import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { LockedError, StorageError } from '../../lib/errors.ts'
import { lockDirectory } from '../../lib/platform/directory-lock.ts'
import type { DirectoryLock } from '../../lib/platform/file-system.ts'
import { LOCK_FILE_NAME } from '../../lib/platform/lock-file.ts'
import { LOCK_TIMES } from '../../lib/platform/lock-times.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { judgeDirectory, rottenDirectory } from '../broker/rotten-directory.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'
import { DIR, openLog, valuesOf, valuesUpTo } from './log-fixtures.ts'
import { rotOf, tryRot } from './rot.ts'
import { judgeRotten, rottenLog } from './rotten-log.ts'

/**
 * One in this many kinds of damage is tried here; the long programme tries all. The number has no
 * divisor in common with patterns in the files and in the order of the damage.
 */
const SHARE = 149

const ENDS = ['closed', 'killed'] as const

/** For a broker's directory, where a trial takes longer. */
const DIRECTORY_SHARE = 89

/** For a lock file on the real disk. */
const LOCK_SHARE = 23

describe('damage to a file of a log', () => {
  it.each(ENDS)('is reported or makes no difference if the log was %s', async (end) => {
    const log = await rottenLog(end)
    const names = [...log.fs.snapshot().keys()].join()
    expect(names).toMatch(/varve-segments/)
    expect(log.fs.snapshot().size).toBeGreaterThan(14)
    const sweep = await tryRot(log.fs, judgeRotten(log), (number) => number % SHARE === 0)
    expect(sweep.problems).toEqual([])
    expect(sweep.tried.get('log')).toBeGreaterThan(200)
  })
})

describe("damage to a file of a broker's directory", () => {
  it.each(ENDS)('is reported or makes no difference if the broker was %s', async (end) => {
    const fs = await rottenDirectory(end)
    const sweep = await tryRot(fs, judgeDirectory, (number) => number % DIRECTORY_SHARE === 0)
    expect(sweep.problems).toEqual([])
    expect([...sweep.tried.keys()]).toEqual(expect.arrayContaining(['log', 'varve-topics']))
  })
})

describe('damage to the mark of a failed sync', () => {
  it('loses no durable record, and shows none that was never written', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs)
    for (const value of valuesUpTo(3)) await log.append([{ value }])
    fs.failNext('datasync', 'EIO', { path: /log$/ })
    // The mark tells the next open that the file could not be truncated.
    fs.failNext('truncate', 'EIO', { path: /log$/, persistent: true })
    await expect(log.append([{ value: 'v3' }])).rejects.toThrow(StorageError)
    const stopped = fs.restart('process')
    expect(stopped.snapshot().has(`${DIR}/varve-durable-end`)).toBe(true)
    expect(await valuesOf(await openLog(stopped.fork()))).toEqual(valuesUpTo(3))
    let count = 0
    for (const rot of rotOf(stopped.readFile(`${DIR}/varve-durable-end`))) {
      const copy = stopped.fork()
      if (rot.bytes === null) await copy.unlink(`${DIR}/varve-durable-end`)
      else copy.writeFile(`${DIR}/varve-durable-end`, rot.bytes)
      const opened = await openLog(copy)
      expect(opened.damage, rot.name).toBeNull()
      // The outcome of the fourth append was unknown.
      expect([3, 4], rot.name).toContain(opened.logEndOffset)
      expect(await valuesOf(opened), rot.name).toEqual(valuesUpTo(opened.logEndOffset))
      count += 1
    }
    expect(count).toBeGreaterThan(400)
  })
})

describe('damage to a lock file', () => {
  it('never gives a directory two owners, and causes no error but LockedError', async () => {
    const dir = await temporaryDirectory()
    const path = join(dir, LOCK_FILE_NAME)
    const times = { ...LOCK_TIMES, graceMs: 0 }
    const owner = await lockDirectory(dir, { times })
    const sound = await readFile(path)
    await owner.release()
    let number = 0
    for (const rot of rotOf(sound)) {
      number += 1
      if (number % LOCK_SHARE !== 0 || rot.bytes === null) continue
      await writeFile(path, rot.bytes, { mode: 0o600 })
      const taken = await lockDirectory(dir, { times }).catch((error: unknown) => error)
      if (taken instanceof Error) expect(taken, rot.name).toBeInstanceOf(LockedError)
      else {
        await expect(lockDirectory(dir, { times }), rot.name).rejects.toThrow(LockedError)
        await (taken as DirectoryLock).release()
      }
    }
    expect(number).toBeGreaterThan(1000)
  })
})
