import fs, { promises } from 'node:fs'
import {
  link,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  stat,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { basename, join } from 'node:path'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { LOCK_FILE_NAME, LockFile } from '../../lib/platform/lock-file.ts'
import {
  HEARTBEAT_MS,
  LOCK_TIMES,
  STALE_AFTER_MS,
  type LockTimes,
} from '../../lib/platform/lock-times.ts'
import {
  encodeOwnerName,
  encodeOwnerRecord,
  newOwnerToken,
  type OwnerRecord,
} from '../../lib/platform/lock-owner.ts'
import { readLockFile } from '../../lib/platform/lock-takeover.ts'
import { promptIo } from '../../lib/platform/prompt-io.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { eventually } from '../helpers/eventually.ts'
import { applyToBuiltins } from './builtin-spies.ts'
import { syncsInPool } from './file-handle-syncs.ts'
import { foreignRecord } from './lock-record.ts'
import { poolCallsOf } from './pool-calls.ts'
import { temporaryDirectory } from './temporary-directory.ts'

async function take(
  directory: string,
  onCompromised: (error: Error) => void = () => null,
  clock = new ManualClock(Date.now()),
  record: Partial<OwnerRecord> = {},
  times: LockTimes = { ...LOCK_TIMES, graceMs: 0 },
): Promise<LockFile | null> {
  const lockFile = await LockFile.take({
    directory,
    onCompromised,
    isOwnerGone: (owner) => Promise.resolve(owner.host === 'dead'),
    clock,
    times,
    record: foreignRecord({ token: newOwnerToken(), ...record }),
  })
  if (lockFile !== null) onTestFinished(() => lockFile.release())
  return lockFile
}

/** Takes a lock that can only be taken after the wait for an owner that may still be alive. */
async function takeAfterGrace(directory: string): Promise<LockFile | null> {
  const clock = new ManualClock(Date.now())
  let isSettled = false
  const taking = take(directory, undefined, clock, {}, LOCK_TIMES).finally(() => {
    isSettled = true
  })
  await eventually(() => {
    expect([isSettled, clock.pendingTimers]).toEqual([false, 1])
  })
  await clock.advance(LOCK_TIMES.graceMs - 1)
  expect(clock.pendingTimers).toBe(1)
  await clock.advance(1)
  return taking
}

async function leaveLock(directory: string, ageMs: number): Promise<string> {
  const path = join(directory, LOCK_FILE_NAME)
  await writeFile(path, encodeOwnerRecord(foreignRecord({ token: 'other' })))
  const modified = (Date.now() - ageMs) / 1000
  await utimes(path, modified, modified)
  return path
}

/** Whether a file is opened as the holder of a lock opens it. Others only read. */
function isForWriting(flags: fs.OpenMode): boolean {
  return (Number(flags) & fs.constants.O_RDWR) !== 0
}

/** From now on only names can be created in it. @returns a function that frees space again */
function fillDisk(directory: string): () => void {
  const { writeFileSync } = fs
  const writing = vi.spyOn(fs, 'writeFileSync').mockImplementation((fd, content, options) => {
    if (content instanceof Buffer && content.length > 0)
      throw systemError('ENOSPC', 'write', directory, 'no space left')
    writeFileSync(fd, content, options)
  })
  syncBuiltinESMExports()
  const empty = (): void => {
    writing.mockRestore()
    syncBuiltinESMExports()
  }
  onTestFinished(empty)
  return empty
}

describe('LockFile', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it('is one file that names its owner, and is removed on release', async () => {
    const directory = await temporaryDirectory()
    const lockFile = await take(directory)
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
    const content: unknown = JSON.parse(await readFile(join(directory, LOCK_FILE_NAME), 'utf8'))
    expect(content).toMatchObject({ host: 'elsewhere', pid: 4711 })
    expect(lockFile?.lossReasonSync()).toBeNull()
    await lockFile?.release()
    expect(await readdir(directory)).toEqual([])
  })

  it('asks the pool only to create, sync, name and remove the record of its owner', async () => {
    const directory = await temporaryDirectory()
    // After a slow call, as on a busy machine, the pool would also list the names.
    const listing = vi.spyOn(promptIo, 'attempt').mockImplementation((call) => call())
    onTestFinished(() => {
      listing.mockRestore()
    })
    let lockFile: LockFile | null = null
    const calls = await poolCallsOf(async () => {
      lockFile = await take(directory)
    })
    expect([lockFile, calls]).toEqual([expect.any(LockFile), 4])
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
  })

  it('syncs the record of its owner before the lock has a name', async () => {
    const directory = await temporaryDirectory()
    const syncs = await syncsInPool(directory, async (kind) => {
      const names = await readdir(directory)
      return `${kind} ${names.includes(LOCK_FILE_NAME) ? 'under its name' : 'before'}`
    })
    await take(directory)
    expect(syncs).toEqual(['sync before'])
  })

  it('T4: is not taken if the sync of its record fails, which is not retried and leaves no file', async () => {
    const directory = await temporaryDirectory()
    const syncs = await syncsInPool(directory, (kind) => {
      if (syncs.length === 0) {
        syncs.push('failed')
        throw systemError('EIO', 'fsync', directory, 'i/o error')
      }
      return kind
    })
    await expect(take(directory)).rejects.toMatchObject({ code: 'EIO', syscall: 'fsync' })
    expect(syncs).toEqual(['failed'])
    expect(await readdir(directory)).toEqual([])
    expect(await take(directory)).not.toBeNull()
    expect(syncs).toEqual(['failed', 'sync'])
  })

  it('keeps everybody out until it is stale if a power loss has destroyed its record', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, LOCK_FILE_NAME)
    for (const left of ['', '\0'.repeat(200)]) {
      await writeFile(path, left)
      expect(await take(directory)).toBeNull()
    }
    const stale = (Date.now() - STALE_AFTER_MS - 1000) / 1000
    await utimes(path, stale, stale)
    expect(await take(directory)).not.toBeNull()
  })

  it('respects the lock of another owner until it is stale', async () => {
    const directory = await temporaryDirectory()
    const path = await leaveLock(directory, STALE_AFTER_MS - 10_000)
    expect(await take(directory)).toBeNull()
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
    expect(await readFile(path, 'utf8')).toContain('"other"')
    await leaveLock(directory, STALE_AFTER_MS + 1000)
    expect(await take(directory)).not.toBeNull()
    expect(await readFile(path, 'utf8')).not.toContain('"other"')
  })

  it.each([20, 3600])(
    'is watched if its time is %d s ahead, and taken only if nobody renews it',
    async (seconds) => {
      const directory = await temporaryDirectory()
      const path = await leaveLock(directory, -1000 * seconds)
      const takeBeside = async (atBeat: () => Promise<unknown>): Promise<LockFile | null> => {
        const clock = new ManualClock(Date.now())
        const watched = { isSettled: false }
        const taking = take(directory, undefined, clock).finally(() => {
          watched.isSettled = true
        })
        for (let waitedMs = 0; waitedMs < STALE_AFTER_MS; waitedMs += HEARTBEAT_MS) {
          await eventually(() => {
            expect(watched.isSettled || clock.pendingTimers === 1).toBe(true)
          })
          if (watched.isSettled) break
          await atBeat()
          await clock.advance(HEARTBEAT_MS)
        }
        return taking
      }
      const aheadSeconds = Date.now() / 1000 + seconds + 5
      const beat = () => utimes(path, aheadSeconds, aheadSeconds)
      expect(await takeBeside(beat)).toBeNull()
      expect(await readFile(path, 'utf8')).toContain('"other"')
      expect(await takeBeside(() => Promise.resolve())).not.toBeNull()
      expect(await readFile(path, 'utf8')).not.toContain('"other"')
      expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
    },
  )

  it('has only one successor when it is stale', async () => {
    for (let round = 0; round < 10; round++) {
      const directory = await temporaryDirectory()
      await leaveLock(directory, STALE_AFTER_MS + 1000)
      const taken = await Promise.all([1, 2, 3, 4].map(() => take(directory)))
      expect(taken.filter((lockFile) => lockFile !== null)).toHaveLength(1)
      expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
    }
  })

  it('goes to only one of several takers, after the grace period of an owner that may be alive', async () => {
    for (let round = 0; round < 10; round++) {
      const directory = await temporaryDirectory()
      await leaveLock(directory, STALE_AFTER_MS + 1000)
      const clock = new ManualClock(Date.now())
      const taken: (LockFile | null)[] = []
      const takings = Array.from({ length: 8 }, async (_, place) => {
        for (let turns = 0; turns < 3 * place; turns++) await new Promise(setImmediate)
        taken.push(await take(directory, undefined, clock, {}, LOCK_TIMES))
      })
      await eventually(() => {
        expect([taken.length, clock.pendingTimers]).toEqual([7, 1])
      })
      expect(taken.filter((lockFile) => lockFile !== null)).toEqual([])
      await clock.advance(LOCK_TIMES.graceMs)
      await Promise.all(takings)
      expect(taken.filter((lockFile) => lockFile !== null)).toHaveLength(1)
      // It was not renewed during the wait, but others must not consider it stale now.
      const { mtimeMs } = await stat(join(directory, LOCK_FILE_NAME))
      expect(Math.round(mtimeMs)).toBe(clock.now())
    }
  })

  it('is taken only after the grace period if the previous taker died while it waited for the owner', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, LOCK_FILE_NAME)
    const died = encodeOwnerRecord(foreignRecord({ host: 'dead', token: 'd'.repeat(32) }))
    await writeFile(path, died)
    await writeFile(`${path}.${'d'.repeat(32)}`, died)
    expect(await takeAfterGrace(directory)).not.toBeNull()
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
  })

  it('is taken after the grace period if a late taker has renamed the claim of another to it', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, LOCK_FILE_NAME)
    await writeFile(path, encodeOwnerRecord(foreignRecord({ host: 'dead' })))
    const spy = vi.spyOn(promises, 'link').mockImplementationOnce(async (from, to) => {
      await link(from, to)
      await rename(String(to), path)
    })
    applyToBuiltins(spy)
    expect(await takeAfterGrace(directory)).not.toBeNull()
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
  })

  it('is taken after some watching even if a claim on it has a time in the future', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, LOCK_FILE_NAME)
    await writeFile(path, encodeOwnerRecord(foreignRecord({ host: 'dead' })))
    const { ino, mtimeNs } = await stat(path, { bigint: true })
    const claimPath = `${path}.${ino}-${mtimeNs}`
    await writeFile(claimPath, encodeOwnerRecord(foreignRecord()))
    const aheadSeconds = Date.now() / 1000 + 3600
    await utimes(claimPath, aheadSeconds, aheadSeconds)
    const clock = new ManualClock(Date.now())
    const taking = take(directory, undefined, clock)
    for (let waitedMs = 0; waitedMs < STALE_AFTER_MS; waitedMs += HEARTBEAT_MS) {
      await eventually(() => {
        expect(clock.pendingTimers).toBe(1)
      })
      await clock.advance(HEARTBEAT_MS)
    }
    expect(await taking).not.toBeNull()
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
  })

  /** From now on a lock file cannot be opened for writing. */
  function refuseOpen(): void {
    const { openSync } = fs
    const opening = vi.spyOn(fs, 'openSync').mockImplementation((target, flags, mode) => {
      const isLock = basename(String(target)) === LOCK_FILE_NAME
      if (!isLock || !isForWriting(flags)) return openSync(target, flags, mode)
      throw systemError('EMFILE', 'open', String(target), 'too many open files')
    })
    applyToBuiltins(opening)
  }

  it('keeps others out for the grace period of its old owner even if its taker cannot open it', async () => {
    const directory = await temporaryDirectory()
    await leaveLock(directory, STALE_AFTER_MS + 1000)
    refuseOpen()
    const clock = new ManualClock(Date.now())
    const taking = take(directory, undefined, clock, {}, LOCK_TIMES).catch(
      (error: unknown) => error,
    )
    await eventually(() => {
      expect(clock.pendingTimers).toBe(1)
    })
    await clock.advance(LOCK_TIMES.graceMs - 1)
    expect([clock.pendingTimers, await readdir(directory)]).toMatchObject([
      1,
      expect.arrayContaining([LOCK_FILE_NAME]),
    ])
    await clock.advance(1)
    expect(await taking).toMatchObject({ code: 'EMFILE' })
    expect(await readdir(directory)).toEqual([])
  })

  it('is removed by a taker that cannot open it', async () => {
    const directory = await temporaryDirectory()
    refuseOpen()
    await expect(take(directory)).rejects.toMatchObject({ code: 'EMFILE' })
    expect(await readdir(directory)).toEqual([])
  })

  it('is not taken by a taker that was considered dead on the way and lost its files', async () => {
    const directory = await temporaryDirectory()
    await leaveLock(directory, 0)
    const lockFile = await LockFile.take({
      directory,
      onCompromised: () => null,
      isOwnerGone: async () => {
        for (const name of await readdir(directory)) {
          if (name !== LOCK_FILE_NAME) await unlink(join(directory, name))
        }
        return true
      },
      clock: new ManualClock(Date.now()),
      times: LOCK_TIMES,
      record: foreignRecord(),
    })
    expect(lockFile).toBeNull()
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
  })

  it('is not considered stale because a test has moved the date', async () => {
    const directory = await temporaryDirectory()
    await leaveLock(directory, 0)
    vi.useFakeTimers({ now: Date.now() + 2 * STALE_AFTER_MS, toFake: ['Date'] })
    const lockFile = await LockFile.take({
      directory,
      onCompromised: () => null,
      isOwnerGone: () => Promise.resolve(false),
      clock: new ManualClock(vi.getRealSystemTime()),
      times: { ...LOCK_TIMES, graceMs: 0 },
      record: foreignRecord(),
    })
    expect(lockFile).toBeNull()
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
  })

  it('reports its loss, and leaves the lock of its successor alone', async () => {
    const directory = await temporaryDirectory()
    const lockFile = await take(directory)
    await unlink(join(directory, LOCK_FILE_NAME))
    expect(lockFile?.lossReasonSync()).toContain('removed')
    expect(lockFile?.lossReasonSync()).toContain('removed')
    const path = await leaveLock(directory, STALE_AFTER_MS + 1000)
    const { mtimeMs } = await stat(path)
    expect(lockFile?.lossReasonSync()).toContain('taken')
    expect(lockFile?.lossReasonSync()).toContain('taken')
    await lockFile?.release()
    expect(await readFile(path, 'utf8')).toContain('"other"')
    expect((await stat(path)).mtimeMs).toBe(mtimeMs)
  })

  it('notices a successor that wrote into the same file', async () => {
    const directory = await temporaryDirectory()
    const lockFile = await take(directory)
    const path = await leaveLock(directory, 0)
    expect(lockFile?.lossReasonSync()).toContain('taken')
    await lockFile?.release()
    expect(await readFile(path, 'utf8')).toContain('"other"')
  })

  it('recognizes its record without decoding it, or by its token if it was written another way', async () => {
    const directory = await temporaryDirectory()
    const lockFile = await take(directory)
    const decoding = vi.spyOn(JSON, 'parse')
    onTestFinished(() => {
      decoding.mockRestore()
    })
    expect(lockFile?.lossReasonSync()).toBeNull()
    expect(decoding).not.toHaveBeenCalled()
    const path = join(directory, LOCK_FILE_NAME)
    await writeFile(path, (await readFile(path, 'utf8')).trimEnd())
    expect(lockFile?.lossReasonSync()).toBeNull()
    expect(decoding).toHaveBeenCalledTimes(1)
  })

  it('is reported as removed while its directory is moved away, and held again once that is back', async () => {
    const directory = join(await temporaryDirectory(), 'a')
    const parent = join(directory, '..')
    await mkdir(directory)
    const lockFile = await take(directory)
    await rename(directory, join(parent, 'b'))
    expect(lockFile?.lossReasonSync()).toContain('removed')
    await rename(join(parent, 'b'), directory)
    expect(lockFile?.lossReasonSync()).toBeNull()
  })

  it('renews its time with every heartbeat', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const directory = await temporaryDirectory()
    const lockFile = await take(directory)
    const path = join(directory, LOCK_FILE_NAME)
    const taken = await stat(path)
    await lockFile?.startHeartbeats()
    const first = await stat(path)
    expect(first.mtimeMs).not.toBe(taken.mtimeMs)
    vi.advanceTimersByTime(HEARTBEAT_MS)
    await eventually(async () => {
      expect((await stat(path)).mtimeMs).not.toBe(first.mtimeMs)
    })
  })

  it('starts with the time of the clock of its owner, not that of the file system', async () => {
    const directory = await temporaryDirectory()
    await take(directory, undefined, new ManualClock(1_700_000_000_000))
    expect((await stat(join(directory, LOCK_FILE_NAME))).mtimeMs).toBe(1_700_000_000_000)
  })

  it('does not renew the lock of a successor', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const directory = await temporaryDirectory()
    const lockFile = await take(directory)
    await lockFile?.startHeartbeats()
    const path = join(directory, LOCK_FILE_NAME)
    const { atime, mtime } = await stat(path)
    await unlink(path)
    await leaveLock(directory, 0)
    // If the time does not differ, the heartbeat takes the file for its own.
    await utimes(path, atime, mtime)
    vi.advanceTimersByTime(HEARTBEAT_MS)
    await eventually(() => {
      expect(vi.getTimerCount()).toBe(1)
    })
    expect((await stat(path)).mtime).toEqual(mtime)
  })

  it('starts no heartbeats for the lock of a successor', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const directory = await temporaryDirectory()
    const lockFile = await take(directory)
    await unlink(join(directory, LOCK_FILE_NAME))
    const { mtimeMs } = await stat(await leaveLock(directory, 0))
    await lockFile?.startHeartbeats()
    expect(vi.getTimerCount()).toBe(0)
    expect((await stat(join(directory, LOCK_FILE_NAME))).mtimeMs).toBe(mtimeMs)
  })

  it('starts its heartbeats only once, however often it is asked to', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const lockFile = await take(await temporaryDirectory())
    await Promise.all([lockFile?.startHeartbeats(), lockFile?.startHeartbeats()])
    await lockFile?.startHeartbeats()
    expect(vi.getTimerCount()).toBe(1)
  })

  it('starts its heartbeats when it is asked again after a failure', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const directory = join(await temporaryDirectory(), 'a')
    await mkdir(directory)
    const lockFile = await take(directory)
    await rename(directory, `${directory}-moved`)
    await lockFile?.startHeartbeats()
    expect(vi.getTimerCount()).toBe(0)
    await rename(`${directory}-moved`, directory)
    await lockFile?.startHeartbeats()
    expect(vi.getTimerCount()).toBe(1)
  })

  it('reports an error if its heartbeats could not be started until it was stale', async () => {
    const directory = join(await temporaryDirectory(), 'a')
    await mkdir(directory)
    const clock = new ManualClock(Date.now())
    const reasons: Error[] = []
    const lockFile = await take(directory, (reason) => reasons.push(reason), clock)
    await rename(directory, `${directory}-moved`)
    await clock.advance(STALE_AFTER_MS)
    await lockFile?.startHeartbeats()
    expect(reasons).toEqual([])
    await clock.advance(1)
    await lockFile?.startHeartbeats()
    expect(reasons).toMatchObject([{ code: 'ENOENT' }])
  })

  it('is taken even on a full disk, where a second file name identifies its owner', async () => {
    const directory = await temporaryDirectory()
    fillDisk(directory)
    const lockFile = await take(directory)
    expect(await readFile(join(directory, LOCK_FILE_NAME), 'utf8')).toBe('')
    expect(readLockFile(join(directory, LOCK_FILE_NAME))?.record).toMatchObject({
      ...{ pid: 4711, host: 'elsewhere', pidNamespace: 'pid:[1]', guard: null },
    })
    expect(lockFile?.lossReasonSync()).toBeNull()
    expect(await take(directory)).toBeNull()
    await lockFile?.startHeartbeats()
    expect(lockFile?.lossReasonSync()).toBeNull()
    await lockFile?.release()
    expect(await readdir(directory)).toEqual([])
    expect(await take(directory)).not.toBeNull()
  })

  it('is taken immediately from an owner that died on a full disk, and leaves no other file', async () => {
    const directory = await temporaryDirectory()
    const empty = fillDisk(directory)
    expect(await take(directory, undefined, undefined, { host: 'dead' })).not.toBeNull()
    const successor = await take(directory, undefined, undefined, { host: 'dead' })
    expect(successor).not.toBeNull()
    expect(await readdir(directory)).toHaveLength(2)
    expect(successor?.lossReasonSync()).toBeNull()
    empty()
    const last = await take(directory)
    expect(last?.lossReasonSync()).toBeNull()
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
  })

  it('is not taken on a full disk if another taker replaces it before it is opened', async () => {
    const directory = await temporaryDirectory()
    fillDisk(directory)
    const path = join(directory, LOCK_FILE_NAME)
    const other = `${path}.${encodeOwnerName(foreignRecord({ token: newOwnerToken() })) ?? ''}`
    const { openSync } = fs
    const opening = vi.spyOn(fs, 'openSync').mockImplementation((target, flags, mode) => {
      if (target !== path || !isForWriting(flags)) return openSync(target, flags, mode)
      fs.unlinkSync(path)
      fs.writeFileSync(other, '')
      fs.linkSync(other, path)
      return openSync(target, flags, mode)
    })
    applyToBuiltins(opening)
    expect(await take(directory)).toBeNull()
    expect((await readdir(directory)).sort()).toEqual([LOCK_FILE_NAME, basename(other)])
  })

  it('is not taken over if the name of a record belongs to another file, or no name has room for it', async () => {
    const directory = await temporaryDirectory()
    const empty = fillDisk(directory)
    const held = await take(directory)
    const dead = foreignRecord({ host: 'dead' })
    await writeFile(join(directory, `${LOCK_FILE_NAME}.${encodeOwnerName(dead) ?? ''}`), '')
    expect(await take(directory)).toBeNull()
    await held?.release()
    const host = 'elsewhere'.repeat(60)
    const nameless = await take(directory, undefined, undefined, { host })
    expect(readLockFile(join(directory, LOCK_FILE_NAME))).toMatchObject({ record: null })
    empty()
    expect(await take(directory)).toBeNull()
    expect(nameless?.lossReasonSync()).toBeNull()
  })

  it('is released even if it is taken over between its last check and its removal', async () => {
    const directory = await temporaryDirectory()
    const lockFile = await take(directory)
    const { unlinkSync } = fs
    const removing = vi.spyOn(fs, 'unlinkSync').mockImplementationOnce((path) => {
      unlinkSync(path)
      unlinkSync(path)
    })
    applyToBuiltins(removing)
    await lockFile?.release()
    expect(removing).toHaveBeenCalledTimes(1)
    expect(await readdir(directory)).toEqual([])
  })

  it('has no heartbeats after its release, even if they were about to start', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const directory = await temporaryDirectory()
    const lockFile = await take(directory)
    await lockFile?.startHeartbeats()
    expect(vi.getTimerCount()).toBe(1)
    await lockFile?.release()
    expect(vi.getTimerCount()).toBe(0)
    const next = await take(directory)
    const starting = next?.startHeartbeats()
    await next?.release()
    await starting
    await next?.startHeartbeats()
    expect(vi.getTimerCount()).toBe(0)
  })

  describe.runIf(process.platform === 'linux')('keeps no descriptor open', () => {
    async function openIn(directory: string): Promise<string[]> {
      const descriptors = await readdir('/proc/self/fd')
      const targets = descriptors.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => ''))
      return (await Promise.all(targets)).filter((target) => target.startsWith(directory))
    }

    it('after its release', async () => {
      const directory = await temporaryDirectory()
      const lockFile = await take(directory)
      expect(await openIn(directory)).toEqual([join(directory, LOCK_FILE_NAME)])
      await lockFile?.release()
      expect(await openIn(directory)).toEqual([])
    })

    it('when another owner has it, or takes it before it is opened', async () => {
      const directory = await temporaryDirectory()
      const path = await leaveLock(directory, 0)
      expect([await take(directory), await openIn(directory)]).toEqual([null, []])
      await unlink(path)
      const { link } = promises
      const linking = vi.spyOn(promises, 'link').mockImplementation(async (from, to) => {
        await link(from, to)
        await unlink(path)
        await leaveLock(directory, 0)
      })
      applyToBuiltins(linking)
      expect([await take(directory), await openIn(directory)]).toEqual([null, []])
    })

    it('when its record cannot be synced', async () => {
      const directory = await temporaryDirectory()
      await syncsInPool(directory, () => {
        throw systemError('EIO', 'fsync', directory, 'i/o error')
      })
      await expect(take(directory)).rejects.toMatchObject({ code: 'EIO' })
      expect(await openIn(directory)).toEqual([])
    })
  })

  describe('whose heartbeat finds a modification time that it did not set', () => {
    /** It finds a modification time that somebody else set. */
    async function findAnotherTime(directory: string, reasons: Error[], clock: ManualClock) {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      const lockFile = await take(directory, (reason) => reasons.push(reason), clock)
      await lockFile?.startHeartbeats()
      await utimes(join(directory, LOCK_FILE_NAME), 1000, 1000)
      vi.advanceTimersByTime(HEARTBEAT_MS)
      return lockFile
    }

    it('stays with its owner, which renews it itself from then on', async () => {
      const directory = await temporaryDirectory()
      const path = join(directory, LOCK_FILE_NAME)
      const reasons: Error[] = []
      const clock = new ManualClock(1_700_000_000_000)
      const lockFile = await findAnotherTime(directory, reasons, clock)
      await eventually(async () => {
        expect([(await stat(path)).mtimeMs, reasons.length]).not.toEqual([1_000_000, 0])
      })
      expect(reasons).toEqual([])
      for (let beats = 0; beats < 3; beats++) {
        // As on a file system with a resolution of two seconds.
        await utimes(path, 1_699_999_998, 1_699_999_998)
        await clock.advance(HEARTBEAT_MS)
        await lockFile?.startHeartbeats()
        expect((await stat(path)).mtimeMs).toBe(clock.now())
      }
      expect([vi.getTimerCount(), reasons]).toEqual([0, []])
      await lockFile?.release()
      expect(await readdir(directory)).toEqual([])
    })

    it('reports the loss if it cannot be renewed until it is stale', async () => {
      const directory = await temporaryDirectory()
      const reasons: Error[] = []
      const clock = new ManualClock(Date.now())
      const renewing = vi.spyOn(fs, 'futimesSync')
      applyToBuiltins(renewing)
      const lockFile = await findAnotherTime(directory, reasons, clock)
      renewing.mockClear().mockImplementation(() => {
        throw systemError('EIO', 'futimes', directory, 'i/o error')
      })
      await eventually(() => {
        expect(renewing).toHaveBeenCalledTimes(1)
      })
      await clock.advance(STALE_AFTER_MS)
      await lockFile?.startHeartbeats()
      expect(reasons).toEqual([])
      await clock.advance(1)
      await lockFile?.startHeartbeats()
      expect(reasons).toMatchObject([{ code: 'ECOMPROMISED' }])
    })

    it('has no heartbeat after its release', async () => {
      const directory = await temporaryDirectory()
      const reasons: Error[] = []
      const lockFile = await findAnotherTime(directory, reasons, new ManualClock(Date.now()))
      await lockFile?.release()
      expect([await readdir(directory), vi.getTimerCount(), reasons]).toEqual([[], 0, []])
    })
  })

  it.each([
    ['removed', () => Promise.resolve(0)],
    [
      'in the hands of another owner',
      async (directory: string) => (await stat(await leaveLock(directory, 1000))).mtimeMs,
    ],
  ])('is neither taken nor touched if it is %s by the time it is opened', async (_, succeed) => {
    const directory = await temporaryDirectory()
    const path = join(directory, LOCK_FILE_NAME)
    const { link } = promises
    let mtimeMs = 0
    const spy = vi.spyOn(promises, 'link').mockImplementation(async (from, to) => {
      await link(from, to)
      await unlink(path)
      mtimeMs = await succeed(directory)
    })
    applyToBuiltins(spy)
    expect(await take(directory)).toBeNull()
    const names = await readdir(directory)
    expect(names).toEqual(mtimeMs === 0 ? [] : [LOCK_FILE_NAME])
    if (mtimeMs > 0) expect((await stat(path)).mtimeMs).toBe(mtimeMs)
  })

  it('is taken immediately from a dead owner', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, LOCK_FILE_NAME)
    await writeFile(path, encodeOwnerRecord(foreignRecord({ host: 'dead' })))
    expect(await take(directory)).not.toBeNull()
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
  })

  it('removes the files that dead takers left, and stale ones', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, LOCK_FILE_NAME)
    const named = (digit: string): string => `${path}.${digit.repeat(32)}`
    const [old, dead, begun] = [named('a'), named('b'), named('c')]
    await rename(await leaveLock(directory, STALE_AFTER_MS + 1000), old)
    await writeFile(dead, encodeOwnerRecord(foreignRecord({ host: 'dead' })))
    await writeFile(`${path}.12-345`, encodeOwnerRecord(foreignRecord()))
    await writeFile(begun, '')
    await take(directory)
    const names = [path, `${path}.12-345`, begun].map((each) => basename(each))
    expect(await readdir(directory)).toEqual(names)
  })
})
