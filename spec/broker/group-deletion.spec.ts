import { afterEach, expect, it, vi } from 'vitest'
import { Broker, GroupNotEmptyError, StorageError } from '../../lib/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { withoutTurns } from '../helpers/held-turns.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

const PLACE = { topic: 'jobs', partition: 0 }

async function open(fileSystem = new SimulatedFileSystem()): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock: new ManualClock() })
}

async function withJobs(fileSystem?: SimulatedFileSystem): Promise<Broker> {
  const broker = await open(fileSystem)
  await broker.createTopic('jobs', { retention: 'consumed' })
  await broker
    .topic('jobs')
    .partition(0)
    .append([{ value: 'a' }, { value: 'b' }])
  return broker
}

async function commit(broker: Broker, groupId: string, offset: number): Promise<void> {
  await using consumer = broker.consumer({ groupId, enableAutoCommit: false })
  await consumer.commit([{ ...PLACE, offset }])
}

async function committed(broker: Broker, groupId: string): Promise<number | null> {
  await using consumer = broker.consumer({ groupId, enableAutoCommit: false })
  return (await consumer.committed(PLACE))?.offset ?? null
}

it('deletes a group durably, and keeps the others', async () => {
  const fileSystem = new SimulatedFileSystem()
  // Never closed: the power fails.
  const before = await withJobs(fileSystem)
  await commit(before, 'mail', 1)
  await commit(before, 'billing', 2)
  await before.deleteGroup('mail')
  expect(before.describe().groups.map(({ groupId }) => groupId)).toEqual(['billing'])
  await using after = await open(fileSystem.restart('power', { unsynced: 'lost', seed: 1 }))
  expect(await committed(after, 'mail')).toBeNull()
  expect(await committed(after, 'billing')).toBe(2)
})

it('also deletes a commit that is still in progress', async () => {
  await using broker = await withJobs()
  const first = commit(broker, 'mail', 1)
  await first
  const second = commit(broker, 'mail', 2)
  await Promise.all([second, broker.deleteGroup('mail')])
  await broker.deleteGroup('mail').catch(() => undefined)
  expect(await committed(broker, 'mail')).toBeNull()
})

it('is refused if a member joins while it waits, which continues from the committed offset', async () => {
  withoutTurns()
  const fileSystem = new SimulatedFileSystem({ completion: 'awaited' })
  await using broker = await withJobs(fileSystem)
  await commit(broker, 'mail', 1)
  const committing = commit(broker, 'mail', 1)
  const deleting = broker.deleteGroup('mail')
  await using consumer = broker.consumer({ groupId: 'mail', autoOffsetReset: 'latest' })
  consumer.subscribe(['jobs'])
  const polling = consumer.poll({ maxWaitMs: 0 })
  await committing
  await expect(deleting).rejects.toThrow(GroupNotEmptyError)
  expect((await polling).map(({ offset }) => offset)).toEqual([1])
  expect(await committed(broker, 'mail')).toBe(1)
})

it('leaves the committed offset unchanged if it fails', async () => {
  const fileSystem = new SimulatedFileSystem()
  await using broker = await withJobs(fileSystem)
  await commit(broker, 'mail', 1)
  fileSystem.failNext('write', 'ENOSPC')
  await expect(broker.deleteGroup('mail')).rejects.toThrow(StorageError)
  expect(await committed(broker, 'mail')).toBe(1)
})

it('lets consumed records be deleted that only the deleted group had not consumed', async () => {
  await using broker = await withJobs()
  await commit(broker, 'gone', 0)
  await commit(broker, 'mail', 2)
  const partition = broker.topic('jobs').partition(0)
  await partition.enforceRetention()
  expect(partition.logStartOffset).toBe(0)
  await broker.deleteGroup('gone')
  await partition.enforceRetention()
  expect(partition.logStartOffset).toBe(2)
})

it('rejects while the group has members, for an unknown or empty id, and in a read-only broker', async () => {
  const fileSystem = new SimulatedFileSystem()
  await using broker = await withJobs(fileSystem)
  await using consumer = broker.consumer({ groupId: 'mail' })
  consumer.subscribe(['jobs'])
  await consumer.poll({ maxWaitMs: 0 })
  await expect(broker.deleteGroup('mail')).rejects.toMatchObject({
    code: 'GROUP_NOT_EMPTY',
    groupId: 'mail',
  })
  await expect(broker.deleteGroup('nobody')).rejects.toMatchObject({ code: 'GROUP_ID_NOT_FOUND' })
  await expect(broker.deleteGroup('')).rejects.toMatchObject({ code: 'INVALID_GROUP_ID' })
  await using reader = await Broker.open('/data', { fileSystem, readOnly: true })
  await expect(reader.deleteGroup('mail')).rejects.toMatchObject({ code: 'READ_ONLY' })
})
