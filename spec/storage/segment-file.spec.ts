import { describe, expect, it } from 'vitest'
import { ClosedError, LockLostError } from '../../lib/errors.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { LogGoneError } from '../../lib/storage/in-doubt-error.ts'
import { SegmentFile } from '../../lib/storage/segment-file.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

function fixture(readOnly = false): { fileSystem: SimulatedFileSystem; file: SegmentFile } {
  const fileSystem = new SimulatedFileSystem()
  fileSystem.writeFile('/d/x', Buffer.from('abc'))
  return { fileSystem, file: new SegmentFile('/d/x', { fileSystem, readOnly }) }
}

function countOf(fileSystem: SimulatedFileSystem, kind: string): number {
  return fileSystem.operations.filter((line) => line.includes(` ${kind} `)).length
}

it('opens the file once for several uses', async () => {
  const { fileSystem, file } = fixture()
  await Promise.all([1, 2, 3].map(() => file.use((open) => open.stat())))
  expect(countOf(fileSystem, 'open')).toBe(1)
})

it('closes a parked file only when its last use ends, and opens it again for the next use', async () => {
  const { fileSystem, file } = fixture()
  const ends: (() => void)[] = []
  const use = (): Promise<void> =>
    file.use(async (open) => {
      await open.stat()
      await new Promise<void>((resolve) => ends.push(resolve))
    })
  const uses = [use(), use()]
  await file.use((open) => open.stat())
  await file.park()
  expect(countOf(fileSystem, 'close')).toBe(0)
  ends[0]?.()
  await uses[0]
  expect(countOf(fileSystem, 'close')).toBe(0)
  ends[1]?.()
  await uses[1]
  expect(countOf(fileSystem, 'close')).toBe(1)
  await file.use((open) => open.stat())
  expect(countOf(fileSystem, 'open')).toBe(2)
})

it('opens the file at the next use after an open has failed', async () => {
  const { fileSystem, file } = fixture()
  fileSystem.failNext('open', 'EMFILE')
  await expect(file.use((open) => open.stat())).rejects.toMatchObject({ code: 'EMFILE' })
  await file.park()
  expect((await file.use((open) => open.stat())).sizeBytes).toBe(3)
})

it('is parked even if the close fails, and is opened again at the next use', async () => {
  const { fileSystem, file } = fixture()
  await file.use((open) => open.stat())
  fileSystem.failNext('close', 'EIO')
  await file.park()
  expect((await file.use((open) => open.stat())).sizeBytes).toBe(3)
})

it('rejects a write with EBADF if it is read-only', async () => {
  const { file } = fixture(true)
  const write = file.use((open) => open.write([Buffer.from('x')], 0))
  await expect(write).rejects.toMatchObject({ code: 'EBADF' })
})

it('rejects running and later uses with ClosedError once it is closed', async () => {
  const { file } = fixture()
  const use = file.use(async (open) => {
    await file.close()
    await open.stat()
  })
  await expect(use).rejects.toThrow(ClosedError)
  await expect(file.use((open) => open.stat())).rejects.toThrow('/d/x is closed')
  await file.close()
})

it('reports a failed close once, and does not close the file again', async () => {
  const { fileSystem, file } = fixture()
  await file.use((open) => open.stat())
  fileSystem.failNext('close', 'EIO')
  await expect(file.close()).rejects.toMatchObject({ code: 'EIO' })
  await file.close()
  expect(countOf(fileSystem, 'close')).toBe(1)
})

it('stays open when it is parked between a write and its sync', async () => {
  const { fileSystem, file } = fixture()
  await file.write([Buffer.from('d')], 3)
  expect(file.isIdle).toBe(false)
  await file.park()
  expect(countOf(fileSystem, 'close')).toBe(0)
  await file.datasync()
  expect(file.isIdle).toBe(true)
  await file.park()
  expect(countOf(fileSystem, 'close')).toBe(1)
})

it('is idle after an empty write, which no sync follows', async () => {
  const { file } = fixture()
  await file.use((open) => open.stat())
  await file.write([], 3)
  expect(file.isIdle).toBe(true)
})

it('stays open when it is parked after a failed sync', async () => {
  const { fileSystem, file } = fixture()
  await file.write([Buffer.from('d')], 3)
  fileSystem.failNext('datasync', 'EIO')
  await expect(file.datasync()).rejects.toMatchObject({ code: 'EIO' })
  await file.park()
  expect([file.isIdle, file.isOpen]).toEqual([false, true])
})

it('is idle after a truncation, which ends with a sync', async () => {
  const { file } = fixture()
  await file.cut(1)
  expect(file.isIdle).toBe(true)
})

it('rejects a write with LogGoneError if another file has taken its name while it was parked', async () => {
  const { fileSystem, file } = fixture()
  await file.write([Buffer.from('d')], 3)
  await file.datasync()
  await file.park()
  fileSystem.writeFile('/d/y', Buffer.from('other'))
  await fileSystem.rename('/d/y', '/d/x')
  expect(await file.isInPlace()).toBe(false)
  await expect(file.write([Buffer.from('e')], 4)).rejects.toThrow(LogGoneError)
  expect(String(fileSystem.readFile('/d/x'))).toBe('other')
})

