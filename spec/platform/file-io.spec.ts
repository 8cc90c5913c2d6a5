import fc from 'fast-check'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import { readFully, readWholeFile, replaceFile, writeFully } from '../../lib/platform/file-io.ts'
import type { File, FileStat, FileSystem } from '../../lib/platform/file-system.ts'
import { NodeFileSystem } from '../../lib/platform/node-file-system.ts'
import { temporaryDirectory } from './temporary-directory.ts'

/** A file in memory that transfers `chunkBytes` at a time, and holds at most `limitBytes`. */
class SlowFile implements File {
  readonly path = '/slow'
  content = Buffer.alloc(0)
  readonly chunkBytes: number
  readonly limitBytes: number

  constructor(chunkBytes: number, limitBytes = Infinity) {
    this.chunkBytes = chunkBytes
    this.limitBytes = limitBytes
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    const chunk = this.content.subarray(position, position + this.chunkBytes)
    buffer.set(chunk.subarray(0, buffer.length))
    return Promise.resolve(Math.min(chunk.length, buffer.length))
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<number> {
    const room = Math.max(0, this.limitBytes - position)
    const chunk = Buffer.concat(buffers).subarray(0, Math.min(this.chunkBytes, room))
    this.content = Buffer.concat([this.content.subarray(0, position), chunk])
    return Promise.resolve(chunk.length)
  }

  truncate(): Promise<void> {
    return Promise.resolve()
  }

  datasync(): Promise<void> {
    return Promise.resolve()
  }

  sync(): Promise<void> {
    return Promise.resolve()
  }

  stat(): Promise<FileStat> {
    const sizeBytes = this.content.length
    const identity = '1'
    return Promise.resolve({ kind: 'file', sizeBytes, modifiedMs: 0, permissions: 0o600, identity })
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

describe('writeFully and readFully', () => {
  it('transfer all bytes, however few a single call transfers', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 6 }),
        fc.integer({ min: 1, max: 12 }),
        async (buffers, chunkBytes) => {
          const file = new SlowFile(chunkBytes)
          await writeFully(file, buffers, 0)
          const expected = Buffer.concat(buffers)
          expect(file.content).toEqual(expected)
          const found = Buffer.alloc(expected.length + 3, 0xff)
          expect(await readFully(file, found, 0)).toBe(expected.length)
          expect(found.subarray(0, expected.length)).toEqual(expected)
        },
      ),
    )
  })

  it('start at the given position', async () => {
    const file = new SlowFile(2)
    file.content = Buffer.from('0123456789')
    await writeFully(file, [Buffer.from('ab'), Buffer.from('cd')], 7)
    expect(file.content.toString()).toBe('0123456abcd')
    const found = Buffer.alloc(3)
    expect(await readFully(file, found, 5)).toBe(3)
    expect(found.toString()).toBe('56a')
  })

  it('report a full disk if a write makes no progress', async () => {
    const file = new SlowFile(2, 5)
    await expect(writeFully(file, [Buffer.from('0123456789')], 0)).rejects.toMatchObject({
      code: 'ENOSPC',
      path: '/slow',
      message: expect.stringContaining('position 5') as string,
    })
    expect(file.content.toString()).toBe('01234')
  })

  it('accept an empty write and an empty read', async () => {
    await writeFully(new SlowFile(1, 0), [Buffer.alloc(0)], 0)
    expect(await readFully(new SlowFile(1), Buffer.alloc(0), 0)).toBe(0)
  })
})

describe('readWholeFile', () => {
  const fileSystem = new NodeFileSystem()

  it('returns null for a file that does not exist', async () => {
    const directory = await temporaryDirectory()
    expect(await readWholeFile(fileSystem, join(directory, 'absent'), 10)).toBeNull()
  })

  it('reads a file of exactly the limit and rejects a larger one', async () => {
    const path = join(await temporaryDirectory(), 'a')
    await replaceFile(fileSystem, path, '12345')
    expect((await readWholeFile(fileSystem, path, 5))?.toString()).toBe('12345')
    const refusal: unknown = await readWholeFile(fileSystem, path, 4).catch(
      (error: unknown) => error,
    )
    expect(refusal).toBeInstanceOf(CorruptRecordError)
    expect(refusal).toMatchObject({ path, reason: 'it has 5 bytes, but at most 4 are allowed' })
  })

  it('passes other errors on', async () => {
    const directory = await temporaryDirectory()
    await expect(readWholeFile(fileSystem, directory, 5)).rejects.toMatchObject({
      code: 'EISDIR',
    })
  })
})

describe('replaceFile', () => {
  it('replaces the content and leaves no other file', async () => {
    const fileSystem = new NodeFileSystem()
    const directory = await temporaryDirectory()
    const path = join(directory, 'a')
    await replaceFile(fileSystem, path, 'first and longer')
    await replaceFile(fileSystem, path, Buffer.from('second'))
    expect((await readWholeFile(fileSystem, path, 100))?.toString()).toBe('second')
    expect(await fileSystem.list(directory)).toEqual([{ name: 'a', kind: 'file' }])
  })

  it('overwrites a longer temporary file that a failed call left', async () => {
    const fileSystem = new NodeFileSystem()
    const path = join(await temporaryDirectory(), 'a')
    await replaceFile(fileSystem, `${path}.tmp`, 'left behind and longer')
    await replaceFile(fileSystem, path, 'new')
    expect((await readWholeFile(fileSystem, path, 100))?.toString()).toBe('new')
    expect(await fileSystem.stat(`${path}.tmp`)).toBeNull()
  })

  it('syncs the content before the rename, and the directory before it resolves', async () => {
    const steps: string[] = []
    await replaceFile(recordingFileSystem(steps), join('dir', 'a'), 'x')
    expect(steps).toEqual([
      `open ${join('dir', 'a.tmp')} create`,
      'truncate 0',
      'write',
      'sync',
      'close',
      `rename ${join('dir', 'a.tmp')} ${join('dir', 'a')}`,
      'syncDirectory dir',
    ])
  })

  it('does not rename the file if the sync of its content failed', async () => {
    const steps: string[] = []
    const fileSystem = recordingFileSystem(steps, 'sync')
    await expect(replaceFile(fileSystem, join('dir', 'a'), 'x')).rejects.toThrow('sync failed')
    expect(steps.slice(-2)).toEqual(['sync', 'close'])
  })
})

/** Records its calls. One of them can be made to fail. */
function recordingFileSystem(steps: string[], failing?: string): FileSystem {
  const step = (name: string, ...args: unknown[]): Promise<void> => {
    steps.push([name, ...args].join(' '))
    return name === failing ? Promise.reject(new Error(`${name} failed`)) : Promise.resolve()
  }
  const file = new SlowFile(10)
  file.truncate = (...args: unknown[]) => step('truncate', ...args)
  file.sync = () => step('sync')
  file.datasync = () => step('datasync')
  file.close = () => step('close')
  file.write = async (buffers) => {
    await step('write')
    return Buffer.concat(buffers).length
  }
  const unexpected = (): Promise<never> => Promise.reject(new Error('unexpected call'))
  return {
    open: async (path, mode) => {
      await step('open', path, mode)
      return file
    },
    rename: (from, to) => step('rename', from, to),
    syncDirectory: (path) => step('syncDirectory', path),
    list: unexpected,
    stat: unexpected,
    createDirectory: unexpected,
    unlink: unexpected,
    removeDirectory: unexpected,
    freeBytes: unexpected,
    lock: unexpected,
  }
}
