import { execFileSync } from 'node:child_process'
import fs, { openSync, statSync } from 'node:fs'
import { readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { NodeFileSystem } from '../../lib/platform/node-file-system.ts'
import { PlainDescriptor } from '../../lib/platform/plain-descriptor.ts'
import type { OpenMode } from '../../lib/platform/file-system.ts'
import { promptIo } from '../../lib/platform/prompt-io.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { fileSystemContract } from './file-system-contract.ts'
import { syncsAtOnce, syncsInPool } from './file-handle-syncs.ts'
import { poolCallsOf } from './pool-calls.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const fileSystem = new NodeFileSystem()

fileSystemContract('NodeFileSystem', async () => ({
  fileSystem,
  directory: await temporaryDirectory(),
}))

describe.runIf(process.platform !== 'win32')('NodeFileSystem', () => {
  it('creates files and directories that only their owner can access', async () => {
    const directory = await temporaryDirectory()
    await fileSystem.createDirectory(join(directory, 'a/b'))
    const file = await fileSystem.open(join(directory, 'a/b/c'), 'create-new')
    await file.close()
    expect((await stat(join(directory, 'a'))).mode & 0o777).toBe(0o700)
    expect((await stat(join(directory, 'a/b'))).mode & 0o777).toBe(0o700)
    expect((await stat(join(directory, 'a/b/c'))).mode & 0o777).toBe(0o600)
  })

  it.each<OpenMode>(['read', 'update', 'create', 'create-new'])(
    'does not follow a symbolic link in mode %s',
    async (mode) => {
      const directory = await temporaryDirectory()
      await writeFile(join(directory, 'target'), 'kept')
      await symlink(join(directory, 'target'), join(directory, 'link'))
      await expect(fileSystem.open(join(directory, 'link'), mode)).rejects.toMatchObject({
        code: mode === 'create-new' ? 'EEXIST' : 'ELOOP',
      })
    },
  )

  it('passes every sync to the operating system', async () => {
    const directory = await temporaryDirectory()
    const inPool = await syncsInPool(directory)
    const atOnce = syncsAtOnce()
    const file = await fileSystem.open(join(directory, 'a'), 'create')
    // The speed of the disk decides how many are made synchronously.
    for (let count = 1; count <= 20; count += 1) {
      await file.datasync()
      expect(inPool.length + atOnce.length).toBe(count)
    }
    inPool.length = 0
    await file.sync()
    await file.close()
    expect(inPool).toEqual(['sync'])
    await fileSystem.syncDirectory(directory)
    expect(inPool).toEqual(['sync', 'sync'])
    await expect(file.datasync()).rejects.toThrow(`${file.path} is closed`)
  })

  it('syncs a directory with one call of the pool, or with three if it may not open it itself', async () => {
    const directory = await temporaryDirectory()
    const inPool = await syncsInPool(directory)
    const opening = vi.spyOn(promptIo, 'attempt').mockImplementation((call) => call())
    onTestFinished(() => {
      opening.mockRestore()
    })
    const sync = (): Promise<void> => fileSystem.syncDirectory(directory)
    expect(await poolCallsOf(sync)).toBe(1)
    opening.mockReturnValue(undefined)
    expect(await poolCallsOf(sync)).toBe(3)
    expect(inPool).toEqual(['sync', 'sync'])
  })

  it.each<[string, string, (directory: string) => Promise<unknown>]>([
    ['a file', 'ENOTDIR', (directory) => writeFile(join(directory, 'a'), '')],
    ['missing', 'ENOENT', () => Promise.resolve()],
  ])('rejects the sync of a directory that is %s, however it is opened', async (_, code, put) => {
    const directory = await temporaryDirectory()
    await put(directory)
    const opening = vi.spyOn(promptIo, 'attempt').mockImplementation((call) => call())
    onTestFinished(() => {
      opening.mockRestore()
    })
    const sync = (): Promise<void> => fileSystem.syncDirectory(join(directory, 'a'))
    await expect(sync()).rejects.toMatchObject({ code })
    opening.mockReturnValue(undefined)
    await expect(sync()).rejects.toMatchObject({ code })
  })

  it.runIf(process.platform === 'linux')('closes a directory whose sync fails', async () => {
    const directory = await temporaryDirectory()
    vi.spyOn(PlainDescriptor.prototype, 'sync').mockRejectedValue(
      systemError('EIO', 'fsync', directory, 'i/o error'),
    )
    const opening = vi.spyOn(promptIo, 'attempt').mockImplementation((call) => call())
    onTestFinished(() => {
      vi.restoreAllMocks()
    })
    await expect(fileSystem.syncDirectory(directory)).rejects.toMatchObject({ code: 'EIO' })
    expect(opening).toHaveBeenCalled()
    const targets = (await readdir('/proc/self/fd')).map((name) =>
      readlink(`/proc/self/fd/${name}`).catch(() => ''),
    )
    expect(await Promise.all(targets)).not.toContain(directory)
  })

  it('creates nothing at the target of a dangling link', async () => {
    const directory = await temporaryDirectory()
    await symlink(join(directory, 'target'), join(directory, 'link'))
    await expect(fileSystem.open(join(directory, 'link'), 'create')).rejects.toMatchObject({
      code: 'ELOOP',
    })
    expect(await fileSystem.stat(join(directory, 'target'))).toBeNull()
  })

  it.each<OpenMode>(['read', 'update', 'create'])(
    'rejects a FIFO immediately in mode %s',
    async (mode) => {
      const path = join(await temporaryDirectory(), 'fifo')
      execFileSync('mkfifo', [path])
      await expect(fileSystem.open(path, mode)).rejects.toMatchObject({ code: 'EINVAL', path })
    },
  )

  it('reports links and FIFOs as neither files nor directories in stat and list', async () => {
    const directory = await temporaryDirectory()
    await symlink(directory, join(directory, 'link'))
    execFileSync('mkfifo', [join(directory, 'fifo')])
    expect(await fileSystem.list(directory)).toEqual([
      { name: 'fifo', kind: 'other' },
      { name: 'link', kind: 'other' },
    ])
    expect(await fileSystem.stat(join(directory, 'link'))).toMatchObject({ kind: 'other' })
  })

  it('returns from statNow what stat returns, for a file, a link and a missing path', async () => {
    const directory = await temporaryDirectory()
    await writeFile(join(directory, 'file'), 'abc')
    await symlink(join(directory, 'file'), join(directory, 'link'))
    for (const name of ['file', 'link', 'missing']) {
      const path = join(directory, name)
      // A thread may be off the processor for so long that nothing is done synchronously for a
      // while.
      await expect.poll(() => fileSystem.statNow(path)).toEqual(await fileSystem.stat(path))
    }
  })

  it.each<OpenMode>(['create-new', 'create', 'update', 'read'])(
    'reports the identity of a file that is opened in mode %s',
    async (mode) => {
      const path = join(await temporaryDirectory(), 'file')
      if (mode !== 'create-new') await writeFile(path, 'abc')
      const file = await fileSystem.open(path, mode)
      const { identity } = await file.stat()
      expect([file.identity, (await fileSystem.stat(path))?.identity]).toEqual([identity, identity])
      await file.close()
    },
  )

  it('accepts a link to a directory as the directory in createDirectory', async () => {
    const directory = await temporaryDirectory()
    await symlink(directory, join(directory, 'link'))
    expect(await fileSystem.createDirectory(join(directory, 'link'))).toEqual([])
    expect(await fileSystem.createDirectory(join(directory, 'link', 'a'))).toEqual([
      join(directory, 'link', 'a'),
    ])
  })

  it('rejects createDirectory if nothing can be created there', async () => {
    // If there is no such directory, it cannot be created either.
    const path = `/proc/varve-${process.pid}/a`
    await expect(fileSystem.createDirectory(path)).rejects.toMatchObject({ syscall: 'mkdir' })
  })

  it('writes buffers in order, even more of them than one system call accepts', async () => {
    const path = join(await temporaryDirectory(), 'a')
    const file = await fileSystem.open(path, 'create-new')
    const buffers = Array.from({ length: 3000 }, (_, index) => Buffer.from(`${index},`))
    const expected = Buffer.concat(buffers)
    const count = await file.write(buffers, 0)
    const found = Buffer.alloc(count)
    expect(await file.read(found, 0)).toBe(count)
    expect(found.equals(expected.subarray(0, count))).toBe(true)
    await file.close()
  })
})

describe('a file that was opened synchronously', () => {
  it('is read and synced by the pool, and rejects changes if it was opened for reading', async () => {
    const path = join(await temporaryDirectory(), 'a')
    await writeFile(path, 'content')
    const descriptor = new PlainDescriptor(openSync(path, 'r'), { isWritable: false })
    const bytes = Buffer.alloc(7)
    expect(await descriptor.read(bytes, 0, 7, 0)).toMatchObject({ bytesRead: 7 })
    expect(bytes.toString()).toBe('content')
    expect((await descriptor.stat()).size).toBe(7)
    await descriptor.datasync()
    await descriptor.sync()
    await expect(descriptor.writev([bytes], 0)).rejects.toMatchObject({ code: 'EBADF' })
    await expect(descriptor.truncate(0)).rejects.toMatchObject({ code: 'EINVAL' })
    await descriptor.close()
  })

  it('is written, truncated and closed by the pool if it was opened for writing', async () => {
    const path = join(await temporaryDirectory(), 'a')
    await writeFile(path, 'content')
    const descriptor = new PlainDescriptor(openSync(path, 'r+'), { isWritable: true })
    expect(await descriptor.writev([Buffer.from('CON')], 0)).toMatchObject({ bytesWritten: 3 })
    await descriptor.truncate(5)
    await descriptor.utimes(1, 2)
    expect((await descriptor.stat()).mtimeMs).toBe(2000)
    await descriptor.close()
    expect(await readFile(path, 'utf8')).toBe('CONte')
    await expect(descriptor.sync()).rejects.toMatchObject({ code: 'EBADF' })
  })

  it('is opened for writing without another thread', async () => {
    const path = join(await temporaryDirectory(), 'a')
    await writeFile(path, 'content')
    const open = vi.spyOn(fs, 'openSync')
    syncBuiltinESMExports()
    onTestFinished(() => {
      open.mockRestore()
      syncBuiltinESMExports()
    })
    let calls = 0
    // An earlier call may have been slow, and then the pool opens files for a while.
    while (open.mock.calls.length === 0 && calls < 5000) {
      await new Promise(setImmediate)
      const file = await fileSystem.open(path, 'update')
      await file.write([Buffer.from('C')], 0)
      await file.close()
      calls += 1
    }
    expect(open).toHaveBeenCalled()
    expect(await readFile(path, 'utf8')).toBe('Content')
  })

  it('reads the same as one opened by the pool, even in a directory with many names', async () => {
    const directory = await temporaryDirectory()
    const names = Array.from({ length: 1000 }, (_, each) => `${each}`.padStart(40, '0'))
    await Promise.all(names.map((name) => writeFile(join(directory, name), name)))
    expect((await fileSystem.list(directory)).map(({ name }) => name)).toEqual(names)
    // More than there is time for in one turn of the event loop.
    for (const name of names) {
      const file = await fileSystem.open(join(directory, name), 'read')
      const bytes = Buffer.alloc(40)
      await file.read(bytes, 0)
      expect(bytes.toString()).toBe(name)
      expect((await file.stat()).sizeBytes).toBe(40)
      await file.close()
    }
  })
})

it('close waits for a read that is postponed because the time of its turn is used up', async () => {
  const path = join(await temporaryDirectory(), 'a')
  await writeFile(path, 'content')
  const file = await fileSystem.open(path, 'read')
  // The first call begins the time that a turn allows for synchronous calls.
  file.readNow?.(Buffer.alloc(1), 0)
  const drawnOutMs = performance.now() + 20
  while (performance.now() < drawnOutMs);
  const done: string[] = []
  const read = file.read(Buffer.alloc(20), 0).then((count) => done.push(`read ${count}`))
  await Promise.all([read, file.close().then(() => done.push('closed'))])
  expect(done).toEqual(['read 7', 'closed'])
})

describe('a call that finds the time of its turn used up', () => {
  it.each<[string, (directory: string) => Promise<unknown>]>([
    ['stat', (directory) => fileSystem.stat(join(directory, 'a'))],
    ['stat of a missing file', (directory) => fileSystem.stat(join(directory, 'missing'))],
    ['list', (directory) => fileSystem.list(directory)],
    ['realPath', (directory) => fileSystem.realPath(directory)],
    ['open', async (directory) => (await fileSystem.open(join(directory, 'a'), 'read')).close()],
  ])('is made in the next turn and not by another thread: %s', async (_, call) => {
    const directory = await temporaryDirectory()
    await writeFile(join(directory, 'a'), '')
    // After a slow call, as on a busy machine, the pool makes all calls for a while.
    await expect
      .poll(
        async () => {
          promptIo.begin('read')
          const usedUpMs = performance.now() + 2
          while (performance.now() < usedUpMs);
          return poolCallsOf(() => call(directory))
        },
        { timeout: 60_000 },
      )
      .toBe(0)
  })

  it('is left to the pool at once if a directory has many names', async () => {
    const directory = await temporaryDirectory()
    const names = Array.from({ length: 1000 }, (_, each) => `${each}`.padStart(40, '0'))
    await Promise.all(names.map((name) => writeFile(join(directory, name), '')))
    const waiting = vi.spyOn(promptIo, 'whenTurned')
    vi.spyOn(promptIo, 'attempt').mockImplementation((call) => call())
    onTestFinished(() => {
      vi.restoreAllMocks()
    })
    expect(await poolCallsOf(() => fileSystem.list(directory))).toBeGreaterThan(0)
    expect(waiting).not.toHaveBeenCalled()
  })
})

describe('a few bytes', () => {
  /** How many turns of the event loop are tried: on a busy machine an earlier call may be slow. */
  const TURNS = 5000

  /** Whether, in at least one turn, `call` has done its work by the time it returns. */
  async function isDoneAtOnce(call: () => Promise<unknown>, isDone: () => boolean) {
    for (let turn = 0; turn < TURNS; turn += 1) {
      await new Promise(setImmediate)
      const called = call()
      const isDoneNow = isDone()
      await called
      if (isDoneNow) return true
    }
    return false
  }

  it('are written and read without another thread', async () => {
    const path = join(await temporaryDirectory(), 'few')
    const file = await new NodeFileSystem().open(path, 'create')
    let sizeBytes = 0
    const append = () => file.write([Buffer.from('ab')], (sizeBytes += 2) - 2)
    expect(await isDoneAtOnce(append, () => statSync(path).size === sizeBytes)).toBe(true)
    const bytes = Buffer.alloc(2)
    const read = () => file.read(bytes.fill(0), 0)
    expect(await isDoneAtOnce(read, () => bytes.toString() === 'ab')).toBe(true)
    await file.close()
  })
})
