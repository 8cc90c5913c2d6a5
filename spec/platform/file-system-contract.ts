import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ClosedError, LockedError } from '../../lib/errors.ts'
import { readFully, writeFully } from '../../lib/platform/file-io.ts'
import type { File, FileSystem, OpenMode } from '../../lib/platform/file-system.ts'

/** A file system under test, and an existing empty directory in it. */
export interface FileSystemUnderTest {
  readonly fileSystem: FileSystem
  readonly directory: string
}

/**
 * What every {@link FileSystem} promises, the real one and those that replace it in tests.
 *
 * @param make called once per test; registers its own cleanup.
 */
export function fileSystemContract(
  name: string,
  make: () => FileSystemUnderTest | Promise<FileSystemUnderTest>,
): void {
  describe(`${name} under the file system contract`, () => {
    openContract(make)
    contentContract(make)
    closeContract(make)
    nameContract(make)
    directoryContract(make)
    lockContract(make)
  })
}

type Make = () => FileSystemUnderTest | Promise<FileSystemUnderTest>

function openContract(make: Make): void {
  it.each<OpenMode>(['read', 'update'])('requires an existing file in mode %s', async (mode) => {
    const { fileSystem, directory } = await make()
    await expect(fileSystem.open(join(directory, 'absent'), mode)).rejects.toMatchObject({
      code: 'ENOENT',
    })
    expect(await fileSystem.list(directory)).toEqual([])
  })

  it.each<OpenMode>(['create', 'create-new'])('creates an empty file in mode %s', async (mode) => {
    const { fileSystem, directory } = await make()
    const path = join(directory, 'a')
    const file = await fileSystem.open(path, mode)
    expect(file.path).toBe(path)
    expect(await file.stat()).toMatchObject({ kind: 'file', sizeBytes: 0 })
    await file.close()
    expect(await fileSystem.list(directory)).toEqual([{ name: 'a', kind: 'file' }])
  })

  it.each<OpenMode>(['read', 'update', 'create'])(
    'keeps the content of a file opened in mode %s',
    async (mode) => {
      const { fileSystem, directory } = await make()
      await store(fileSystem, join(directory, 'a'), 'kept')
      const file = await fileSystem.open(join(directory, 'a'), mode)
      expect(await contentOf(file)).toBe('kept')
      await file.close()
    },
  )

  it('rejects opening an existing file in mode create-new', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'a'), 'kept')
    await expect(fileSystem.open(join(directory, 'a'), 'create-new')).rejects.toMatchObject({
      code: 'EEXIST',
    })
    expect(await load(fileSystem, join(directory, 'a'))).toBe('kept')
  })

  it('rejects changes to a file opened in mode read', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'a'), 'kept')
    const file = await fileSystem.open(join(directory, 'a'), 'read')
    await expect(file.write([Buffer.from('x')], 0)).rejects.toThrow()
    await expect(file.truncate(0)).rejects.toThrow()
    expect(await contentOf(file)).toBe('kept')
    await file.close()
  })

  it('rejects opening a directory as a file', async () => {
    const { fileSystem, directory } = await make()
    for (const mode of ['read', 'update', 'create'] as const) {
      await expect(fileSystem.open(directory, mode)).rejects.toMatchObject({ code: 'EISDIR' })
    }
  })

  it('does not create a file in a directory that does not exist', async () => {
    const { fileSystem, directory } = await make()
    await expect(fileSystem.open(join(directory, 'absent', 'a'), 'create')).rejects.toMatchObject({
      code: 'ENOENT',
    })
  })
}

