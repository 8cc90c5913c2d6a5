import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ClosedError } from '../../lib/errors.ts'
import type { File, FileSystem } from '../../lib/platform/file-system.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

async function put(fs: FileSystem, path: string, text: string): Promise<File> {
  const file = await fs.open(path, 'create')
  await file.write([Buffer.from(text)], 0)
  return file
}

async function readAll(file: File): Promise<string> {
  const buffer = Buffer.alloc((await file.stat()).sizeBytes)
  await file.read(buffer, 0)
  return buffer.toString()
}

describe('SimulatedFileSystem as an in-memory file system', () => {
  it('needs no options and starts with an empty root', async () => {
    const fs = new SimulatedFileSystem()
    expect(await fs.list('/')).toEqual([])
    expect(await fs.stat('/')).toMatchObject({ kind: 'directory' })
  })

  it('reads what was written from several buffers, and zeros in gaps', async () => {
    const fs = new SimulatedFileSystem()
    const file = await fs.open('/x', 'create-new')
    expect(await file.write([Buffer.from('ab'), Buffer.alloc(0), Buffer.from('cd')], 2)).toBe(4)
    expect(await readAll(file)).toBe('\0\0abcd')
    await file.truncate(3)
    await file.truncate(5)
    expect(await readAll(file)).toBe('\0\0a\0\0')
    expect(await file.read(Buffer.alloc(4), 4)).toBe(1)
    expect(await file.read(Buffer.alloc(4), 5)).toBe(0)
  })

  it.each([
    ['read', '/missing', 'ENOENT'],
    ['update', '/missing', 'ENOENT'],
    ['create', '/no/file', 'ENOENT'],
    ['create-new', '/d/file', 'EEXIST'],
    ['create-new', '/d', 'EEXIST'],
    ['read', '/d', 'EISDIR'],
    ['create', '/d', 'EISDIR'],
    ['create', '/', 'EISDIR'],
    ['read', '/d/file/below', 'ENOTDIR'],
  ] as const)('rejects an open in mode %s of %s with %s', async (mode, path, code) => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/d/file', Buffer.from('x'))
    await expect(fs.open(path, mode)).rejects.toMatchObject({ code, syscall: 'open', path })
  })

  it('keeps the content of a file that is opened with create', async () => {
    const fs = new SimulatedFileSystem()
    await put(fs, '/x', 'content')
    expect(await readAll(await fs.open('/x', 'create'))).toBe('content')
  })

  it('rejects changes to a file that is open for reading', async () => {
    const fs = new SimulatedFileSystem()
    await put(fs, '/x', 'content')
    const file = await fs.open('/x', 'read')
    await expect(file.write([Buffer.from('z')], 0)).rejects.toMatchObject({ code: 'EBADF' })
    await expect(file.truncate(0)).rejects.toMatchObject({ code: 'EINVAL' })
    expect(await readAll(file)).toBe('content')
  })

  it.each([-1, 0.5, NaN, 2 ** 53])('rejects the position %d', async (position) => {
    const file = await new SimulatedFileSystem().open('/x', 'create')
    await expect(file.read(Buffer.alloc(1), position)).rejects.toThrow(RangeError)
    await expect(file.write([Buffer.alloc(1)], position)).rejects.toThrow(RangeError)
    await expect(file.truncate(position)).rejects.toThrow(RangeError)
  })

  it('lists names sorted, with their kind', async () => {
    const fs = new SimulatedFileSystem()
    await fs.createDirectory('/d/b')
    await put(fs, '/d/c', '')
    await put(fs, '/d/a', '')
    expect(await fs.list('/d')).toEqual([
      { name: 'a', kind: 'file' },
      { name: 'b', kind: 'directory' },
      { name: 'c', kind: 'file' },
    ])
    await expect(fs.list('/nothing')).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(fs.list('/d/a')).rejects.toMatchObject({ code: 'ENOTDIR' })
  })

  it('stat returns kind, size and modification time, or null if nothing exists', async () => {
    const clock = new ManualClock(5000)
    const fs = new SimulatedFileSystem({ clock })
    const file = await put(fs, '/x', 'abc')
    expect(await fs.stat('/x')).toMatchObject({ kind: 'file', sizeBytes: 3, modifiedMs: 5000 })
    await clock.advance(10)
    await file.truncate(1)
    expect(await file.stat()).toMatchObject({ kind: 'file', sizeBytes: 1, modifiedMs: 5010 })
    expect((await fs.stat('/'))?.modifiedMs).toBe(5000)
    await fs.rename('/x', '/y')
    expect((await fs.stat('/'))?.modifiedMs).toBe(5010)
    await fs.rename('/y', '/x')
    expect(await fs.stat('/missing')).toBeNull()
    expect(await fs.stat('/missing/below')).toBeNull()
    await expect(fs.stat('/x/below')).rejects.toMatchObject({ code: 'ENOTDIR' })
    expect([fs.statNow('/missing'), fs.statNow('/x')]).toEqual([null, await fs.stat('/x')])
    expect(() => fs.statNow('/x/below')).toThrow('ENOTDIR')
  })

  it('createDirectory returns what it created, topmost first', async () => {
    const fs = new SimulatedFileSystem()
    expect(await fs.createDirectory('/a/b/c')).toEqual(['/a', '/a/b', '/a/b/c'])
    expect(await fs.createDirectory('/a/b/d')).toEqual(['/a/b/d'])
    expect(await fs.createDirectory('/a/b')).toEqual([])
    expect(await fs.createDirectory('/')).toEqual([])
    await put(fs, '/a/file', '')
    await expect(fs.createDirectory('/a/file')).rejects.toMatchObject({ code: 'EEXIST' })
    await expect(fs.createDirectory('/a/file/x')).rejects.toMatchObject({ code: 'ENOTDIR' })
  })

  it('removes files only by unlink, and empty directories only by removeDirectory', async () => {
    const fs = new SimulatedFileSystem()
    await fs.createDirectory('/d')
    await put(fs, '/d/x', '')
    await expect(fs.removeDirectory('/d')).rejects.toMatchObject({ code: 'ENOTEMPTY' })
    await expect(fs.removeDirectory('/d/x')).rejects.toMatchObject({ code: 'ENOTDIR' })
    await expect(fs.removeDirectory('/nothing')).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(fs.removeDirectory('/')).rejects.toMatchObject({ code: 'EBUSY' })
    await expect(fs.unlink('/d')).rejects.toMatchObject({ code: 'EISDIR' })
    await expect(fs.unlink('/nothing')).rejects.toMatchObject({ code: 'ENOENT' })
    await fs.unlink('/d/x')
    await fs.removeDirectory('/d')
    expect(await fs.list('/')).toEqual([])
  })

  it('keeps an unlinked file for its open handles', async () => {
    const fs = new SimulatedFileSystem()
    const file = await put(fs, '/x', 'old')
    await fs.unlink('/x')
    await put(fs, '/x', 'newer')
    expect(await readAll(file)).toBe('old')
    expect(fs.readFile('/x').toString()).toBe('newer')
  })

  it('rename replaces a file, moves a directory with its content, and does nothing if both paths are equal', async () => {
    const fs = new SimulatedFileSystem()
    await fs.createDirectory('/d/e')
    await put(fs, '/d/e/x', 'x')
    await put(fs, '/y', 'y')
    await fs.rename('/d/e/x', '/y')
    expect([...fs.snapshot()]).toEqual([['/y', Buffer.from('x')]])
    await fs.rename('/y', '/y')
    await fs.rename('/y', '/d/e/z')
    await fs.rename('/d', '/moved')
    expect([...fs.snapshot().keys()]).toEqual(['/moved/e/z'])
  })

  it.each([
    ['/missing', '/x', 'ENOENT'],
    ['/f', '/missing/x', 'ENOENT'],
    ['/f', '/d', 'EISDIR'],
    ['/d', '/f', 'ENOTDIR'],
    ['/d', '/full', 'ENOTEMPTY'],
    ['/full', '/full/below', 'EINVAL'],
    ['/full/file', '/full', 'ENOTEMPTY'],
    ['/f/below', '/x', 'ENOTDIR'],
    ['/', '/x', 'EBUSY'],
  ])('rename from %s to %s rejects with %s and changes nothing', async (from, to, code) => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/f', Buffer.from('f'))
    fs.writeFile('/full/file', Buffer.from('x'))
    await fs.createDirectory('/d')
    await expect(fs.rename(from, to)).rejects.toMatchObject({ code, syscall: 'rename' })
    expect((await fs.list('/')).map(({ name }) => name)).toEqual(['d', 'f', 'full'])
    expect([...fs.snapshot().keys()]).toEqual(['/f', '/full/file'])
  })

  it('rename replaces an empty directory', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/from/x', Buffer.from('x'))
    await fs.createDirectory('/to')
    await fs.rename('/from', '/to')
    expect([...fs.snapshot().keys()]).toEqual(['/to/x'])
  })

  it('resolves relative paths against the working directory, and ignores dots and double slashes', async () => {
    const fs = new SimulatedFileSystem()
    await fs.createDirectory('some/dir')
    await put(fs, './some//dir/../dir/x', 'x')
    expect([...fs.snapshot().keys()]).toEqual([resolve('some/dir/x')])
    expect(await fs.stat(resolve('some/dir/x'))).toMatchObject({ sizeBytes: 1 })
    await expect(fs.open('', 'create')).rejects.toMatchObject({ code: 'ENOENT' })
  })

  it('keeps the path of a file as its caller gave it', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('x', Buffer.alloc(0))
    expect((await fs.open('./x', 'read')).path).toBe('./x')
  })
})

