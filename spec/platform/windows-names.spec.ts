import { describe, expect, it } from 'vitest'
import { systemError } from '../../lib/platform/system-error.ts'
import { nameBefore, WindowsNames, type NameChanges } from '../../lib/platform/windows-names.ts'

/** Changes of which the first `failures` calls fail with `code`. */
function scene(failures: number, code = 'EPERM') {
  const calls: string[] = []
  const waitsMs: number[] = []
  const change = (call: string): Promise<void> => {
    calls.push(call)
    if (calls.length > failures) return Promise.resolve()
    return Promise.reject(systemError(code, 'rename', '/a', 'it is open'))
  }
  const changes: NameChanges = {
    rename: (from, to) => change(`rename ${from} ${to}`),
    unlink: (path) => change(`unlink ${path}`),
    removeDirectory: (path) => change(`rmdir ${path}`),
  }
  const wait = (delayMs: number): Promise<void> => {
    waitsMs.push(delayMs)
    return Promise.resolve()
  }
  return {
    names: new WindowsNames(changes, wait, () => Buffer.from('c0ffee11', 'hex')),
    calls,
    waitsMs,
  }
}

describe('WindowsNames', () => {
  it.each(['EPERM', 'EACCES', 'EBUSY'])('retries a change that fails with %s', async (code) => {
    const { names, calls, waitsMs } = scene(3, code)
    await names.rename('/a', '/b')
    expect(calls).toEqual(Array(4).fill('rename /a /b'))
    expect(waitsMs).toEqual([1, 2, 4])
  })

  it('gives up after a second', async () => {
    const { names, calls, waitsMs } = scene(Infinity)
    await expect(names.removeDirectory('/a')).rejects.toMatchObject({ code: 'EPERM' })
    expect(calls).toHaveLength(11)
    expect(waitsMs.reduce((sum, each) => sum + each)).toBe(1023)
  })

  it.each(['ENOENT', 'ENOSPC', 'EIO', 'ENOTEMPTY'])(
    'does not retry a change that fails with %s',
    async (code) => {
      const { names, calls } = scene(Infinity, code)
      await expect(names.rename('/a', '/b')).rejects.toMatchObject({ code })
      await expect(names.unlink('/a')).rejects.toMatchObject({ code })
      await expect(names.removeDirectory('/a')).rejects.toMatchObject({ code })
      expect(calls).toHaveLength(3)
    },
  )

  it('renames a file before it removes it', async () => {
    const { names, calls } = scene(0)
    await names.unlink('/0.log')
    expect(calls).toEqual([
      'rename /0.log /0.log.c0ffee11.deleted',
      'unlink /0.log.c0ffee11.deleted',
    ])
  })

  it('counts a file as removed once it is renamed, even if its removal fails', async () => {
    const changes: NameChanges = {
      rename: () => Promise.resolve(),
      unlink: (path) => Promise.reject(systemError('EPERM', 'unlink', path, 'it is being removed')),
      removeDirectory: () => Promise.resolve(),
    }
    const names = new WindowsNames(
      changes,
      () => Promise.resolve(),
      (count) => Buffer.alloc(count),
    )
    await names.unlink('/0.log')
    await expect(names.unlink('/0.log.00000000.deleted')).rejects.toMatchObject({ code: 'EPERM' })
  })

  it('retries another call for the given error codes', async () => {
    const { names } = scene(0)
    let calls = 0
    const call = (): string => {
      calls += 1
      if (calls < 3) throw systemError('EBUSY', 'open', '/a', 'it is open')
      return 'opened'
    }
    expect(await names.whileBusy(call, ['EBUSY'])).toBe('opened')
    calls = 0
    await expect(names.whileBusy(call, ['EPERM'])).rejects.toMatchObject({ code: 'EBUSY' })
  })

  it.each([
    ['0.log.c0ffee11.deleted', '0.log'],
    ['0.log.deleted', '0.log.deleted'],
    ['0.log.c0ffee1.deleted', '0.log.c0ffee1.deleted'],
    ['0.log', '0.log'],
  ])('returns the former name of %s: %s', (name, before) => {
    expect(nameBefore(name)).toBe(before)
  })
})
