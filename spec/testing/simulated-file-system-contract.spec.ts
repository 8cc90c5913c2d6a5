import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { File, FileSystem, OpenMode } from '../../lib/platform/file-system.ts'
import { NodeFileSystem } from '../../lib/platform/node-file-system.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { fileSystemContract } from '../platform/file-system-contract.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'

fileSystemContract('SimulatedFileSystem', async () => {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/under/test')
  return { fileSystem, directory: '/under/test' }
})

fileSystemContract('SimulatedFileSystem with random completion', async () => {
  const fileSystem = new SimulatedFileSystem({ completion: 'random', persona: 'ext4' })
  await fileSystem.createDirectory('/under/test')
  return { fileSystem, directory: '/under/test' }
})

type Step =
  | {
      readonly call: 'write' | 'truncate'
      readonly path: string
      readonly mode: OpenMode
      readonly at: number
    }
  | { readonly call: 'rename'; readonly path: string; readonly to: string }
  | {
      readonly call: 'unlink' | 'removeDirectory' | 'list' | 'stat' | 'read'
      readonly path: string
    }
  | { readonly call: 'createDirectory'; readonly path: string }

const PATHS = ['a', 'b', 'a/a', 'a/b', 'b/a', 'a/a/a', '.']

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    call: fc.constantFrom('write' as const, 'truncate' as const),
    path: fc.constantFrom(...PATHS),
    mode: fc.constantFrom<OpenMode>('read', 'update', 'create', 'create-new'),
    at: fc.nat(20),
  }),
  fc.record({
    call: fc.constant('rename' as const),
    path: fc.constantFrom(...PATHS.slice(0, -1)),
    to: fc.constantFrom(...PATHS.slice(0, -1)),
  }),
  fc.record({
    call: fc.constantFrom('unlink' as const, 'removeDirectory' as const),
    path: fc.constantFrom(...PATHS.slice(0, -1)),
  }),
  fc.record({
    call: fc.constantFrom('list' as const, 'stat' as const, 'read' as const),
    path: fc.constantFrom(...PATHS),
  }),
  fc.record({ call: fc.constant('createDirectory' as const), path: fc.constantFrom(...PATHS) }),
)

async function perform(fs: FileSystem, directory: string, step: Step): Promise<unknown> {
  const path = join(directory, step.path)
  switch (step.call) {
    case 'write':
      return await withFile(fs, path, step.mode, (file) =>
        file.write([Buffer.from('content')], step.at),
      )
    case 'truncate':
      return await withFile(fs, path, step.mode, (file) => file.truncate(step.at))
    case 'read':
      return await withFile(fs, path, 'read', async (file) => {
        const buffer = Buffer.alloc(40)
        return [await file.read(buffer, 0), buffer.toString()]
      })
    case 'rename':
      await fs.rename(path, join(directory, step.to))
      return 'renamed'
    case 'stat': {
      const stat = await fs.stat(path)
      return stat?.kind === 'file' ? stat.sizeBytes : stat?.kind
    }
    case 'createDirectory': {
      const created = await fs.createDirectory(path)
      return created.map((it) => it.slice(directory.length))
    }
    case 'list':
      return await fs.list(path)
    case 'unlink':
    case 'removeDirectory':
      await fs[step.call](path)
      return 'removed'
  }
}

async function withFile(
  fs: FileSystem,
  path: string,
  mode: OpenMode,
  call: (file: File) => Promise<unknown>,
): Promise<unknown> {
  const file = await fs.open(path, mode)
  try {
    return await call(file)
  } finally {
    await file.close()
  }
}

async function outcome(call: Promise<unknown>): Promise<unknown> {
  try {
    return await call
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error
  }
}

describe.runIf(process.platform === 'linux')(
  'SimulatedFileSystem compared with the real disk',
  () => {
    it('returns the same results and rejects with the same errors', async () => {
      const root = await temporaryDirectory()
      const real = new NodeFileSystem()
      let run = 0
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
          run += 1
          const directory = join(root, String(run))
          await real.createDirectory(directory)
          const simulated = new SimulatedFileSystem()
          await simulated.createDirectory('/d')
          for (const [i, next] of steps.entries()) {
            const expected = await outcome(perform(real, directory, next))
            const found = await outcome(perform(simulated, '/d', next))
            expect({ i, found }).toEqual({ i, found: expected })
          }
        }),
        { numRuns: 150 },
      )
    })
  },
)
