import { expect, it } from 'vitest'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { closeLogManager, openLogManager } from '../helpers/log-managers.ts'

/** A directory of topics with one record each, left by a broker that was closed in order, or killed. */
async function diskOf(topics: number, end: 'closed' | 'killed'): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem()
  const manager = await openLogManager(fileSystem, { isClean: true })
  for (let each = 0; each < topics; each += 1) {
    const topic = await manager.create(`t-${each}`, 1, {})
    await topic.partition(0).append({ value: 'a' })
  }
  if (end === 'killed') return fileSystem.restart('process')
  await closeLogManager(manager)
  return fileSystem
}

/** How often an open asks for the names in the directory of all topics. */
async function listingsOf(fileSystem: SimulatedFileSystem, isClean: boolean): Promise<number> {
  let listings = 0
  fileSystem.observe(({ kind, path }) => {
    if (kind === 'list' && path === '/data') listings += 1
  })
  await openLogManager(fileSystem, { isClean })
  return listings
}

it.each(['closed', 'killed'] as const)(
  'an open asks for the names of all partitions as often for 40 topics as for 4 that were %s',
  async (end) => {
    const few = await listingsOf(await diskOf(4, end), end === 'closed')
    const many = await listingsOf(await diskOf(40, end), end === 'closed')
    expect(many).toBe(few)
    expect(few).toBeGreaterThan(0)
  },
)

/** Gives topics partitions that the list of topics does not name, as an addition that was cut short does. */
async function growUnseen(
  fileSystem: SimulatedFileSystem,
  names: readonly string[],
  total: number,
): Promise<void> {
  const manager = await openLogManager(fileSystem, { isClean: true })
  const listed = fileSystem.snapshot().get('/data/varve-topics') ?? Buffer.alloc(0)
  for (const name of names) await manager.get(name)?.addPartitions(total)
  await closeLogManager(manager)
  fileSystem.writeFile('/data/varve-topics', listed)
}

async function directories(fileSystem: SimulatedFileSystem): Promise<string[]> {
  const entries = await fileSystem.list('/data')
  return entries.filter(({ kind }) => kind === 'directory').map(({ name }) => name)
}

it('an open removes what was being added to some of many topics, and nothing of the others', async () => {
  const fileSystem = await diskOf(12, 'closed')
  const before = await directories(fileSystem)
  await growUnseen(fileSystem, ['t-3', 't-7', 't-11'], 4)
  const manager = await openLogManager(fileSystem)
  expect(await directories(fileSystem)).toEqual(before)
  const ends = manager.topics.map(({ partitions }) => partitions.map((each) => each.logEndOffset))
  expect(ends).toEqual(before.map(() => [1]))
})

it('an open goes on where what was being added to one of many topics cannot be removed', async () => {
  const fileSystem = await diskOf(6, 'closed')
  const before = await directories(fileSystem)
  await growUnseen(fileSystem, ['t-1', 't-4'], 2)
  fileSystem.failNext('unlink', 'EACCES', { persistent: true, path: /t-1-1/ })
  const manager = await openLogManager(fileSystem)
  expect(manager.topics.map(({ partitions }) => partitions.length)).toEqual(before.map(() => 1))
  expect(await directories(fileSystem)).toEqual([...before, 't-1-1'].sort())
})
