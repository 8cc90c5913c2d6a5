import { expect, it } from 'vitest'
import { LogStateFiles } from '../../lib/storage/log-state.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import type { OperationKind } from '../../lib/testing/fault-plan.ts'
import { closeLogManager, openLogManager } from '../helpers/log-managers.ts'

/** A directory of topics with one record each, left by a clean close or a kill. */
async function diskOf(topics: number, end: 'closed' | 'killed'): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem()
  const manager = await openLogManager(fileSystem, { isClean: true })
  await fileSystem.syncDirectory('/')
  for (let each = 0; each < topics; each += 1) {
    const topic = await manager.create(`t-${each}`, 1, {})
    await topic.partition(0).append({ value: 'a' })
  }
  if (end === 'killed') return fileSystem.restart('process')
  await closeLogManager(manager)
  return fileSystem
}

/** How many file system operations an open makes. */
async function countOf(
  fileSystem: SimulatedFileSystem,
  isClean: boolean,
  kind: OperationKind,
  path: string,
): Promise<number> {
  let count = 0
  fileSystem.observe((operation) => {
    if (operation.kind === kind && operation.path === path) count += 1
  })
  await openLogManager(fileSystem, { isClean })
  fileSystem.observe(null)
  return count
}

it.each(['closed', 'killed'] as const)(
  'an open lists the data directory as often for 40 topics as for 4 that were %s',
  async (end) => {
    const few = await countOf(await diskOf(4, end), end === 'closed', 'list', '/data')
    const many = await countOf(await diskOf(40, end), end === 'closed', 'list', '/data')
    expect(many).toBe(few)
    expect(few).toBeGreaterThan(0)
  },
)

it('an open after a kill replaces the recovery point checkpoint once for 4 and for 40 topics, durably', async () => {
  for (const topics of [4, 40]) {
    const fileSystem = await diskOf(topics, 'killed')
    const path = '/data/recovery-point-offset-checkpoint'
    expect(await countOf(fileSystem, false, 'rename', `${path}.tmp`)).toBe(1)
    const disk = fileSystem.restart('power', { unsynced: 'lost' })
    const states = await new LogStateFiles(disk, '/data').read()
    expect([...states.values()]).toEqual(
      Array.from({ length: topics }, () => ({ recoveryPoint: 1, logStartOffset: 0 })),
    )
  }
})

it('an open after a kill that is itself interrupted anywhere loses no record of any topic', async () => {
  const fileSystem = await diskOf(3, 'killed')
  const disks: SimulatedFileSystem[] = []
  fileSystem.observe(() => {
    disks.push(fileSystem.fork())
  })
  await openLogManager(fileSystem)
  fileSystem.observe(null)
  expect(disks.length).toBeGreaterThan(50)
  for (const disk of disks) {
    const manager = await openLogManager(disk.restart('power', { unsynced: 'lost' }))
    const partitions = manager.topics.map((topic) => topic.partition(0))
    const found = partitions.map(({ log }) => [log.damage, log.logEndOffset])
    expect(found).toEqual(Array.from({ length: 3 }, () => [null, 1]))
  }
})

/** Gives topics partitions missing from the list of topics, as an interrupted addition does. */
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

it('an open removes partitions whose addition was interrupted, and no others', async () => {
  const fileSystem = await diskOf(12, 'closed')
  const before = await directories(fileSystem)
  await growUnseen(fileSystem, ['t-3', 't-7', 't-11'], 4)
  const manager = await openLogManager(fileSystem)
  expect(await directories(fileSystem)).toEqual(before)
  const ends = manager.topics.map(({ partitions }) => partitions.map((each) => each.logEndOffset))
  expect(ends).toEqual(before.map(() => [1]))
})

it('an open succeeds when a partition whose addition was interrupted cannot be removed', async () => {
  const fileSystem = await diskOf(6, 'closed')
  const before = await directories(fileSystem)
  await growUnseen(fileSystem, ['t-1', 't-4'], 2)
  fileSystem.failNext('unlink', 'EACCES', { persistent: true, path: /t-1-1/ })
  const manager = await openLogManager(fileSystem)
  expect(manager.topics.map(({ partitions }) => partitions.length)).toEqual(before.map(() => 1))
  expect(await directories(fileSystem)).toEqual([...before, 't-1-1'].sort())
})
