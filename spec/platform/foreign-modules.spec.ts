import { execFileSync } from 'node:child_process'
import Module from 'node:module'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { systemError } from '../../lib/platform/system-error.ts'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import { temporaryDirectory } from './temporary-directory.ts'

function failNextRequire(): void {
  // The function that every require of Node.js calls.
  const loader = vi.spyOn(Module as unknown as { _load: () => unknown }, '_load')
  onTestFinished(() => {
    loader.mockRestore()
  })
  loader.mockImplementationOnce(() => {
    throw systemError('EMFILE', 'open', 'index.js', 'too many open files')
  })
}

it.each([
  ['proper-lockfile', 'lock'],
  ['fs-extra', 'ensureDir'],
])(
  '%s can be loaded after a first attempt failed, for example for lack of a descriptor',
  async (name, member) => {
    vi.resetModules()
    const modules = await import('../../lib/platform/foreign-modules.ts')
    const load = name === 'fs-extra' ? modules.loadFsExtra : modules.loadProperLockfile
    failNextRequire()
    await expect(load()).rejects.toMatchObject({ code: 'EMFILE' })
    expect(await load()).toHaveProperty(member)
  },
)

it('fs-extra is loaded for a new directory even if a file has to be closed for that', async () => {
  vi.resetModules()
  const { NodeFileSystem } = await import('../../lib/platform/node-file-system.ts')
  const { openFilesOf } = await import('../../lib/platform/open-files.ts')
  const fileSystem = new NodeFileSystem()
  let isParked = false
  const park = (): Promise<void> => {
    isParked = true
    return Promise.resolve()
  }
  const idle = { isOpen: true, isIdle: true, takeUse: () => false, park }
  void openFilesOf(fileSystem).opened(idle)
  const path = join(await temporaryDirectory(), 'a')
  failNextRequire()
  expect(await fileSystem.createDirectory(path)).toEqual([path])
  expect(isParked).toBe(true)
})

/** Runs a script in a process of few descriptors. @returns what it writes, as JSON */
function runWithFewDescriptors(source: string): unknown {
  const script = `
    import fs from 'node:fs'
    const held = []
    function leave(count) {
      try {
        for (;;) held.push(fs.openSync('/dev/null', 'r'))
      } catch {}
      for (const fd of held.splice(0, count)) fs.closeSync(fd)
    }
    const codeOf = (error) => error.code
    ${source}
  `
  const args = [process.execPath, '--input-type=module', '--eval', script]
  const output = execFileSync('sh', ['-c', 'ulimit -n 128 && exec "$0" "$@"', ...args])
  return JSON.parse(output.toString('utf8'))
}

describe.runIf(process.platform !== 'win32')('a process without enough descriptors', () => {
  it.each([
    ['proper-lockfile', 'loadProperLockfile', 'lock'],
    ['fs-extra', 'loadFsExtra', 'ensureDir'],
  ])('can load %s once there are some', (_name, load, member) => {
    for (const count of [0, 4]) {
      const found = runWithFewDescriptors(`
        import { ${load} as load } from ${JSON.stringify(compiledUrl('platform/foreign-modules.ts'))}
        leave(${count})
        const first = await load().then(() => 'loaded', codeOf)
        leave(Infinity)
        console.log(JSON.stringify([first, Object.hasOwn(await load(), '${member}')]))
      `)
      expect(found, `${count} descriptors`).toEqual([count === 0 ? 'EMFILE' : 'loaded', true])
    }
  })

  it('creates no directory before it has loaded fs-extra, so that the call can be repeated', async () => {
    const dir = await temporaryDirectory()
    const found = runWithFewDescriptors(`
      import { NodeFileSystem } from ${JSON.stringify(compiledUrl('platform/node-file-system.ts'))}
      const fileSystem = new NodeFileSystem()
      const path = ${JSON.stringify(dir)} + '/a/b'
      leave(0)
      const first = await fileSystem.createDirectory(path).catch(codeOf)
      leave(Infinity)
      console.log(JSON.stringify([first, await fileSystem.createDirectory(path)]))
    `)
    expect(found).toEqual(['EMFILE', [`${dir}/a`, `${dir}/a/b`]])
  })
})
