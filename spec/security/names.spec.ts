import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { InvalidTopicError } from '../../lib/errors.ts'
import type { FileStat } from '../../lib/platform/file-system.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { RecordingFileSystem } from './recording-file-system.ts'

const clock = new ManualClock(0)

/** A disk on which `Orders` and `orders` are one name. */
class CaseInsensitiveDisk extends SimulatedFileSystem {
  override open(path: string, ...rest: [never]): ReturnType<SimulatedFileSystem['open']> {
    return super.open(path.toLowerCase(), ...rest)
  }

  override stat(path: string): Promise<FileStat | null> {
    return super.stat(path.toLowerCase())
  }

  override list(path: string): ReturnType<SimulatedFileSystem['list']> {
    return super.list(path.toLowerCase())
  }

  override createDirectory(path: string): Promise<string[]> {
    return super.createDirectory(path.toLowerCase())
  }

  override rename(from: string, to: string): Promise<void> {
    return super.rename(from.toLowerCase(), to.toLowerCase())
  }

  override syncDirectory(path: string): Promise<void> {
    return super.syncDirectory(path.toLowerCase())
  }
}

describe('a topic name', () => {
  it.each([
    ...['', '.', '..', '../x', '/etc/x', 'a/b', 'a\\b', '..\\x', 'C:\\x', 'a:b', '%2e%2e', '%2F'],
    ...['a\0b', 'a\nb', 'a b', ' ', '\u202ea', 'caf\u00e9', 'cafe\u0301', '\u00c5', '\u212b'],
    ...['\u{1f600}', 'a*', 'a?', '~', '$HOME', '`x`', 'a;b', 'a\ud800', 'x'.repeat(250)],
  ])('is rejected before anything is created: %j', async (name) => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await Broker.open('/data', { fileSystem, clock })
    const before = fileSystem.operationCount
    await expect(broker.createTopic(name)).rejects.toThrow(InvalidTopicError)
    expect(() => broker.topic(name)).toThrow(InvalidTopicError)
    await expect(broker.deleteTopic(name)).rejects.toThrow(InvalidTopicError)
    expect(fileSystem.operationCount).toBe(before)
    await broker.close()
  })

  it.each([
    '__proto__',
    'constructor',
    'hasOwnProperty',
    '-rf',
    '--',
    '...',
    '..a',
    '-',
    '_',
    'CON',
  ])('is accepted like any other: %j', async (name) => {
    const fileSystem = new RecordingFileSystem(new SimulatedFileSystem())
    const broker = await Broker.open('/data', { fileSystem, clock })
    const topic = await broker.createTopic(name)
    await topic.partition(0).append({ value: 'v', headers: [{ key: '__proto__', value: 'h' }] })
    const consumer = broker.consumer({ groupId: '__proto__', enableAutoCommit: false })
    consumer.assign([{ topic: name, partition: 0 }])
    await consumer.commit([{ topic: name, partition: 0, offset: 1 }])
    await broker.close()
    const again = await Broker.open('/data', { fileSystem, clock })
    const [record] = await again.topic(name).partition(0).read(0)
    expect(record?.headers).toEqual([{ key: '__proto__', value: Buffer.from('h') }])
    expect(again.topics().map((each) => each.name)).toEqual([name])
    expect(again.describe().groups.map((group) => group.groupId)).toEqual(['__proto__'])
    expect(Object.hasOwn(Object.prototype, '0')).toBe(false)
    await again.deleteTopic(name)
    expect(again.topics()).toEqual([])
    await again.close()
    for (const path of fileSystem.changed) expect(path).toMatch(/^\/data(\/|$)/)
  })

  it('is rejected if it differs from another only in case and the file system ignores case', async () => {
    const broker = await Broker.open('/data', { fileSystem: new CaseInsensitiveDisk(), clock })
    const orders = await broker.createTopic('orders')
    await orders.partition(0).append({ value: 'kept' })
    await expect(broker.createTopic('Orders')).rejects.toThrow(
      "it differs from 'orders' only in case, which this directory's file system ignores",
    )
    expect(await orders.partition(0).read(0)).toHaveLength(1)
    await broker.close()
  })

  it('is accepted if it differs from another only in case and the file system distinguishes case', async () => {
    const broker = await Broker.open('/data', { fileSystem: new SimulatedFileSystem(), clock })
    await broker.createTopic('orders')
    await broker.createTopic('Orders')
    expect(broker.topics()).toHaveLength(2)
    await broker.close()
  })
})

describe('a group id', () => {
  it.each(['../../x', '/etc/passwd', '__proto__', '-rf', 'a\0b', '%2e%2e', 'caf\u00e9', 'x\\y'])(
    'never becomes part of a path: %j',
    async (groupId) => {
      const fileSystem = new RecordingFileSystem(new SimulatedFileSystem())
      const broker = await Broker.open('/data', { fileSystem, clock })
      await broker.createTopic('orders')
      const consumer = broker.consumer({ groupId, enableAutoCommit: false })
      consumer.assign([{ topic: 'orders', partition: 0 }])
      await consumer.commit([{ topic: 'orders', partition: 0, offset: 0 }])
      await broker.close()
      for (const path of fileSystem.changed) {
        expect(path).toMatch(/^\/data(\/((orders|__consumer_offsets)-0(\/.+)?|[a-z._-]+))?$/)
      }
    },
  )
})
