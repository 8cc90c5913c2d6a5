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

describe('a topic of which the commits cannot be deleted', () => {
  it.each([
    ['for want of room', 'write', 'ENOSPC'],
    ['because a sync fails', 'datasync', 'EIO'],
  ] as const)('is gone all the same, and its deletion says so: %s', async (_, call, code) => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    const topic = await broker.createTopic('t')
    await topic.partition(0).append({ value: 'a' })
    await broker.consumer({ groupId: 'g' }).commit([{ topic: 't', partition: 0, offset: 1 }])
    fileSystem.failNext(call, code, { path: /__consumer_offsets/ })
    const deleting = broker.deleteTopic('t')
    await expect(deleting).rejects.toThrow(StorageError)
    await expect(deleting).rejects.toThrow(/^topic 't' is deleted and not all of it is removed yet/)
    await expect(deleting).rejects.toMatchObject({
      outcome: 'unknown',
      cause: { code: 'STORAGE_ERROR' },
    })
    expect(() => broker.topic('t')).toThrow(UnknownTopicOrPartitionError)
    await broker.close().catch(() => undefined)
    const again = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    expect(again.topics()).toEqual([])
    await again.close()
  })
})

describe('a deletion that is down in the list of topics', () => {
  it.each([
    [new RecordTooLargeError(80, 1, 'maxMessageBytes'), StorageError],
    [new LockLostError('/data', 'another owner may have taken it', 'not-written'), LockLostError],
  ])('is of unknown outcome whatever it fails with: %s', async (cause, kind) => {
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