describe('open files of a SimulatedFileSystem', () => {
  it('reject every call after close, except another close', async () => {
    const file = await put(new SimulatedFileSystem(), '/x', 'abc')
    await file.close()
    await file.close()
    for (const call of [
      () => file.read(Buffer.alloc(1), 0),
      () => file.write([Buffer.alloc(1)], 0),
      () => file.truncate(0),
      () => file.datasync(),
      () => file.sync(),
      () => file.stat(),
    ]) {
      await expect(call()).rejects.toThrow(ClosedError)
    }
  })

  it.each(['in-order', 'random'] as const)(
    'wait for calls in flight before they are closed (%s)',
    async (completion) => {
      const fs = new SimulatedFileSystem({ completion })
      const file = await fs.open('/x', 'create')
      const settled: string[] = []
      const write = file.write([Buffer.from('abc')], 0).then(() => settled.push('write'))
      const close = file.close().then(() => settled.push('close'))
      await expect(file.stat()).rejects.toThrow(ClosedError)
      await Promise.all([write, close])
      expect(settled).toEqual(['write', 'close'])
      expect(fs.readFile('/x').toString()).toBe('abc')
    },
  )
})

describe('calls of a SimulatedFileSystem', () => {
  it('take effect only after the call has returned its promise', async () => {
    const fs = new SimulatedFileSystem()
    const file = await fs.open('/x', 'create')
    const bytes = Buffer.from('early')
    const write = file.write([bytes], 0)
    expect(fs.readFile('/x').toString()).toBe('')
    bytes.write('later')
    await write
    expect(fs.readFile('/x').toString()).toBe('later')
    const target = Buffer.alloc(5, '.')
    const read = file.read(target, 0)
    expect(target.toString()).toBe('.....')
    await read
    expect(target.toString()).toBe('later')
  })

  it('are not affected by changes to a buffer after they complete', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/x', Buffer.alloc(0))
    const file = await fs.open('/x', 'update')
    const bytes = Buffer.from('kept')
    await file.write([bytes], 0)
    bytes.fill('!')
    expect(fs.readFile('/x').toString()).toBe('kept')
    await file.datasync()
    expect(fs.restart('power', { unsynced: 'lost' }).readFile('/x').toString()).toBe('kept')
  })

  it('take effect in the order in which they were started', async () => {
    const fs = new SimulatedFileSystem()
    const file = await fs.open('/x', 'create')
    const writes = ['a', 'b', 'c', 'd'].map((text) => file.write([Buffer.from(text)], 0))
    const sync = file.datasync()
    await Promise.all([...writes, sync])
    expect(fs.readFile('/x').toString()).toBe('d')
    expect(fs.operations.map((line) => line.split(' ')[1])).toEqual([
      'open',
      ...['write', 'write', 'write', 'write', 'datasync'],
    ])
  })

  it('take effect and complete in random order with random completion, the same for the same seed', async () => {
    const outcome = async (seed: number) => {
      const fs = new SimulatedFileSystem({ completion: 'random', seed })
      const file = await fs.open('/x', 'create')
      const completed: string[] = []
      const texts = ['a', 'b', 'c', 'd']
      await Promise.all(
        texts.map(async (text) => {
          await file.write([Buffer.from(text)], 0)
          completed.push(text)
        }),
      )
      return `${fs.readFile('/x').toString()} ${completed.join('')}`
    }
    const outcomes = new Set<string>()
    for (let seed = 0; seed < 100; seed += 1) {
      outcomes.add(await outcome(seed))
    }
    const [last, completed] = [0, 1].map(
      (part) => new Set([...outcomes].map((text) => text.split(' ')[part])),
    )
    expect(last?.size).toBe(4)
    expect(completed?.size).toBeGreaterThan(10)
    expect(await outcome(5)).toBe(await outcome(5))
  })

  it('are numbered and logged, even if they fail', async () => {
    const fs = new SimulatedFileSystem()
    await fs.createDirectory('/d')
    const file = await fs.open('/d/x.log', 'create')
    await file.write([Buffer.alloc(61)], 0)
    await file.truncate(60)
    await file.read(Buffer.alloc(4), 8)
    await file.datasync()
    await file.sync()
    await file.stat()
    await file.close()
    await fs.rename('/d/x.log', '/d/y.log')
    await fs.syncDirectory('/d')
    await expect(fs.unlink('/d/x.log')).rejects.toThrow('ENOENT')
    await (await fs.lock('/d')).release()
    expect(fs.operations).toEqual([
      '#1 createDirectory /d',
      '#2 open /d/x.log create',
      '#3 write /d/x.log @0 +61',
      '#4 truncate /d/x.log =60',
      '#5 read /d/x.log @8 +4',
      '#6 datasync /d/x.log',
      '#7 sync /d/x.log',
      '#8 stat /d/x.log',
      '#9 close /d/x.log',
      '#10 rename /d/x.log -> /d/y.log',
      '#11 syncDirectory /d',
      '#12 unlink /d/x.log ! ENOENT',
      '#13 lock /d',
      '#14 release /d',
    ])
    expect(fs.operationCount).toBe(14)
  })

  it('are kept in a log of bounded length', async () => {
    const fs = new SimulatedFileSystem()
    for (let i = 0; i < 20_005; i += 1) {
      await fs.stat('/')
    }
    expect(fs.operationCount).toBe(20_005)
    expect(fs.operations.length).toBe(10_005)
    expect(fs.operations.at(-1)).toBe('#20005 stat /')
  })
})

