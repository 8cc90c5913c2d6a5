import Module from 'node:module'
import { expect, it, onTestFinished, vi } from 'vitest'
import { systemError } from '../../lib/platform/system-error.ts'

it.each([
  ['proper-lockfile', 'lock'],
  ['fs-extra', 'ensureDir'],
])(
  '%s can be loaded after a first attempt failed, for example for lack of a descriptor',
  async (name, member) => {
    vi.resetModules()
    const modules = await import('../../lib/platform/foreign-modules.ts')
    const load = name === 'fs-extra' ? modules.loadFsExtra : modules.loadProperLockfile
    // The function that every require of Node.js calls.
    const loader = vi.spyOn(Module as unknown as { _load: () => unknown }, '_load')
    onTestFinished(() => {
      loader.mockRestore()
    })
    loader.mockImplementationOnce(() => {
      throw systemError('EMFILE', 'open', 'index.js', 'too many open files')
    })
    await expect(load()).rejects.toMatchObject({ code: 'EMFILE' })
    expect(await load()).toHaveProperty(member)
  },
)
