import { once } from 'node:events'
import fs from 'node:fs'
import {
  lutimes,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { LockedError, LockLostError, StorageError } from '../../lib/errors.ts'
import { lockDirectory } from '../../lib/platform/directory-lock.ts'
import type { DirectoryLock } from '../../lib/platform/file-system.ts'
import { LOCK_FILE_NAME } from '../../lib/platform/lock-file.ts'
import { HEARTBEAT_MS, LOCK_TIMES, STALE_AFTER_MS } from '../../lib/platform/lock-times.ts'
import { describeThisProcess, encodeOwnerRecord } from '../../lib/platform/lock-owner.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { compiledUrl, startScript, type StartedScript } from '../helpers/compiled-lib.ts'
import { eventually } from '../helpers/eventually.ts'
import { foreignRecord } from './lock-record.ts'
import { temporaryDirectory } from './temporary-directory.ts'

async function lock(
  directory: string,
  clock = new ManualClock(Date.now()),
): Promise<DirectoryLock> {
  const taken = await lockDirectory(directory, { clock, times: { ...LOCK_TIMES, graceMs: 0 } })
  onTestFinished(() => taken.release())
  return taken
}

/** Resolves with the reason of the loss, and fails the test if it is reported twice. */
function lossOf(taken: DirectoryLock): Promise<Error> {
  return new Promise((resolve) => {
    let calls = 0
    taken.onLost = (reason) => {
      calls += 1
      resolve(reason)
    }
    onTestFinished(() => {
      expect(calls).toBe(1)
    })
  })
}

/** A process that takes the lock and keeps it. */
async function startOwner(directory: string): Promise<StartedScript> {
  const script = startScript(`
    import { lockDirectory } from '${compiledUrl('platform/directory-lock.ts')}'
    await lockDirectory(${JSON.stringify(directory)})
    console.log('locked')
    process.stdin.resume()
  `)
  expect(await script.nextLine()).toBe('locked')
  return script
}

async function refusalOf(directory: string): Promise<unknown> {
  return lockDirectory(directory).then(
    () => 'no refusal',
    (error: unknown) => error,
  )
}

async function replaceLockFile(
  directory: string,
  ageMs = 0,
  record = foreignRecord(),
): Promise<void> {
  const path = join(directory, LOCK_FILE_NAME)
  await writeFile(`${path}.other`, encodeOwnerRecord(record))
  const modified = (Date.now() - ageMs) / 1000
  await utimes(`${path}.other`, modified, modified)
  await rename(`${path}.other`, path)
}

describe('lockDirectory on a directory that another owner has locked', () => {
  it('rejects with the pid, host and time of the process that holds the lock', async () => {
    const directory = await temporaryDirectory()
    const before = Date.now()
    const owner = await startOwner(directory)
    const refusal = await refusalOf(directory)
    expect(refusal).toBeInstanceOf(LockedError)
    expect(refusal).toMatchObject({ dir: directory, pid: owner.pid })
    const { since, host } = refusal as LockedError
    expect(since?.getTime()).toBeGreaterThanOrEqual(before)
    expect(since?.getTime()).toBeLessThanOrEqual(Date.now())
    expect(host).not.toBeNull()
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
  })

  it('rejects under any path to the directory', async () => {
    const directory = await temporaryDirectory()
    const other = join(await temporaryDirectory(), 'link')
    await symlink(directory, other)
    await lock(directory)
    expect(await refusalOf(other)).toMatchObject({ code: 'LOCKED', dir: other, pid: process.pid })
    expect(await refusalOf(join(directory, '.', 'x', '..'))).toMatchObject({ code: 'LOCKED' })
  })

  it('does not take an owner in another container for this process, even with its pid and host', async () => {
    const directory = await temporaryDirectory()
    const { pid, host, bootId } = describeThisProcess()
    await replaceLockFile(directory, 0, foreignRecord({ pid, host, bootId }))
    const refusal = await refusalOf(directory)
    expect(refusal).toMatchObject({ code: 'LOCKED', pid, host })
    expect((refusal as LockedError).message).not.toContain('this process')
  })

  // Other systems have no such guard.
  it.runIf(process.platform === 'linux')(
    'does not name a dead owner while another process takes its lock over',
    async () => {
      const directory = await temporaryDirectory()
      // It has the guard, and from now on as if it had not replaced the lock of the dead owner yet.
      await startOwner(directory)
      const dead = { ...describeThisProcess(), pid: 4_194_303, startTime: '1' }
      await replaceLockFile(directory, 0, foreignRecord(dead))
      expect(await refusalOf(directory)).toMatchObject({ code: 'LOCKED', pid: null, host: null })
    },
  )

  it('rejects for an owner on another host until its lock is stale', async () => {
    const directory = await temporaryDirectory()
    await replaceLockFile(directory, STALE_AFTER_MS - 10_000)
    expect(await refusalOf(directory)).toMatchObject({
      pid: 4711,
      host: 'elsewhere',
      since: new Date(1_700_000_000_000),
    })
    await replaceLockFile(directory, STALE_AFTER_MS + 1000)
    expect((await lock(directory)).held).toBe(true)
  })

  it('waits out the grace period before it takes a stale lock whose owner may still be alive', async () => {
    const directory = await temporaryDirectory()
    await replaceLockFile(directory, STALE_AFTER_MS + 1000)
    const clock = new ManualClock(Date.now())
    let taken: DirectoryLock | null = null
    const taking = lockDirectory(directory, { clock }).then((lock) => (taken = lock))
    await eventually(() => {
      expect(clock.pendingTimers).toBe(1)
    })
    expect(taken).toBeNull()
    await clock.advance(LOCK_TIMES.graceMs)
    const lock = await taking
    expect(lock.held).toBe(true)
    await lock.release()
  })

  it('rejects for an unknown owner until its lock is stale', async () => {
    const directory = await temporaryDirectory()
    await writeFile(join(directory, LOCK_FILE_NAME), '')
    const refusal = await refusalOf(directory)
    expect(refusal).toMatchObject({ code: 'LOCKED', pid: null, host: null, since: null })
    expect((refusal as Error).message).toContain('another owner')
    await writeFile(join(directory, LOCK_FILE_NAME), '')
    await utimes(join(directory, LOCK_FILE_NAME), 1000, 1000)
    expect((await lock(directory)).held).toBe(true)
  })

  it.each<[string, string, (path: string) => Promise<unknown>]>([
    ['a directory', 'EINVAL', (path) => mkdir(path)],
    ['a link that leads nowhere', 'ELOOP', (path) => symlink('nowhere', path)],
  ])(
    'rejects with a StorageError if the lock file is %s, however old that is',
    async (_, code, put) => {
      const directory = await temporaryDirectory()
      const path = join(directory, LOCK_FILE_NAME)
      await put(path)
      await lutimes(path, 1000, 1000)
      const refusal = await refusalOf(directory)
      expect(refusal).toBeInstanceOf(StorageError)
      expect(refusal).toMatchObject({ path, outcome: 'not-written', cause: { code, path } })
      expect((refusal as Error).message).toContain(`remove ${path} if no process has the directory`)
      expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
      await rm(path, { recursive: true })
      expect((await lock(directory)).held).toBe(true)
    },
  )

  it.runIf(process.platform === 'linux')(
    'detects by the guard that the directory is in use, whatever has replaced the lock file',
    async () => {
      const directory = await temporaryDirectory()
      await startOwner(directory)
      await rm(join(directory, LOCK_FILE_NAME))
      await mkdir(join(directory, LOCK_FILE_NAME))
      expect(await refusalOf(directory)).toMatchObject({ code: 'LOCKED', pid: null })
    },
  )

  it('leaves nothing behind that blocks a later call when it rejects', async () => {
    const directory = await temporaryDirectory()
    await replaceLockFile(directory)
    expect(await refusalOf(directory)).toBeInstanceOf(LockedError)
    await rm(join(directory, LOCK_FILE_NAME))
    expect((await lock(directory)).held).toBe(true)
  })
})

describe('lockDirectory', () => {
  it('rejects with the system error if there is no such directory', async () => {
    const directory = await temporaryDirectory()
    await writeFile(join(directory, 'file'), '')
    expect(await refusalOf(join(directory, 'absent'))).toMatchObject({ code: 'ENOENT' })
    expect(await refusalOf(join(directory, 'file'))).toMatchObject({ code: 'ENOTDIR' })
  })

  it.runIf(process.platform === 'linux')(
    'leaves the effect of every signal unchanged',
    async () => {
      // A write beyond a limit on the size of files is an error only while SIGXFSZ is ignored.
      const script = startScript(
        `
      import { readFileSync } from 'node:fs'
      import { lockDirectory } from ${JSON.stringify(compiledUrl('platform/directory-lock.ts'))}
      import { loadProperLockfile } from ${JSON.stringify(compiledUrl('platform/foreign-modules.ts'))}
      const effects = () => readFileSync('/proc/self/status', 'utf8').match(/Sig(Ign|Cgt).*/g).join()
      const before = effects()
      const lock = await lockDirectory(process.argv[1])
      await loadProperLockfile()
      console.log(effects() === before ? 'the same' : before + ' ' + effects())
      await lock.release()
      `,
        [await temporaryDirectory()],
      )
      expect(await script.nextLine()).toBe('the same')
      expect(await script.ended).toEqual({ code: 0, signal: null })
    },
  )

  it('leaves the listeners and globals of the process unchanged', async () => {
    const directory = await temporaryDirectory()
    const script = startScript(`
      import fs from 'node:fs'
      // Node.js itself replaces process.chdir when these are imported, from version 22 on and before.
      import 'node:util'
      import 'node:worker_threads'
      const look = () => [
        process.emit, process.reallyExit, process.cwd, process.chdir, fs.close, fs.closeSync,
        ...Object.getOwnPropertyNames(process), ...Object.getOwnPropertyNames(globalThis),
        ...process.eventNames().map((name) => [name, process.listenerCount(name)].join()),
      ]
      const before = look()
      await import('${compiledUrl('index.ts')}')
      const { NodeFileSystem } = await import('${compiledUrl('platform/node-file-system.ts')}')
      const { loadProperLockfile } = await import('${compiledUrl('platform/foreign-modules.ts')}')
      const fileSystem = new NodeFileSystem()
      const directory = ${JSON.stringify(join(directory, 'a'))}
      await fileSystem.createDirectory(directory)
      const lock = await fileSystem.lock(directory)
      await loadProperLockfile()
      const during = look()
      await lock.release()
      const after = look()
      const differs = (other) => before.length !== other.length ||
        before.some((value, index) => value !== other[index])
      console.log(differs(during), differs(after))
    `)
    expect(await script.nextLine()).toBe('false false')
    expect(await script.ended).toEqual({ code: 0, signal: null })
  })

  it.each(['before', 'after'])(
    'does not affect the proper-lockfile that an application loads %s the lock is taken',
    async (when) => {
      const directory = await temporaryDirectory()
      await mkdir(join(directory, 'ours'))
      await mkdir(join(directory, 'theirs'))
      const script = startScript(
        `
      import { createRequire } from 'node:module'
      import { lockDirectory } from '${compiledUrl('platform/directory-lock.ts')}'
      import { loadProperLockfile } from '${compiledUrl('platform/foreign-modules.ts')}'
      const require = createRequire('${compiledUrl('index.ts')}')
      if (process.argv.includes('before')) require('proper-lockfile')
      await lockDirectory(${JSON.stringify(join(directory, 'ours'))})
      await loadProperLockfile()
      const theirs = require('proper-lockfile')
      await theirs.lock(${JSON.stringify(join(directory, 'theirs'))})
      console.log(process.listenerCount('SIGTERM'))
      process.exit(3)
    `,
        [when],
      )
      expect(await script.nextLine()).toBe('1')
      expect(await script.ended).toEqual({ code: 3, signal: null })
      expect(await readdir(directory)).toEqual(['ours', 'theirs'])
      expect(await readdir(join(directory, 'ours'))).toEqual([LOCK_FILE_NAME])
    },
  )

  it('lets the process exit, with the lock held or released', async () => {
    const directory = await temporaryDirectory()
    const script = startScript(`
      import { lockDirectory } from '${compiledUrl('platform/directory-lock.ts')}'
      const lock = await lockDirectory(${JSON.stringify(directory)})
      await lock.release()
      await lockDirectory(${JSON.stringify(directory)})
      console.log('locked again')
    `)
    expect(await script.nextLine()).toBe('locked again')
    expect(await script.ended).toEqual({ code: 0, signal: null })
  })
})

describe.runIf(process.platform === 'linux')('an owner on the same Linux machine', () => {
  it('is replaced immediately after it was killed', async () => {
    const directory = await temporaryDirectory()
    const owner = await startOwner(directory)
    owner.process.kill('SIGKILL')
    await owner.ended
    // Nothing was cleaned up, and judging by its age alone the lock would be respected.
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
    const taken = await lock(directory)
    expect(taken.held).toBe(true)
    await taken.release()
    expect(await readdir(directory)).toEqual([])
  })

  it('is replaced immediately after it exited without releasing', async () => {
    const directory = await temporaryDirectory()
    const script = startScript(`
      import { lockDirectory } from '${compiledUrl('platform/directory-lock.ts')}'
      await lockDirectory(${JSON.stringify(directory)})
      process.exit(0)
    `)
    await script.ended
    expect(await readdir(directory)).toEqual([LOCK_FILE_NAME])
    expect((await lock(directory)).held).toBe(true)
  })

  it('keeps its lock while it is suspended, however old the lock gets', async () => {
    const directory = await temporaryDirectory()
    const owner = await startOwner(directory)
    owner.process.kill('SIGSTOP')
    await utimes(join(directory, LOCK_FILE_NAME), 1000, 1000)
    expect(await refusalOf(directory)).toMatchObject({ code: 'LOCKED', pid: owner.pid })
    owner.process.kill('SIGCONT')
  })

  it('may be a worker thread of the same process', async () => {
    const directory = await temporaryDirectory()
    const source = `
      import { parentPort } from 'node:worker_threads'
      import { lockDirectory } from '${compiledUrl('platform/directory-lock.ts')}'
      await lockDirectory(${JSON.stringify(directory)})
      parentPort.on('message', () => null)
      parentPort.postMessage('locked')
    `
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`))
    onTestFinished(async () => {
      await worker.terminate()
    })
    await once(worker, 'message')
    expect(await refusalOf(directory)).toMatchObject({ code: 'LOCKED', pid: process.pid })
    await worker.terminate()
    expect((await lock(directory)).held).toBe(true)
  })

  it('is not replaced while a write that its terminated worker thread began is in progress', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, 'data')
    const source = `
      import { open } from 'node:fs/promises'
      import { parentPort } from 'node:worker_threads'
      import { lockDirectory } from '${compiledUrl('platform/directory-lock.ts')}'
      await lockDirectory(${JSON.stringify(directory)})
      const file = await open(${JSON.stringify(path)}, 'w')
      const chunks = Array(256).fill(Buffer.alloc(1 << 20, 1))
      parentPort.postMessage('locked')
      await file.writev(chunks, 0)
      parentPort.on('message', () => null)
    `
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`))
    onTestFinished(async () => {
      await worker.terminate()
    })
    await once(worker, 'message')
    while ((await stat(path)).size === 0);
    const ended = worker.terminate()
    const attempt = (): Promise<DirectoryLock | null> => lockDirectory(directory).catch(() => null)
    let taken = await attempt()
    while (taken === null) taken = await attempt()
    const { size } = await stat(path)
    await ended
    expect((await stat(path)).size).toBe(size)
    await taken.release()
  })
})

