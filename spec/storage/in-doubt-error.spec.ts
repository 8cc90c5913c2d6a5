import { describe, expect, it } from 'vitest'
import { systemError } from '../../lib/platform/system-error.ts'
import { InDoubtError, inDoubt, LogGoneError, orInDoubt } from '../../lib/storage/in-doubt-error.ts'

const failing = (error: Error) => (): Promise<never> => Promise.reject(error)

describe.each([
  ['what cannot be taken back', inDoubt],
  ['what ends in a sync', orInDoubt],
])('%s', (_, run) => {
  it('returns the result of its task', async () => {
    expect(await run('a sync failed', () => Promise.resolve(7))).toBe(7)
  })

  it('rejects with InDoubtError, with the original cause, if its task fails', async () => {
    const cause = systemError('EIO', 'fdatasync', '/a', 'broken')
    const failure = await run('a sync failed', failing(cause)).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(InDoubtError)
    expect(failure).toMatchObject({ message: 'a sync failed', cause })
  })

  it('passes an error on that already leaves the disk in doubt', async () => {
    const gone = new LogGoneError('/a')
    await expect(run('a sync failed', failing(gone))).rejects.toBe(gone)
  })
})

it('leaves nothing in doubt if a file cannot be opened for a sync', async () => {
  const busy = systemError('EMFILE', 'open', '/a', 'too many files')
  await expect(orInDoubt('a sync failed', failing(busy))).rejects.toBe(busy)
  await expect(inDoubt('a removal failed', failing(busy))).rejects.toBeInstanceOf(InDoubtError)
})

it('passes on an InDoubtError of an inner task, even if a file could not be opened there', async () => {
  const busy = systemError('EMFILE', 'open', '/a', 'too many files')
  const inner = (): Promise<never> => inDoubt('a removal failed', failing(busy))
  await expect(orInDoubt('a sync failed', inner)).rejects.toMatchObject({
    message: 'a removal failed',
    cause: busy,
  })
})