it('rejects a read with ENOENT and a write with LogGoneError if it was deleted while it was parked', async () => {
  const { fileSystem, file } = fixture()
  await file.write([Buffer.from('d')], 3)
  await file.datasync()
  await file.park()
  await fileSystem.unlink('/d/x')
  await expect(file.use((open) => open.stat())).rejects.toMatchObject({ code: 'ENOENT' })
  await expect(file.write([Buffer.from('e')], 4)).rejects.toThrow(LogGoneError)
})

it('rejects a read and leaves nothing open if its directory has another topic when it is opened again', async () => {
  const { fileSystem } = fixture()
  const topicId = 'A'.repeat(21) + 'B'
  const file = new SegmentFile('/d/x', { fileSystem, readOnly: true, topicId })
  const nameTopic = (id: string): void => {
    fileSystem.writeFile('/d/partition.metadata', Buffer.from(`version: 0\ntopic_id: ${id}`))
  }
  nameTopic(topicId)
  expect((await file.use((open) => open.stat())).sizeBytes).toBe(3)
  nameTopic('C'.repeat(22))
  expect((await file.use((open) => open.stat())).sizeBytes).toBe(3)
  await file.park()
  await expect(file.use((open) => open.stat())).rejects.toMatchObject({ code: 'ENOENT' })
  expect([file.isOpen, countOf(fileSystem, 'close')]).toEqual([false, countOf(fileSystem, 'open')])
})

it('finds out without opening the file whether it is in place', async () => {
  const { fileSystem, file } = fixture()
  await file.write([Buffer.from('d')], 3)
  await file.datasync()
  await file.park()
  expect(await file.isInPlace()).toBe(true)
  expect(countOf(fileSystem, 'open')).toBe(1)
})

describe('a segment file that cannot be opened for writing', () => {
  /** A file that cannot be opened for writing until `allow` is called. */
  function refused(error: Error): ReturnType<typeof fixture> & { allow: () => void } {
    const { fileSystem, file } = fixture()
    const open = fileSystem.open.bind(fileSystem)
    let isRefused = true
    fileSystem.open = (path, mode) =>
      mode !== 'read' && isRefused ? Promise.reject(error) : open(path, mode)
    const allow = (): void => {
      isRefused = false
    }
    return { fileSystem, file, allow }
  }

  const ERRORS = [
    new LockLostError('/d', 'another owner may have taken it', 'unknown'),
    systemError('EROFS', 'open', '/d/x', 'refused'),
  ]

  it.each(ERRORS)('can still be read, even beside a write that is rejected: %s', async (error) => {
    const { fileSystem, file } = refused(error)
    const write = file.write([Buffer.from('x')], 0)
    expect((await file.use((open) => open.stat())).sizeBytes).toBe(3)
    await expect(write).rejects.toBe(error)
    await expect(file.datasync()).rejects.toBe(error)
    expect(file.writeNow([Buffer.from('x')], 0)).toBe(-1)
    expect(file.datasyncNow()).toBe(false)
    expect((await file.use((open) => open.stat())).sizeBytes).toBe(3)
    await file.close()
    expect([countOf(fileSystem, 'open'), countOf(fileSystem, 'close')]).toEqual([1, 1])
  })

  it('is opened again after its identity could not be checked, and leaves no descriptor open', async () => {
    const error = systemError('EROFS', 'open', '/d/x', 'refused')
    const { fileSystem, file } = refused(error)
    const stat = await fileSystem.stat('/d/x')
    file.identity = stat?.identity ?? null
    const open = fileSystem.open.bind(fileSystem)
    fileSystem.open = async (path, mode) => {
      const opened = await open(path, mode)
      fileSystem.open = open
      Object.defineProperty(opened, 'identity', { value: undefined })
      opened.stat = () => Promise.reject(systemError('EIO', 'fstat', path, 'i/o error'))
      return opened
    }
    const first = file.use((opened) => opened.stat())
    await expect(first).rejects.toBe(error)
    expect((await file.use((opened) => opened.stat())).sizeBytes).toBe(3)
    await file.close()
    expect([countOf(fileSystem, 'open'), countOf(fileSystem, 'close')]).toEqual([2, 2])
  })

  it('rejects a read at once if this file alone may not be written to', async () => {
    const error = systemError('EACCES', 'open', '/d/x', 'refused')
    const { file } = refused(error)
    await expect(file.use((open) => open.stat())).rejects.toBe(error)
  })

  it('is opened again for a write once that is possible, while a running read keeps the old descriptor', async () => {
    const { fileSystem, file, allow } = refused(systemError('EROFS', 'open', '/d/x', 'refused'))
    let end = (): void => undefined
    const reading = file.use(async (open) => {
      await new Promise<void>((resolve) => (end = resolve))
      return open.stat()
    })
    await file.use((open) => open.stat())
    allow()
    await file.write([Buffer.from('x')], 0)
    await file.datasync()
    expect(file.writeNow([Buffer.from('y')], 1)).toBe(1)
    expect(file.datasyncNow()).toBe(true)
    // A running read continues with the old descriptor, which is closed when the read ends.
    expect(countOf(fileSystem, 'close')).toBe(0)
    end()
    expect((await reading).sizeBytes).toBe(3)
    expect(countOf(fileSystem, 'close')).toBe(1)
    expect(fileSystem.readFile('/d/x')).toEqual(Buffer.from('xyc'))
    await file.close()
    expect([countOf(fileSystem, 'open'), countOf(fileSystem, 'close')]).toEqual([2, 2])
  })
})
