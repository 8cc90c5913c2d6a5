import { describe, expect, it } from 'vitest'
import { systemError } from '../../lib/platform/system-error.ts'
import { InDoubtError, inDoubt, LogGoneError, orInDoubt } from '../../lib/storage/in-doubt-error.ts'

const failing = (error: Error) => (): Promise<never> => Promise.reject(error)

describe.each([
  ['what cannot be taken back', inDoubt],
  ['what ends in a sync', orInDoubt],
])('%s', (_, run) => {
  it('gives what its task gives', async () => {
    expect(await run('a sync failed', () => Promise.resolve(7))).toBe(7)
  })

  it('leaves the disk in doubt when it fails, for the reason that it had', async () => {
    const cause = systemError('EIO', 'fdatasync', '/a', 'broken')
    const failure = await run('a sync failed', failing(cause)).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(InDoubtError)
    expect(failure).toMatchObject({ message: 'a sync failed', cause })
  })

  it('passes on what is in doubt already', async () => {
    const gone = new LogGoneError('/a')
    await expect(run('a sync failed', failing(gone))).rejects.toBe(gone)
  })
})

it('a file that could not be opened for a sync leaves nothing in doubt', async () => {
  const busy = systemError('EMFILE', 'open', '/a', 'too many files')
  await expect(orInDoubt('a sync failed', failing(busy))).rejects.toBe(busy)
  await expect(inDoubt('a removal failed', failing(busy))).rejects.toBeInstanceOf(InDoubtError)
})

it('what is in doubt inside stays so, also where nothing could be opened there', async () => {
  const busy = systemError('EMFILE', 'open', '/a', 'too many files')
  const inner = (): Promise<never> => inDoubt('a removal failed', failing(busy))
  await expect(orInDoubt('a sync failed', inner)).rejects.toMatchObject({
    message: 'a removal failed',
    cause: busy,
  })
})