describe('helpers of a SimulatedFileSystem', () => {
  it('writeFile makes a file and its directories durable at once', () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/a/b/x', Buffer.from('long content'))
    fs.writeFile('/a/b/x', Buffer.from('short'))
    expect(fs.operationCount).toBe(0)
    expect([...fs.restart('power', { unsynced: 'lost' }).snapshot()]).toEqual([
      ['/a/b/x', Buffer.from('short')],
    ])
  })

  it('writeFile makes a name durable that came from an unsynced rename', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/a/x', Buffer.from('x'))
    await fs.rename('/a', '/b')
    await fs.rename('/b/x', '/b/y')
    fs.writeFile('/b/y', Buffer.from('y'))
    expect([...fs.restart('power', { unsynced: 'lost' }).snapshot()]).toEqual([
      ['/b/y', Buffer.from('y')],
    ])
  })

  it('writeFile keeps the file that an unsynced rename has moved away from the name', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/x', Buffer.from('first'))
    await fs.rename('/x', '/y')
    fs.writeFile('/x', Buffer.from('second'))
    expect([...fs.restart('power', { unsynced: 'lost' }).snapshot()]).toEqual([
      ['/x', Buffer.from('second')],
      ['/y', Buffer.from('first')],
    ])
  })

  it('readFile throws for a missing path and for a directory', () => {
    const fs = new SimulatedFileSystem()
    expect(() => fs.readFile('/x')).toThrow('ENOENT')
    expect(() => fs.readFile('/')).toThrow('EISDIR')
  })

  it('flipBit changes one bit, whether its byte is synced or not', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/x', Buffer.from('aaaa'))
    const file = await fs.open('/x', 'update')
    await file.write([Buffer.from('bb')], 1)
    fs.flipBit('/x', 0, 7)
    fs.flipBit('/x', 2, 0)
    const flipped = [0xe1, 0x62, 0x63, 0x61]
    expect([...fs.readFile('/x')]).toEqual(flipped)
    await file.datasync()
    expect([...fs.restart('power', { unsynced: 'lost' }).readFile('/x')]).toEqual(flipped)
    expect(() => {
      fs.flipBit('/x', 4, 0)
    }).toThrow(RangeError)
    expect(() => {
      fs.flipBit('/x', 0, 8)
    }).toThrow(RangeError)
  })

  it('snapshot returns copies', () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/x', Buffer.from('abc'))
    fs.snapshot().get('/x')?.fill(0)
    expect(fs.readFile('/x').toString()).toBe('abc')
  })

  it('fork returns an equal file system that changes independently', async () => {
    const fs = new SimulatedFileSystem({ capacityBytes: 100 })
    fs.writeFile('/d/x', Buffer.from('durable'))
    const file = await fs.open('/d/x', 'update')
    await file.write([Buffer.from('+')], 7)
    await fs.rename('/d/x', '/d/y')
    await fs.lock('/d')
    fs.capacityBytes = 50
    const fork = fs.fork()
    await file.write([Buffer.from('original')], 0)
    await fork.unlink('/d/y')
    await fork.lock('/d')
    expect(fs.readFile('/d/y').toString()).toBe('original')
    expect([...fork.snapshot()]).toEqual([])
    expect(fork.capacityBytes).toBe(50)
    expect(fork.operations).toEqual(['#1 unlink /d/y', '#2 lock /d'])
    expect([...fork.restart('power', { unsynced: 'lost' }).snapshot()]).toEqual([
      ['/d/x', Buffer.from('durable')],
    ])
    expect(fs.crashed).toBe(false)
  })

  it('fork keeps the unsynced changes of the two apart', async () => {
    const fs = new SimulatedFileSystem()
    fs.writeFile('/x', Buffer.from('durable'))
    const file = await fs.open('/x', 'update')
    await file.write([Buffer.from('1')], 0)
    const fork = fs.fork()
    await file.write([Buffer.from('2')], 0)
    await (await fork.open('/x', 'update')).truncate(3)
    const kept = (it: SimulatedFileSystem) =>
      it.restart('power', { unsynced: 'kept' }).readFile('/x').toString()
    expect([kept(fs), kept(fork)]).toEqual(['2urable', '1ur'])
  })

  it.each([0, -1, 1.5, NaN, Infinity])('throws for a sector size of %d', (sectorBytes) => {
    expect(() => new SimulatedFileSystem({ sectorBytes })).toThrow(RangeError)
  })
})
