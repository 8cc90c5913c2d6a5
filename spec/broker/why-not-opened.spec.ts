import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Broker, StorageError } from '../../lib/index.ts'
import type { FileSystem } from '../../lib/platform/file-system.ts'
import { NodeFileSystem } from '../../lib/platform/node-file-system.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'

/** A directory that holds a file `file` and nothing else. */
type Place = () => Promise<{ fileSystem: FileSystem; dir: string }>

const PLACES: readonly [string, Place][] = [
  [
    'on a disk',
    async () => {
      const dir = await temporaryDirectory()
      await writeFile(join(dir, 'file'), 'x')
      return { fileSystem: new NodeFileSystem(), dir }
    },
  ],
  [
    'in a simulation',
    () => {
      const fileSystem = new SimulatedFileSystem()
      fileSystem.writeFile('/dir/file', Buffer.from('x'))
      return Promise.resolve({ fileSystem, dir: '/dir' })
    },
  ],
]

describe.each(PLACES)('Broker.open %s', (_, place) => {
  it('says that a file is not a directory', async () => {
    const { fileSystem, dir } = await place()
    const path = join(dir, 'file')
    const error: unknown = await Broker.open(path, { fileSystem }).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(StorageError)
    expect(error).toMatchObject({
      message: `${path} cannot be opened: it is not a directory`,
      cause: { code: 'EEXIST' },
    })
  })

  it('says that a reader needs a directory that a writer has created', async () => {
    const { fileSystem, dir } = await place()
    const path = join(dir, 'missing')
    const opening = Broker.open(path, { fileSystem, readOnly: true })
    const error: unknown = await opening.catch((e: unknown) => e)
    expect(error).toBeInstanceOf(StorageError)
    expect(error).toMatchObject({
      message:
        `${path} cannot be opened: there is no such directory, ` +
        'and only a broker that writes creates one',
      cause: { code: 'ENOENT' },
    })
  })
})