function contentContract(make: Make): void {
  it('writes several buffers one after the other', async () => {
    const { fileSystem, directory } = await make()
    const file = await fileSystem.open(join(directory, 'a'), 'create-new')
    const buffers = ['one', '', 'two', 'three'].map((text) => Buffer.from(text))
    await writeFully(file, buffers, 0)
    await writeFully(file, [Buffer.from('TWO')], 3)
    expect(await contentOf(file)).toBe('oneTWOthree')
    await file.close()
  })

  it('returns the number of bytes that a write wrote', async () => {
    const { fileSystem, directory } = await make()
    const file = await fileSystem.open(join(directory, 'a'), 'create-new')
    const count = await file.write([Buffer.from('one'), Buffer.from('two')], 0)
    expect(count).toBeGreaterThan(0)
    expect(count).toBeLessThanOrEqual(6)
    expect(await contentOf(file)).toBe('onetwo'.slice(0, count))
    expect(await file.write([], 0)).toBe(0)
    await file.close()
  })

  it('fills the gap before a write beyond the end with zeros', async () => {
    const { fileSystem, directory } = await make()
    const file = await fileSystem.open(join(directory, 'a'), 'create-new')
    await writeFully(file, [Buffer.from('x')], 3)
    expect(await contentOf(file)).toBe('\0\0\0x')
    await file.close()
  })

  it('reads fewer bytes than requested only at the end of the file', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'a'), '0123456789')
    const file = await fileSystem.open(join(directory, 'a'), 'read')
    const buffer = Buffer.alloc(4, '.')
    expect(await file.read(buffer, 2)).toBe(4)
    expect(buffer.toString()).toBe('2345')
    expect(await file.read(buffer, 8)).toBe(2)
    expect(buffer.toString()).toBe('8945')
    expect(await file.read(buffer, 10)).toBe(0)
    expect(await file.read(buffer, 1000)).toBe(0)
    expect(await file.read(Buffer.alloc(0), 0)).toBe(0)
    await file.close()
  })

  it('truncates a file, and extends it with zeros', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'a'), '0123456789')
    const file = await fileSystem.open(join(directory, 'a'), 'update')
    await file.truncate(3)
    expect(await file.stat()).toMatchObject({ sizeBytes: 3 })
    await file.truncate(5)
    expect(await contentOf(file)).toBe('012\0\0')
    await file.close()
  })

  it('reports the time set by setModified for the open file, and for its path once it is closed', async () => {
    const { fileSystem, directory } = await make()
    const file = await fileSystem.open(join(directory, 'a'), 'create-new')
    await writeFully(file, [Buffer.from('old')], 0)
    const modifiedMs = 1_500_000_000_123
    await file.setModified?.(modifiedMs)
    await file.datasync()
    expect(Math.round((await file.stat()).modifiedMs)).toBe(modifiedMs)
    await file.close()
    const found = await fileSystem.stat(join(directory, 'a'))
    expect(Math.round(found?.modifiedMs ?? 0)).toBe(modifiedMs)
    expect(await load(fileSystem, join(directory, 'a'))).toBe('old')
  })

  it('reports the same creation time, if any, after a write, setModified and a rename', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'a'), 'old')
    const { createdMs } = (await fileSystem.stat(join(directory, 'a'))) ?? {}
    const file = await fileSystem.open(join(directory, 'a'), 'update')
    await writeFully(file, [Buffer.from('new')], 0)
    await file.setModified?.(1_500_000_000_123)
    await file.close()
    await fileSystem.rename(join(directory, 'a'), join(directory, 'b'))
    const found = await fileSystem.stat(join(directory, 'b'))
    expect(found).toMatchObject(createdMs === undefined ? {} : { createdMs })
  })

  it('reads through one handle what another handle of the same file wrote', async () => {
    const { fileSystem, directory } = await make()
    const writer = await fileSystem.open(join(directory, 'a'), 'create-new')
    const reader = await fileSystem.open(join(directory, 'a'), 'read')
    await writeFully(writer, [Buffer.from('seen')], 0)
    expect(await contentOf(reader)).toBe('seen')
    await writer.datasync()
    await writer.sync()
    await reader.close()
    await writer.close()
  })

  it('keeps an open file readable after its name is removed', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'a'), 'kept')
    const file = await fileSystem.open(join(directory, 'a'), 'read')
    await fileSystem.unlink(join(directory, 'a'))
    expect(await contentOf(file)).toBe('kept')
    expect(await fileSystem.stat(join(directory, 'a'))).toBeNull()
    await file.close()
  })
}

