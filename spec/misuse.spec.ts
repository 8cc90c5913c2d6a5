import { resolve } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { OffsetOutOfRangeError, UnsupportedCompressionTypeError } from '../lib/errors.ts'
import { checkPublished } from '../lib/offline/arguments.ts'
import { Log } from '../lib/storage/log.ts'
import { SeededRandom } from '../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../lib/testing/temp-broker.ts'
import { withoutZstd } from './helpers/missing-codec.ts'

async function setUp() {
  const broker = await tempBroker({ fileSystem: new SimulatedFileSystem() })
  const topic = await broker.createTopic('a')
  const partition = topic.partition(0)
  await partition.append([{ value: '0' }, { value: '1' }, { value: '2' }])
  return { broker, topic, partition }
}

describe('the validation of arguments', () => {
  it('rejects wrong booleans and unknown option names, and does nothing', async () => {
    const fileSystem = new SimulatedFileSystem()
    await expect(tempBroker({ fileSystem, readOnly: 'false' as never })).rejects.toThrow(TypeError)
    await expect(tempBroker({ fileSystem, clock: {} as never })).rejects.toThrow('clock must be')
    await expect(Log.open('/a-0', { fileSystem, readOnly: 0 as never })).rejects.toThrow(TypeError)
    expect(await fileSystem.stat('/varve')).toBeNull()
    expect(await fileSystem.stat('/a-0')).toBeNull()
    const { broker, partition } = await setUp()
    await expect(broker.createTopic('b', { ifNotExists: 1 as never })).rejects.toThrow(TypeError)
    expect(() => broker.producer({ lingerMS: 5 } as never)).toThrow("did you mean 'lingerMs'?")
    expect(() => broker.consumer({ groupID: 'g' } as never)).toThrow("did you mean 'groupId'?")
    await expect(partition.read(0, { minBytes: 1 } as never)).rejects.toThrow('read options')
    await expect(partition.fetch(0, { signal: {} as never })).rejects.toThrow('an AbortSignal')
    expect(broker.topics().map((topic) => topic.name)).toEqual(['a'])
    await broker.close()
  })

  it('rejects records with wrong or unknown fields, and stores nothing', async () => {
    const { broker, partition } = await setUp()
    const wrong = { topic: 'a', value: 'x', ky: 'k' }
    await expect(broker.producer().send(wrong)).rejects.toThrow("did you mean 'key'?")
    const records = [{ value: 'x' }, { value: 'x', header: {} } as never]
    await expect(partition.append(records)).rejects.toThrow("did you mean 'headers'?")
    const headers = Promise.resolve({}) as never
    await expect(partition.append({ value: 'x', headers })).rejects.toThrow('instance of Promise')
    const record = { value: 'x' }
    const others = [Promise.resolve(record), new Set([record]), [record].values(), Buffer.alloc(0)]
    for (const other of [...others, [Promise.resolve(record)]]) {
      const appending = partition.append(other as never)
      await expect(appending).rejects.toThrow('a record must be an object with key, value')
    }
    await expect(partition.append(Buffer.from('x') as never)).rejects.toThrow('in a record')
    expect(partition.logEndOffset).toBe(3)
    class Getters {
      get value() {
        return 'y'
      }
    }
    await partition.append(new Getters())
    await partition.append({})
    const stored = await partition.read(3)
    expect(stored.map(({ value }) => value?.toString())).toEqual(['y', undefined])
    await broker.close()
  })

  it('accepts relative paths of logs, which it resolves at once, and rejects empty ones', async () => {
    const fileSystem = new SimulatedFileSystem()
    const dir = resolve('a-0')
    const opening = Log.open('a-0', { fileSystem })
    // The process leaves the directory while the log is being opened.
    const leaving = vi.spyOn(process, 'cwd').mockReturnValue(resolve('/elsewhere'))
    const log = await opening.finally(() => {
      leaving.mockRestore()
    })
    expect(log.dir).toBe(dir)
    await log.append([{ value: 'v' }])
    await log.close()
    expect(await fileSystem.stat('/elsewhere')).toBeNull()
    const { recordCount } = await Log.salvage('a-0', 'b-0', { fileSystem })
    expect(recordCount).toBe(1)
    expect(await fileSystem.stat(resolve('b-0'))).toMatchObject({ kind: 'directory' })
    await expect(Log.salvage('', 'b-0', { fileSystem })).rejects.toThrow('dir must be a path')
    await expect(Log.salvage('a-0', '', { fileSystem })).rejects.toThrow('targetDir must be a path')
  })

  it('rejects a log path that is a file or lies below one, and leaves the file as it was', async () => {
    const fileSystem = new SimulatedFileSystem()
    fileSystem.writeFile('/file', Buffer.from('x'))
    for (const readOnly of [false, true]) {
      for (const path of ['/file', '/file/a-0']) {
        const opening = Log.open(path, { fileSystem, readOnly })
        await expect(opening).rejects.toMatchObject({ code: 'STORAGE_ERROR', path })
      }
    }
    expect(fileSystem.readFile('/file').toString()).toBe('x')
  })

  it('rejects compaction lags that contradict each other or the ones in force', async () => {
    const contradicts = 'minCompactionLagMs must be at most maxCompactionLagMs (5), got 6'
    const both = { minCompactionLagMs: 6, maxCompactionLagMs: 5 }
    const fileSystem = new SimulatedFileSystem()
    await expect(tempBroker({ fileSystem, defaults: both })).rejects.toThrow(contradicts)
    await expect(Log.open('/a-0', { fileSystem, config: both })).rejects.toThrow(contradicts)
    expect(await fileSystem.stat('/a-0')).toBeNull()
    const broker = await tempBroker({ fileSystem, defaults: { maxCompactionLagMs: 5 } })
    await expect(broker.createTopic('a', both)).rejects.toThrow(RangeError)
    await expect(broker.createTopic('a', { minCompactionLagMs: 6 })).rejects.toThrow(contradicts)
    const topic = await broker.createTopic('a', { minCompactionLagMs: 5 })
    await expect(topic.alter({ minCompactionLagMs: 6 })).rejects.toThrow(contradicts)
    await expect(topic.alter({ maxCompactionLagMs: 4 })).rejects.toThrow(RangeError)
    expect(topic.config).toMatchObject({ minCompactionLagMs: 5, maxCompactionLagMs: 5 })
    await topic.alter({ minCompactionLagMs: 6, maxCompactionLagMs: 6 })
    await broker.createTopic('b', { minCompactionLagMs: 5 })
    await broker.close()
    // With other defaults than before, it can still be opened, and its other options altered.
    const again = await tempBroker({ fileSystem, defaults: { maxCompactionLagMs: 4 } })
    await again.topic('b').alter({ retentionMs: 1000 })
    expect(again.topic('b').config.retentionMs).toBe(1000)
    await again.close()
  })

  it('rejects a wrong offset of any type in a read or a search by time', async () => {
    const { broker, partition } = await setUp()
    for (const wrong of [Symbol('s'), Object.create(null), '1', null]) {
      const reading = partition.read(wrong as never)
      await expect(reading).rejects.toThrow('offset must be a number, got')
      const searching = partition.log.offsetForTimestamp(0, wrong as never)
      await expect(searching).rejects.toThrow('endOffset must be a number, got')
    }
    for (const wrong of [-1, 1.5, Number.NaN, 2 ** 53]) {
      const searching = partition.log.offsetForTimestamp(0, wrong)
      await expect(searching).rejects.toThrow(`endOffset must be a whole number from 0 to`)
    }
    expect((await partition.log.offsetForTimestamp(0, 1))?.offset).toBe(0)
    await expect(tempBroker(null as never)).rejects.toThrow('must be a plain object, got null')
    await broker.close()
  })

  it('throws for a listener that was not awaited or has no method that would be called', async () => {
    const { broker } = await setUp()
    const consumer = broker.consumer({ groupId: 'g' })
    for (const wrong of [Promise.resolve({}), new Map(), new Uint8Array(1)]) {
      expect(() => {
        consumer.subscribe(['a'], wrong as never)
      }).toThrow('a listener must be an object with onPartitionsRevoked')
    }
    class Listener {
      onPartitionsAssigned() {
        // A method of a class is not enumerable: only a lookup by name finds it.
      }
    }
    consumer.subscribe(['a'], new Listener())
    await broker.close()
  })

  it('rejects an array with holes like one that contains undefined', async () => {
    const { broker } = await setUp()
    const consumer = broker.consumer({ groupId: 'g' })
    const withHole = <T>(...values: T[]): T[] => Object.assign(new Array<T>(1), { 1: values[0] })
    expect(() => {
      consumer.subscribe(withHole('a'))
    }).toThrow('topic must be a string of 1 to 249 characters, got undefined')
    expect(() => {
      consumer.subscribe(withHole())
    }).toThrow(TypeError)
    const place = { topic: 'a', partition: 0 }
    const committing = consumer.commit(withHole({ ...place, offset: 1 }))
    await expect(committing).rejects.toThrow(
      'an offset to commit must be a plain object, got undefined',
    )
    const looking = consumer.offsetsForTimes(withHole({ ...place, timestamp: 1 }))
    await expect(looking).rejects.toThrow('a query must be a plain object, got undefined')
    await expect(consumer.endOffsets(withHole(place))).rejects.toThrow('got undefined')
    expect(() => checkPublished(withHole({ startOffset: 0, endOffset: 1 }))).toThrow(
      'a published range must be { startOffset, endOffset }, got undefined',
    )
    await broker.close()
  })

  it('rejects an invalid partition number without creating the topic or calling the callback', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await tempBroker({ fileSystem, autoCreateTopics: true })
    const producer = broker.producer()
    for (const wrong of [-1, 1.5, Number.NaN, 100_000, '0', true]) {
      const record = { topic: 'new', value: 'v', partition: wrong as never }
      await expect(producer.send(record)).rejects.toThrow('partition must be a')
      expect(() => {
        producer.send(record, () => {
          throw new Error('called')
        })
      }).toThrow('partition must be a')
    }
    await producer.flush()
    expect(broker.topics()).toEqual([])
    await broker.close()
  })

  it('rejects appends to a read-only broker for every acks, even 0', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await tempBroker({ fileSystem })
    await broker.createTopic('a')
    const reader = await tempBroker({ fileSystem, readOnly: true })
    for (const acks of [0, 1, 'all'] as const) {
      const appending = reader.topic('a').partition(0).append({ value: 'v' }, { acks })
      await expect(appending).rejects.toMatchObject({ code: 'READ_ONLY' })
    }
    await reader.close()
    await broker.close()
  })

  it('throws for wrong options of a simulated file system, so that no test passes without its fault', () => {
    const make = (options: object) => () => new SimulatedFileSystem(options)
    expect(make({ capacity: 1 })).toThrow('unknown key "capacity" in simulation options')
    expect(make({ capacityBytes: -1 })).toThrow('capacityBytes must be')
    expect(make({ completion: 'Random' })).toThrow('completion must be one of')
    expect(make({ persona: 'btrfs' })).toThrow('persona must be one of')
    expect(make({ random: {} })).toThrow('random must be an object with')
    const fileSystem = new SimulatedFileSystem({ capacityBytes: Infinity })
    expect(() => (fileSystem.capacityBytes = 0.5)).toThrow('capacityBytes must be')
    expect(() => {
      fileSystem.failNext('fdatasync' as never, 'EIO')
    }).toThrow('kind must be one of')
    expect(() => {
      fileSystem.failAt(1, 'EIO', { always: true } as never)
    }).toThrow('fault options')
    expect(() => {
      fileSystem.failNext('sync', 'EIO', { path: 1 as never })
    }).toThrow('path must be')
    expect(() => {
      fileSystem.crashAt(1, { when: 'middle' as never })
    }).toThrow('when must be one of')
    expect(() => {
      fileSystem.crashAt(1, {} as never)
    }).toThrow('when must be one of')
    expect(() => fileSystem.restart('crash' as never)).toThrow('kind must be one of')
    expect(() => fileSystem.restart('power', { unsynced: 'all' as never })).toThrow('unsynced must')
    expect(() => fileSystem.fork({ sed: 1 } as never)).toThrow("did you mean 'seed'?")
    expect(fileSystem.crashed).toBe(false)
  })

  it('rejects a codec that is not available before anything uses it', async () => {
    const { broker, topic } = await setUp()
    withoutZstd()
    const compressionType = 'zstd'
    const error = UnsupportedCompressionTypeError
    await expect(broker.createTopic('b', { compressionType })).rejects.toThrow(error)
    await expect(topic.alter({ compressionType })).rejects.toThrow("'zstd' needs Node.js")
    expect(() => broker.producer({ compressionType })).toThrow(error)
    const fileSystem = new SimulatedFileSystem()
    await expect(tempBroker({ fileSystem, defaults: { compressionType } })).rejects.toThrow(error)
    expect(topic.config.compressionType).toBe('producer')
    await broker.close()
  })

  it('rejects an invalid range of records in the call or in the iteration', async () => {
    const { broker, partition } = await setUp()
    for (const from of [-1, 0.5, NaN]) {
      expect(() => partition.records({ from })).toThrow(RangeError)
    }
    expect(() => partition.records({ from: 2, until: 1 })).toThrow('at least from (2), got 1')
    await partition.deleteRecords(1)
    for (const from of [0, 4]) {
      const records = partition.records({ from, until: from === 0 ? 0 : 'end' })
      await expect(records.next()).rejects.toThrow(OffsetOutOfRangeError)
    }
    const atEnd = partition.records({ from: 3 }).next()
    await partition.append({ value: '3' })
    expect((await atEnd).value).toMatchObject({ offset: 3 })
    await broker.close()
  })
})

describe('segmentJitterMs', () => {
  async function rolledAt(seed: number): Promise<number> {
    const log = await Log.open('/a-0', {
      fileSystem: new SimulatedFileSystem(),
      random: new SeededRandom(seed),
      config: { segmentMs: 100, segmentJitterMs: 1000 },
    })
    for (let timestamp = 0; ; timestamp += 1) {
      await log.append([{ value: 'x', timestamp }])
      if (log.segments.length > 1) return timestamp
    }
  }

  it.each([1, 2, 3])(
    'rolls a segment earlier by a random time below segmentMs: seed %i',
    async (seed) => {
      const jitterMs = new SeededRandom(seed).integer(100)
      expect(await rolledAt(seed)).toBe(100 - jitterMs + 1)
    },
  )
})