describe('a held lock', () => {
  it('is released only once, however often release is called', async () => {
    const directory = await temporaryDirectory()
    const first = await lock(directory)
    await Promise.all([first.release(), first.release()])
    const second = await lock(directory)
    await first.release()
    expect(second.held).toBe(true)
    expect(await refusalOf(directory)).toBeInstanceOf(LockedError)
  })

  it('stays held as long as heartbeats confirm it', async () => {
    const directory = await temporaryDirectory()
    const clock = new ManualClock(Date.now())
    const taken = await lock(directory, clock)
    for (let i = 0; i < 10; i++) {
      await clock.advance(HEARTBEAT_MS)
      await eventually(() => {
        expect(clock.pendingTimers).toBe(1)
      })
      expect(taken.held).toBe(true)
    }
    await taken.release()
    expect(clock.pendingTimers).toBe(0)
  })

  it('is renewed by the first heartbeat, and checked by the next one too', async () => {
    const directory = await temporaryDirectory()
    const clock = new ManualClock(Date.now())
    const taken = await lock(directory, clock)
    const loss = lossOf(taken)
    const { mtimeMs } = await stat(join(directory, LOCK_FILE_NAME))
    await clock.advance(HEARTBEAT_MS)
    await eventually(async () => {
      expect((await stat(join(directory, LOCK_FILE_NAME))).mtimeMs).not.toBe(mtimeMs)
    })
    await rm(join(directory, LOCK_FILE_NAME))
    await clock.advance(HEARTBEAT_MS)
    await loss
  })

  it.each<[string, (directory: string) => Promise<void>]>([
    ['its directory is removed', (directory) => rm(directory, { recursive: true })],
    ['its file is removed', (directory) => rm(join(directory, LOCK_FILE_NAME))],
    ['its directory is moved', (directory) => rename(directory, `${directory}-moved`)],
    ['another owner has its file', (directory) => replaceLockFile(directory)],
    [
      'another owner wrote into its file',
      (directory) => writeFile(join(directory, LOCK_FILE_NAME), encodeOwnerRecord(foreignRecord())),
    ],
  ])('is lost at the next heartbeat when %s', async (_how, happen) => {
    const directory = join(await temporaryDirectory(), 'a')
    await mkdir(directory)
    const clock = new ManualClock(Date.now())
    const taken = await lock(directory, clock)
    const loss = lossOf(taken)
    await happen(directory)
    await clock.advance(HEARTBEAT_MS)
    const reason = await loss
    expect(reason).toBeInstanceOf(LockLostError)
    expect(reason).toMatchObject({ dir: directory })
    expect(taken.held).toBe(false)
    expect(clock.pendingTimers).toBe(0)
    await clock.advance(10 * HEARTBEAT_MS)
    await taken.release()
  })

  it('is found lost before the first write after a long pause', async () => {
    const directory = await temporaryDirectory()
    const clock = new ManualClock(Date.now())
    const taken = await lock(directory, clock)
    const loss = lossOf(taken)
    await replaceLockFile(directory)
    expect(taken.held).toBe(true)
    // The machine slept: time has passed, but no timer has fired yet.
    clock.setTime(clock.now() + STALE_AFTER_MS)
    expect(taken.held).toBe(false)
    await loss
  })

  it('survives a long pause in which nobody took it', async () => {
    const directory = await temporaryDirectory()
    const clock = new ManualClock(Date.now())
    const taken = await lock(directory, clock)
    clock.setTime(clock.now() + STALE_AFTER_MS)
    expect(taken.held).toBe(true)
  })

  it('is not held while its file cannot be read, and lost long before others may consider it stale', async () => {
    const directory = await temporaryDirectory()
    const clock = new ManualClock(Date.now())
    const taken = await lock(directory, clock)
    const loss = lossOf(taken)
    const heldWhileUnreadable = (laterMs: number): boolean => {
      const looking = vi.spyOn(fs, 'lstatSync').mockImplementation((path) => {
        throw systemError('EIO', 'lstat', String(path), 'i/o error')
      })
      syncBuiltinESMExports()
      clock.setTime(clock.now() + laterMs)
      const { held } = taken
      looking.mockRestore()
      syncBuiltinESMExports()
      return held
    }
    expect([heldWhileUnreadable(STALE_AFTER_MS / 2), taken.held]).toEqual([false, true])
    expect([heldWhileUnreadable(STALE_AFTER_MS / 2 + 1), taken.held]).toEqual([false, false])
    expect(await loss).toBeInstanceOf(LockLostError)
  })

  it('leaves the lock file of its successor in place, and keeps others out until it is released', async () => {
    const directory = await temporaryDirectory()
    const clock = new ManualClock(Date.now())
    const taken = await lock(directory, clock)
    const loss = lossOf(taken)
    await replaceLockFile(directory)
    await clock.advance(HEARTBEAT_MS)
    await loss
    const path = join(directory, LOCK_FILE_NAME)
    // Without the lock file of the successor, only the lost lock can keep others out.
    await rename(path, `${path}.aside`)
    expect(await refusalOf(directory)).toBeInstanceOf(LockedError)
    await rename(`${path}.aside`, path)
    await taken.release()
    expect(await readFile(path, 'utf8')).toContain('elsewhere')
    await rm(path)
    expect((await lock(directory)).held).toBe(true)
  })

  it('ignores what the listener of its loss throws', async () => {
    const directory = await temporaryDirectory()
    const clock = new ManualClock(Date.now())
    const taken = await lock(directory, clock)
    const called = new Promise<void>((resolve) => {
      taken.onLost = () => {
        resolve()
        throw new Error('thrown by the listener')
      }
    })
    await rm(join(directory, LOCK_FILE_NAME))
    await clock.advance(HEARTBEAT_MS)
    await called
    expect(taken.held).toBe(false)
  })
})