function closeContract(make: Make): void {
  it('rejects every call on a closed file, but allows another close', async () => {
    const { fileSystem, directory } = await make()
    const file = await fileSystem.open(join(directory, 'a'), 'create-new')
    await file.close()
    await file.close()
    const calls = [
      () => file.read(Buffer.alloc(1), 0),
      () => file.write([Buffer.from('x')], 0),
      () => file.truncate(0),
      async () => file.setModified?.(0),
      () => file.datasync(),
      () => file.sync(),
      () => file.stat(),
    ]
    for (const call of calls) await expect(call()).rejects.toThrow(ClosedError)
  })

  it('closes a file only after its calls in flight have ended', async () => {
    const { fileSystem, directory } = await make()
    const path = join(directory, 'a')
    await store(fileSystem, path, 'old content')
    const file = await fileSystem.open(path, 'update')
    const buffer = Buffer.alloc(20)
    const done: string[] = []
    const read = file.read(buffer, 0).then((count) => done.push(`read ${count}`))
    const closed = file.close().then(() => done.push('closed'))
    await expect(file.stat()).rejects.toThrow(ClosedError)
    await Promise.all([read, closed])
    expect(done).toEqual(['read 11', 'closed'])
  })
}

function nameContract(make: Make): void {
  it('moves a file by a rename, and replaces an existing one', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'from'), 'new')
    await store(fileSystem, join(directory, 'to'), 'old and longer')
    await fileSystem.rename(join(directory, 'from'), join(directory, 'to'))
    expect(await load(fileSystem, join(directory, 'to'))).toBe('new')
    expect(await namesIn(fileSystem, directory)).toEqual(['to'])
    await fileSystem.syncDirectory(directory)
  })

  it('renames a directory with its content', async () => {
    const { fileSystem, directory } = await make()
    await fileSystem.createDirectory(join(directory, 'from'))
    await store(fileSystem, join(directory, 'from', 'a'), 'kept')
    await fileSystem.rename(join(directory, 'from'), join(directory, 'to'))
    expect(await load(fileSystem, join(directory, 'to', 'a'))).toBe('kept')
    expect(await fileSystem.stat(join(directory, 'from'))).toBeNull()
  })

  it('rejects renaming, removing and syncing a path that does not exist', async () => {
    const { fileSystem, directory } = await make()
    const absent = join(directory, 'absent')
    await expect(fileSystem.rename(absent, join(directory, 'to'))).rejects.toMatchObject({
      code: 'ENOENT',
    })
    await expect(fileSystem.unlink(absent)).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(fileSystem.removeDirectory(absent)).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(fileSystem.syncDirectory(absent)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('returns kind and size from stat, or null if nothing is there', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'a'), '123')
    expect(await fileSystem.stat(join(directory, 'a'))).toMatchObject({
      kind: 'file',
      sizeBytes: 3,
    })
    expect(await fileSystem.stat(directory)).toMatchObject({ kind: 'directory' })
    expect(await fileSystem.stat(join(directory, 'absent'))).toBeNull()
    expect(await fileSystem.stat(join(directory, 'absent', 'deeper'))).toBeNull()
  })

  it('does not let the modification time go back when a file is written again', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'a'), '123')
    const before = (await fileSystem.stat(join(directory, 'a')))?.modifiedMs ?? Infinity
    await store(fileSystem, join(directory, 'a'), '456')
    const after = (await fileSystem.stat(join(directory, 'a')))?.modifiedMs ?? -Infinity
    expect(after).toBeGreaterThanOrEqual(before)
  })
}

