import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import {
  LockLostError,
  RecordTooLargeError,
  StorageError,
  UnknownTopicOrPartitionError,
} from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openLogManager } from '../helpers/log-managers.ts'

describe('a topic whose commits cannot be deleted', () => {
  it.each([
    ['for want of room', 'write', 'ENOSPC'],
    ['because a sync fails', 'datasync', 'EIO'],
  ] as const)(
    'is deleted, and its deletion reports that it is not completely removed: %s',
    async (_, call, code) => {
      const fileSystem = new SimulatedFileSystem()
      const broker = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
      const topic = await broker.createTopic('t')
      await topic.partition(0).append({ value: 'a' })
      await broker.consumer({ groupId: 'g' }).commit([{ topic: 't', partition: 0, offset: 1 }])
      fileSystem.failNext(call, code, { path: /__consumer_offsets/ })
      const deleting = broker.deleteTopic('t')
      await expect(deleting).rejects.toThrow(StorageError)
      await expect(deleting).rejects.toThrow(
        /^topic 't' is deleted, but not completely removed yet/,
      )
      await expect(deleting).rejects.toMatchObject({
        outcome: 'unknown',
        cause: { code: 'STORAGE_ERROR' },
      })
      expect(() => broker.topic('t')).toThrow(UnknownTopicOrPartitionError)
      await broker.close().catch(() => undefined)
      const again = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
      expect(again.topics()).toEqual([])
      await again.close()
    },
  )
})

describe('a topic whose deletion is interrupted by a crash', () => {
  const T0 = { topic: 't', partition: 0 }

  function open(fileSystem: SimulatedFileSystem): Promise<Broker> {
    return Broker.open('/data', { fileSystem, clock: new ManualClock() })
  }

  async function consumed(): Promise<SimulatedFileSystem> {
    const fileSystem = new SimulatedFileSystem()
    const broker = await open(fileSystem)
    const topic = await broker.createTopic('t')
    await topic.partition(0).append({ value: 'a' })
    await broker.consumer({ groupId: 'g' }).commit([{ ...T0, offset: 1 }])
    await broker.close()
    return fileSystem
  }

  it('exists with all of its commits or is gone with them, even if the next open crashes too', async () => {
    const start = await consumed()
    for (let at = 1; ; at += 1) {
      const disk = start.fork({ seed: at })
      const broker = await open(disk)
      disk.crashAt(at, { when: at % 2 === 0 ? 'before' : 'torn' })
      await broker.deleteTopic('t').catch(() => undefined)
      if (!disk.crashed) {
        expect(at).toBeGreaterThan(8)
        return
      }
      for (let again = 1 + (at % 23); ; again += 23) {
        const next = disk.restart(at % 3 === 0 ? 'process' : 'power', { seed: at })
        next.crashAt(again, { when: 'before' })
        await open(next).catch(() => undefined)
        const { crashed } = next
        const last = next.restart(crashed ? 'power' : 'process', { seed: again })
        const found = await open(last)
        const isThere = found.topics().length > 0
        const trace = `crash at ${at}, and at ${again} of the open`
        expect(found.describe().groups, trace).toHaveLength(isThere ? 1 : 0)
        expect(listOf(last).includes('"t"'), trace).toBe(isThere)
        await found.close()
        if (!crashed) break
      }
    }
  })

  it('is gone with its commits after the next open that has room to write', async () => {
    const disk = await consumed()
    const broker = await open(disk)
    disk.failNext('write', 'ENOSPC', { path: /__consumer_offsets/, persistent: true })
    await expect(broker.deleteTopic('t')).rejects.toMatchObject({ outcome: 'unknown' })
    await broker.close().catch(() => undefined)
    const full = await open(disk)
    expect([full.topics(), full.describe().groups.length]).toEqual([[], 1])
    await full.close().catch(() => undefined)
    disk.clearFaults()
    const roomy = await open(disk)
    expect(roomy.describe().groups).toEqual([])
    await roomy.close()
    expect(listOf(disk)).not.toContain('"t"')
  })
})

/** The list of topics, as text. */
function listOf(fileSystem: SimulatedFileSystem): string {
  return fileSystem.snapshot().get('/data/varve-topics')?.toString('utf8') ?? ''
}

