import { describe, expect, it } from 'vitest'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

async function written(): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/d')
  const file = await fileSystem.open('/d/a', 'create')
  await file.write([Buffer.from('abc')], 0)
  await file.close()
  return fileSystem
}

describe('the digest of a simulated disk', () => {
  it('is the same for equal disks, and for a fork', async () => {
    const fileSystem = await written()
    expect((await written()).digest()).toBe(fileSystem.digest())
    expect(fileSystem.fork().digest()).toBe(fileSystem.digest())
  })

  it.each<[string, (fileSystem: SimulatedFileSystem) => Promise<unknown>]>([
    ['a sync of a file', async (it) => (await it.open('/d/a', 'update')).datasync()],
    ['a sync of a directory', (it) => it.syncDirectory('/d')],
    ['a rename', (it) => it.rename('/d/a', '/d/b')],
    ['an unlink', (it) => it.unlink('/d/a')],
    [
      'the same bytes again',
      async (it) => (await it.open('/d/a', 'update')).write([Buffer.from('abc')], 0),
    ],
    [
      'a truncation to the present size',
      async (it) => (await it.open('/d/a', 'update')).truncate(3),
    ],
  ])('changes after %s', async (_, change) => {
    const fileSystem = await written()
    const before = fileSystem.digest()
    await change(fileSystem)
    expect(fileSystem.digest()).not.toBe(before)
  })

  it('does not change with reads', async () => {
    const fileSystem = await written()
    const before = fileSystem.digest()
    await (await fileSystem.open('/d/a', 'read')).read(Buffer.alloc(3), 0)
    await fileSystem.list('/d')
    expect(fileSystem.digest()).toBe(before)
  })

  it('differs between the outcomes of a power loss', async () => {
    const fileSystem = await written()
    const [kept, lost] = (['kept', 'lost'] as const).map((unsynced) =>
      fileSystem.restart('power', { unsynced }).digest(),
    )
    expect(kept).not.toBe(lost)
  })
})

describe('an observer of a simulated file system', () => {
  it('is called just before each operation takes effect, and may fork the file system there', async () => {
    const fileSystem = await written()
    const seen: [string, string | undefined][] = []
    fileSystem.observe(({ kind, path }) => {
      seen.push([kind, fileSystem.fork().snapshot().has(path) ? 'there' : 'not there'])
    })
    await fileSystem.rename('/d/a', '/d/b')
    await fileSystem.unlink('/d/b')
    fileSystem.observe(null)
    await fileSystem.list('/d')
    expect(seen).toEqual([
      ['rename', 'there'],
      ['unlink', 'there'],
    ])
    expect([...fileSystem.snapshot().keys()]).toEqual([])
  })
})
