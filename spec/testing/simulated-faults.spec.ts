import { relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { File } from '../../lib/platform/file-system.ts'
import type { Persona } from '../../lib/testing/crash-model.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

interface Fixture {
  readonly fs: SimulatedFileSystem
  readonly file: File
}

/** A file system with one durable file, `/d/x`, that holds `old` and is open. */
async function fixture(
  capacityBytes = Infinity,
  persona: Persona = 'strict-posix',
): Promise<Fixture> {
  const fs = new SimulatedFileSystem({ capacityBytes, persona })
  fs.writeFile('/d/x', Buffer.from('old'))
  return { fs, file: await fs.open('/d/x', 'update') }
}

const CALLS = {
  open: ({ fs }: Fixture) => fs.open('/d/new', 'create'),
  list: ({ fs }: Fixture) => fs.list('/d'),
  stat: ({ fs }: Fixture) => fs.stat('/d/x'),
  createDirectory: ({ fs }: Fixture) => fs.createDirectory('/d/e'),
  rename: ({ fs }: Fixture) => fs.rename('/d/x', '/d/y'),
  unlink: ({ fs }: Fixture) => fs.unlink('/d/x'),
  removeDirectory: ({ fs }: Fixture) => fs.removeDirectory('/d'),
  syncDirectory: ({ fs }: Fixture) => fs.syncDirectory('/d'),
  lock: ({ fs }: Fixture) => fs.lock('/d'),
  read: ({ file }: Fixture) => file.read(Buffer.alloc(1), 0),
  write: ({ file }: Fixture) => file.write([Buffer.from('new')], 0),
  truncate: ({ file }: Fixture) => file.truncate(0),
  setModified: async ({ file }: Fixture) => file.setModified?.(0),
  datasync: ({ file }: Fixture) => file.datasync(),
  sync: ({ file }: Fixture) => file.sync(),
  close: ({ file }: Fixture) => file.close(),
} as const

describe('failNext', () => {
  it.each(Object.keys(CALLS) as (keyof typeof CALLS)[])(
    'makes the next %s fail once with a system error and without effect',
    async (kind) => {
      const at = await fixture()
      const before = at.fs.operationCount
      at.fs.failNext(kind, 'EIO')
      const failed = CALLS[kind](at)
      await expect(failed).rejects.toMatchObject({ code: 'EIO', errno: -5 })
      await expect(failed).rejects.toThrow('EIO: i/o error')
      expect([...at.fs.snapshot()]).toEqual([['/d/x', Buffer.from('old')]])
      expect((await at.fs.list('/d')).length).toBe(1)
      expect(at.fs.operations[before]).toContain(`#${before + 1} ${kind} /d`)
      expect(at.fs.operations[before]).toContain(' ! EIO')
      if (kind !== 'close' && kind !== 'removeDirectory') {
        await CALLS[kind](at)
      }
    },
  )

  it('makes a release fail, which frees the lock nevertheless', async () => {
    const { fs } = await fixture()
    const lock = await fs.lock('/d')
    fs.failNext('release', 'EIO')
    await expect(lock.release()).rejects.toMatchObject({ code: 'EIO' })
    expect(lock.held).toBe(false)
    expect((await fs.lock('/d')).held).toBe(true)
  })

  it('does not affect operations of other kinds', async () => {
    const at = await fixture()
    at.fs.failNext('datasync', 'ENOSPC')
    await CALLS.write(at)
    await CALLS.sync(at)
    await expect(CALLS.datasync(at)).rejects.toMatchObject({ code: 'ENOSPC' })
    await CALLS.datasync(at)
  })

  it('affects only operations on the given path', async () => {
    const { fs, file } = await fixture()
    const other = await fs.open('/d/other.index', 'create')
    fs.failNext('write', 'EIO', { path: '/d/other.index' })
    fs.failNext('truncate', 'EIO', { path: /\.index$/g, persistent: true })
    await file.write([Buffer.from('a')], 0)
    await file.truncate(1)
    await expect(other.write([Buffer.from('a')], 0)).rejects.toMatchObject({ code: 'EIO' })
    await expect(other.truncate(0)).rejects.toMatchObject({ path: '/d/other.index' })
    await expect(other.truncate(0)).rejects.toMatchObject({ code: 'EIO' })
  })

  it.each(['/d/./x', '/d//x', '/e/../d/x', relative('.', '/d/x')])(
    'recognizes %s as another spelling of the same path',
    async (path) => {
      const { fs, file } = await fixture()
      fs.failNext('write', 'EIO', { path })
      fs.failAt(2, 'ENOSPC', { path })
      await expect(file.write([Buffer.from('a')], 0)).rejects.toMatchObject({ code: 'EIO' })
      await expect(file.read(Buffer.alloc(1), 0)).rejects.toMatchObject({ code: 'ENOSPC' })
    },
  )

  it.each(['/d/x', '/d/y', /x$/, /y$/])(
    'matches a rename by either of its paths: %s',
    async (path) => {
      const at = await fixture()
      at.fs.failNext('rename', 'EIO', { path })
      await expect(CALLS.rename(at)).rejects.toMatchObject({ code: 'EIO' })
      await CALLS.rename(at)
    },
  )

  it('counts a rename only once if both of its paths match', async () => {
    const at = await fixture()
    at.fs.failAt(2, 'EIO', { path: /^.d/ })
    await CALLS.rename(at)
    await expect(at.fs.stat('/d/y')).rejects.toMatchObject({ code: 'EIO' })
  })

  it.each([3, '', null])('throws for the path %j', async (path) => {
    const { fs } = await fixture()
    expect(() => {
      fs.failNext('write', 'EIO', { path: path as never })
    }).toThrow(TypeError)
  })

  it('makes every later call of its kind fail if it is persistent, until clearFaults', async () => {
    const at = await fixture()
    at.fs.failNext('write', 'EROFS', { persistent: true })
    for (let i = 0; i < 3; i += 1) {
      await expect(CALLS.write(at)).rejects.toMatchObject({ code: 'EROFS' })
    }
    at.fs.clearFaults()
    expect(await CALLS.write(at)).toBe(3)
  })

  it('names both paths of a rename in the error', async () => {
    const at = await fixture()
    at.fs.failNext('rename', 'EACCES')
    await expect(CALLS.rename(at)).rejects.toMatchObject({ path: '/d/x', dest: '/d/y' })
  })

  it('throws for a code that no system error has', async () => {
    const { fs } = await fixture()
    expect(() => {
      fs.failNext('write', 'EVERYTHING')
    }).toThrow(RangeError)
  })

  it('frees the handle of a close that it makes fail', async () => {
    const at = await fixture(3)
    await at.fs.unlink('/d/x')
    at.fs.failNext('close', 'EIO')
    await expect(at.file.close()).rejects.toMatchObject({ code: 'EIO' })
    const next = await at.fs.open('/d/y', 'create')
    expect(await next.write([Buffer.from('abc')], 0)).toBe(3)
  })
})

describe('failAt', () => {
  it('makes the n-th operation from now fail, whatever its kind', async () => {
    const at = await fixture()
    at.fs.failAt(2, 'EIO')
    await CALLS.stat(at)
    await expect(CALLS.list(at)).rejects.toMatchObject({ code: 'EIO' })
    await CALLS.list(at)
  })

  it('applies only the first of two failAt faults for the same operation, and the second to no other', async () => {
    const at = await fixture()
    at.fs.failAt(2, 'EIO')
    at.fs.failAt(2, 'ENOSPC')
    at.fs.failNext('list', 'EACCES')
    await CALLS.stat(at)
    await expect(CALLS.list(at)).rejects.toMatchObject({ code: 'EIO' })
    await expect(CALLS.stat(at)).resolves.toMatchObject({ sizeBytes: 3 })
    // The next of its kind is the next call that would not fail anyway.
    await expect(CALLS.list(at)).rejects.toMatchObject({ code: 'EACCES' })
    await CALLS.list(at)
  })

  it('counts only operations on the path if one is given', async () => {
    const at = await fixture()
    at.fs.failAt(2, 'EIO', { path: '/d/x' })
    await at.fs.stat('/d')
    await expect(CALLS.write(at)).resolves.toBe(3)
    await expect(CALLS.write(at)).rejects.toMatchObject({ code: 'EIO' })
    await CALLS.write(at)
  })

  it('makes all later operations fail too if it is persistent', async () => {
    const at = await fixture()
    at.fs.failAt(2, 'EIO', { persistent: true })
    await CALLS.stat(at)
    await expect(CALLS.list(at)).rejects.toMatchObject({ code: 'EIO' })
    await expect(CALLS.write(at)).rejects.toMatchObject({ code: 'EIO' })
    expect(at.fs.crashed).toBe(false)
  })

  it.each([0, -1, 1.5, NaN])('throws for the number %d', async (n) => {
    const { fs } = await fixture()
    expect(() => {
      fs.failAt(n, 'EIO')
    }).toThrow(RangeError)
  })
})

describe('shortWriteAt', () => {
  it('ends the n-th write from now after the given number of bytes, even across buffers', async () => {
    const { fs, file } = await fixture()
    fs.shortWriteAt(2, 3)
    expect(await file.write([Buffer.from('12345')], 0)).toBe(5)
    await file.stat()
    expect(await file.write([Buffer.from('ab'), Buffer.from('cd')], 5)).toBe(3)
    expect(await file.write([Buffer.from('d')], 8)).toBe(1)
    expect(fs.readFile('/d/x').toString()).toBe('12345abcd')
    expect(fs.operations).toContain('#4 write /d/x @5 +4 (short 3)')
  })

  it('can end a write before its first byte, and does not affect shorter writes', async () => {
    const { fs, file } = await fixture()
    fs.shortWriteAt(1, 0)
    fs.shortWriteAt(2, 10)
    expect(await file.write([Buffer.from('new')], 0)).toBe(0)
    expect(await file.write([Buffer.from('new')], 0)).toBe(3)
  })
})

describe('capacityBytes', () => {
  it('makes a write to a full disk short and the next one fail with ENOSPC', async () => {
    const { fs, file } = await fixture(10)
    expect(await file.write([Buffer.from('0123456789abc')], 0)).toBe(10)
    await expect(file.write([Buffer.from('a')], 10)).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(fs.readFile('/d/x').toString()).toBe('0123456789')
  })

  it('counts all files, and lets files on a full disk be overwritten, truncated and renamed', async () => {
    const { fs, file } = await fixture(10)
    const other = await fs.open('/d/y', 'create')
    expect(await other.write([Buffer.alloc(9)], 0)).toBe(7)
    expect(await file.write([Buffer.from('new')], 0)).toBe(3)
    await expect(file.truncate(4)).rejects.toMatchObject({ code: 'ENOSPC' })
    await fs.rename('/d/y', '/d/z')
    await other.truncate(1)
    await file.truncate(4)
    expect(await file.write([Buffer.from('1234567890')], 0)).toBe(9)
  })

  it('frees the space of an unlinked file when its last handle is closed', async () => {
    const { fs, file } = await fixture(3)
    const other = await fs.open('/d/y', 'create')
    await fs.unlink('/d/x')
    await expect(other.write([Buffer.from('a')], 0)).rejects.toMatchObject({ code: 'ENOSPC' })
    await file.close()
    expect(await other.write([Buffer.from('a')], 0)).toBe(1)
  })

  it('can be raised and lowered', async () => {
    const { fs, file } = await fixture(3)
    await expect(file.write([Buffer.from('a')], 3)).rejects.toMatchObject({ code: 'ENOSPC' })
    fs.capacityBytes = 4
    expect(await file.write([Buffer.from('a')], 3)).toBe(1)
    fs.capacityBytes = 0
    expect(await file.write([Buffer.from('b')], 3)).toBe(1)
    await expect(file.write([Buffer.from('c')], 4)).rejects.toMatchObject({ code: 'ENOSPC' })
  })
})

describe('a sync that fails', () => {
  it.each(['sync', 'datasync'] as const)(
    'leaves the written bytes readable until eviction, and no later %s makes them durable',
    async (kind) => {
      const { fs, file } = await fixture()
      await file.write([Buffer.from('lost in memory')], 0)
      fs.failNext(kind, 'EIO')
      await expect(file[kind]()).rejects.toMatchObject({ code: 'EIO' })
      await file[kind]()
      expect(fs.readFile('/d/x').toString()).toBe('lost in memory')
      expect(fs.restart('process').readFile('/d/x').toString()).toBe('lost in memory')
      expect(fs.restart('power', { unsynced: 'kept' }).readFile('/d/x').toString()).toBe('old')
      const again = fs.fork()
      again.evictPageCache()
      expect(again.readFile('/d/x').toString()).toBe('old')
    },
  )

  it('does not affect bytes that are written after it', async () => {
    const { fs, file } = await fixture()
    await file.write([Buffer.from('LOST')], 3)
    fs.failNext('datasync', 'EIO')
    await expect(file.datasync()).rejects.toThrow()
    await file.write([Buffer.from('new')], 0)
    fs.evictPageCache()
    expect(fs.readFile('/d/x').toString()).toBe('new')
    await file.datasync()
    expect(fs.restart('power', { unsynced: 'lost' }).readFile('/d/x').toString()).toBe('new')
  })

  it('can write a part of the content to the disk', async () => {
    const sizes = new Set<number>()
    for (let seed = 0; seed < 50; seed += 1) {
      const fs = new SimulatedFileSystem({ seed, persona: 'xfs', sectorBytes: 1 })
      fs.writeFile('/x', Buffer.alloc(0))
      const file = await fs.open('/x', 'update')
      await file.write([Buffer.from('abcdefgh')], 0)
      fs.failNext('datasync', 'EIO', { partial: true })
      await expect(file.datasync()).rejects.toThrow()
      expect(fs.readFile('/x').toString()).toBe('abcdefgh')
      fs.evictPageCache()
      const left = fs.readFile('/x').toString()
      expect(left).toMatch(/^[a\0][b\0]?[c\0]?[d\0]?[e\0]?[f\0]?[g\0]?[h\0]?$|^$/)
      sizes.add(left.replaceAll('\0', '').length)
    }
    expect(sizes.size).toBeGreaterThan(3)
  })

  it('leaves names in doubt, even after another sync, if it was that of a directory', async () => {
    const found = new Set<boolean>()
    for (let seed = 0; seed < 20; seed += 1) {
      const { fs } = await fixture()
      await fs.rename('/d/x', '/d/y')
      fs.failNext('syncDirectory', 'EIO')
      await expect(fs.syncDirectory('/d')).rejects.toMatchObject({ code: 'EIO' })
      await fs.syncDirectory('/d')
      expect([...fs.snapshot().keys()]).toEqual(['/d/y'])
      found.add(fs.restart('power', { seed }).snapshot().has('/d/y'))
    }
    expect(found).toEqual(new Set([true, false]))
  })

  it.each(['strict-posix', 'ext4'] as const)(
    'of a directory keeps a renamed file if a later, synced one takes its old name (%s)',
    async (persona) => {
      const { fs } = await fixture(Infinity, persona)
      await fs.rename('/d/x', '/d/y')
      fs.failNext('syncDirectory', 'EIO')
      await expect(fs.syncDirectory('/d')).rejects.toThrow()
      await fs.open('/d/x', 'create-new')
      await fs.syncDirectory('/d')
      const left = fs.restart('power', { unsynced: 'lost' }).snapshot()
      expect([...left.keys()]).toEqual(['/d/x', '/d/y'])
    },
  )

  it('of a directory does not affect later names', async () => {
    const { fs } = await fixture()
    fs.failNext('syncDirectory', 'EIO')
    await expect(fs.syncDirectory('/d')).rejects.toThrow()
    await fs.rename('/d/x', '/d/y')
    await fs.syncDirectory('/d')
    expect([...fs.restart('power', { unsynced: 'lost' }).snapshot().keys()]).toEqual(['/d/y'])
  })
})