/** The machine before the first sync of a directory at which the list of topics is as requested. */
async function stopped(
  fileSystem: SimulatedFileSystem,
  isWanted: (list: string) => boolean,
  run: () => Promise<unknown>,
): Promise<SimulatedFileSystem> {
  const found: SimulatedFileSystem[] = []
  fileSystem.observe(({ kind }) => {
    if (kind === 'syncDirectory' && isWanted(listOf(fileSystem))) found.push(fileSystem.fork())
  })
  await run()
  fileSystem.observe(null)
  const [first] = found
  if (first === undefined) throw new Error('the list never was as wanted')
  return first
}

/** A machine that was killed while the list of topics had the topic `t` in a state. */
async function killedWhile(state: 'creating' | 'deleting'): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem()
  const manager = await openLogManager(fileSystem)
  const run = async (): Promise<void> => {
    await manager.create('t', 2, {})
    await manager.delete('t')
  }
  const isMade = (): boolean => fileSystem.snapshot().has('/data/t-1/partition.metadata')
  const found = await stopped(fileSystem, (list) => list.includes(state) && isMade(), run)
  return found.restart('process')
}

describe('a topic that is no longer in the list of topics', () => {
  it.each([
    ['creation that is taken back', 'creating', true],
    ['deletion that is finished', 'deleting', true],
    ['finished deletion of directories that do not say whose they are', 'deleting', false],
  ] as const)(
    'has no directory, whatever a power loss keeps of a %s',
    async (_, state, isNamed) => {
      const disk = await killedWhile(state)
      for (const path of isNamed ? [] : ['/data/t-0', '/data/t-1']) {
        await disk.unlink(`${path}/partition.metadata`)
        await disk.syncDirectory(path)
      }
      const isForgotten = (list: string): boolean => list !== '' && !list.includes('"t"')
      const left = await stopped(disk, isForgotten, () => openLogManager(disk))
      const found: string[] = []
      for (let seed = 0; seed < 60; seed += 1) {
        const after = left.fork().restart('power', { seed })
        if (!isForgotten(listOf(after))) continue
        found.push(...(await after.list('/data')).map(({ name }) => name))
        const manager = await openLogManager(after)
        await manager.create('t', 2, {})
      }
      expect(new Set(found)).toEqual(new Set(found.filter((name) => !name.startsWith('t-'))))
      expect(found.length).toBeGreaterThan(10)
    },
  )
})

describe('a topic in the list of topics', () => {
  it.each([
    ['a creation', 2],
    ['an addition of partitions', 4],
  ])('has all its directories, whatever a power loss keeps of %s', async (what, count) => {
    const disk = new SimulatedFileSystem()
    const manager = await openLogManager(disk)
    const topic = what === 'a creation' ? null : await manager.create('t', 2, {})
    const run = (): Promise<unknown> =>
      topic?.addPartitions(count) ?? manager.create('t', count, {})
    const isMade = (list: string): boolean =>
      list.includes(`"partitionCount":${count},"state":"active"`)
    const left = await stopped(disk, isMade, run)
    let made = 0
    for (let seed = 0; seed < 60; seed += 1) {
      const after = left.fork().restart('power', { seed })
      if (!isMade(listOf(after))) continue
      made += 1
      const names = (await after.list('/data')).map(({ name }) => name)
      expect(names.filter((name) => name.startsWith('t-'))).toHaveLength(count)
    }
    expect(made).toBeGreaterThan(10)
  })
})

describe('a deletion that is recorded in the list of topics', () => {
  it.each([
    [new RecordTooLargeError(80, 1, 'maxMessageBytes'), StorageError],
    [new LockLostError('/data', 'another owner may have taken it', 'not-written'), LockLostError],
  ])('rejects with an unknown outcome, whatever the cause: %s', async (cause, kind) => {
    const fileSystem = new SimulatedFileSystem()
    let failure: Error | null = null
    const forgetTopic = (): Promise<void> =>
      failure === null ? Promise.resolve() : Promise.reject(failure)
    const manager = await openLogManager(fileSystem, { forgetTopic })
    await manager.create('t', 1, {})
    failure = cause
    const deleting = manager.delete('t')
    await expect(deleting).rejects.toThrow(kind)
    await expect(deleting).rejects.toMatchObject({ outcome: 'unknown', cause })
    expect(manager.get('t')).toBeUndefined()
    failure = null
    await manager.delete('t')
    await expect(manager.delete('t')).rejects.toThrow(UnknownTopicOrPartitionError)
  })
})
