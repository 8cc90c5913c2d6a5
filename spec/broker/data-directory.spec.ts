import { afterEach, describe, expect, it, vi } from 'vitest'
import { nextTurn } from '../../lib/platform/event-loop.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DATA } from '../crash/broker-session.ts'
import { eventually } from '../helpers/eventually.ts'

afterEach(() => {
  vi.restoreAllMocks()
  vi.resetModules()
})

describe('an open that waits for its lock', () => {
  /** Opens a directory in a process that has not computed a checksum yet. */
  async function openingAnew({ readOnly }: { readOnly: boolean }) {
    vi.resetModules()
    const { Crc32cFolder } = await import('../../lib/record/crc32c-folder.ts')
    const creating = vi.spyOn(Crc32cFolder, 'create')
    const { DataDirectory } = await import('../../lib/broker/data-directory.ts')
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory(DATA)
    let grant = (): void => undefined
    const granted = new Promise<void>((resolve) => {
      grant = resolve
    })
    const lock = fileSystem.lock.bind(fileSystem)
    vi.spyOn(fileSystem, 'lock').mockImplementation((path) => granted.then(() => lock(path)))
    const random = new SeededRandom(1)
    const options = { fileSystem, random, readOnly, allowSharedDirectory: false }
    return { creating, grant, opening: DataDirectory.open(DATA, options) }
  }

  it('prepares the checksum of batches meanwhile', async () => {
    const { creating, grant, opening } = await openingAnew({ readOnly: false })
    await eventually(() => {
      expect(creating).toHaveBeenCalledTimes(1)
    })
    grant()
    const data = await opening
    await data.close(true)
    expect(creating).toHaveBeenCalledTimes(1)
  })

  it('prepares no checksum if it is for reading only, and there is no lock to wait for', async () => {
    const { creating, opening } = await openingAnew({ readOnly: true })
    const data = await opening
    await nextTurn()
    await data.close(false)
    expect(creating).not.toHaveBeenCalled()
  })
})