function directoryContract(make: Make): void {
  it('lists names with their kinds, sorted by code unit', async () => {
    const { fileSystem, directory } = await make()
    for (const name of ['b', 'a10', 'a9', '.hidden', 'é', '～', '😀']) {
      await store(fileSystem, join(directory, name), '')
    }
    await fileSystem.createDirectory(join(directory, 'B'))
    expect(await fileSystem.list(directory)).toEqual([
      { name: '.hidden', kind: 'file' },
      { name: 'B', kind: 'directory' },
      { name: 'a10', kind: 'file' },
      { name: 'a9', kind: 'file' },
      { name: 'b', kind: 'file' },
      { name: 'é', kind: 'file' },
      { name: '😀', kind: 'file' },
      { name: '～', kind: 'file' },
    ])
    await expect(fileSystem.list(join(directory, 'absent'))).rejects.toMatchObject({
      code: 'ENOENT',
    })
  })

  it('returns from createDirectory what it created, topmost first', async () => {
    const { fileSystem, directory } = await make()
    const [a, b, c] = [join(directory, 'a'), join(directory, 'a/b'), join(directory, 'a/b/c')]
    expect(await fileSystem.createDirectory(a)).toEqual([a])
    expect(await fileSystem.createDirectory(c)).toEqual([b, c])
    expect(await fileSystem.createDirectory(c)).toEqual([])
    expect(await fileSystem.stat(c)).toMatchObject({ kind: 'directory' })
  })

  it('does not replace a file by createDirectory', async () => {
    const { fileSystem, directory } = await make()
    await store(fileSystem, join(directory, 'a'), 'kept')
    await expect(fileSystem.createDirectory(join(directory, 'a'))).rejects.toMatchObject({
      code: 'EEXIST',
    })
    expect(await load(fileSystem, join(directory, 'a'))).toBe('kept')
  })

  it('removes a directory only if it is empty', async () => {
    const { fileSystem, directory } = await make()
    await fileSystem.createDirectory(join(directory, 'a'))
    await store(fileSystem, join(directory, 'a', 'x'), 'kept')
    await expect(fileSystem.removeDirectory(join(directory, 'a'))).rejects.toMatchObject({
      code: 'ENOTEMPTY',
    })
    await fileSystem.unlink(join(directory, 'a', 'x'))
    await fileSystem.removeDirectory(join(directory, 'a'))
    expect(await fileSystem.list(directory)).toEqual([])
  })
}

function lockContract(make: Make): void {
  it('locks a directory for one owner at a time', async () => {
    const { fileSystem, directory } = await make()
    const lock = await fileSystem.lock(directory)
    expect(lock.held).toBe(true)
    const refusal = await fileSystem.lock(directory).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(LockedError)
    expect(refusal).toMatchObject({ dir: directory, pid: process.pid })
    await lock.release()
    expect(lock.held).toBe(false)
    const next = await fileSystem.lock(directory)
    expect(next.held).toBe(true)
    await lock.release()
    expect(next.held).toBe(true)
    await next.release()
  })

  it('gives the lock to one of several simultaneous callers', async () => {
    const { fileSystem, directory } = await make()
    const results = await Promise.allSettled([1, 2, 3].map(() => fileSystem.lock(directory)))
    const taken = results.filter((result) => result.status === 'fulfilled')
    expect(taken).toHaveLength(1)
    for (const { value } of taken) await value.release()
  })

  it('locks two directories independently', async () => {
    const { fileSystem, directory } = await make()
    await fileSystem.createDirectory(join(directory, 'a'))
    const outer = await fileSystem.lock(directory)
    const inner = await fileSystem.lock(join(directory, 'a'))
    await outer.release()
    expect(inner.held).toBe(true)
    await inner.release()
  })

  it('leaves nothing behind after a lock is released', async () => {
    const { fileSystem, directory } = await make()
    await (await fileSystem.lock(directory)).release()
    expect(await fileSystem.list(directory)).toEqual([])
  })

  it('rejects locking a directory that does not exist', async () => {
    const { fileSystem, directory } = await make()
    await expect(fileSystem.lock(join(directory, 'absent'))).rejects.toMatchObject({
      code: 'ENOENT',
    })
  })
}

async function store(fileSystem: FileSystem, path: string, text: string): Promise<void> {
  const file = await fileSystem.open(path, 'create')
  await writeFully(file, [Buffer.from(text)], 0)
  await file.close()
}

async function load(fileSystem: FileSystem, path: string): Promise<string> {
  const file = await fileSystem.open(path, 'read')
  const text = await contentOf(file)
  await file.close()
  return text
}

async function contentOf(file: File): Promise<string> {
  const buffer = Buffer.alloc((await file.stat()).sizeBytes)
  return buffer.subarray(0, await readFully(file, buffer, 0)).toString()
}

async function namesIn(fileSystem: FileSystem, path: string): Promise<string[]> {
  return (await fileSystem.list(path)).map((entry) => entry.name)
}
