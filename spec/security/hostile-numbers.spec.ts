import { gzipSync } from 'node:zlib'
import { truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { crc32c } from '../../lib/record/crc32c.ts'
import { decodeRecords } from '../../lib/record/decode.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'
import { rawBatch } from '../record/raw-batch.ts'
import { RecordingFileSystem } from './recording-file-system.ts'

const clock = new ManualClock(0)
const place = { topic: 'orders', partition: 0 }

async function closedDirectory(): Promise<SimulatedFileSystem> {
  const fileSystem = new SimulatedFileSystem()
  const broker = await Broker.open('/data', { fileSystem, clock })
  await (await broker.createTopic('orders')).partition(0).append({ value: 'v' })
  await broker.close()
  return fileSystem
}

/** Writes a list of topics with a matching checksum. */
function writeTopics(fileSystem: SimulatedFileSystem, body: string): void {
  const checksum = crc32c(Buffer.from(body)).toString(16).padStart(8, '0')
  fileSystem.writeFile('/data/varve-topics', Buffer.from(`varve-topics 1 ${checksum}\n${body}`))
}

function entry(changes: object): string {
  const id = 'abcdefghijklmnopqrstuv'
  const sound = { name: 'orders', id, partitionCount: 1, state: 'active', config: {} }
  return JSON.stringify({ topics: [{ ...sound, ...changes }] })
}

describe('a topic list with a valid checksum', () => {
  it.each([
    ['no JSON', '{"topics":['],
    ['null', 'null'],
    ['no topics', '{}'],
    ['topics that are no array', '{"topics":{"length":1}}'],
    ['a further key', '{"topics":[],"more":1}'],
    ['a prototype', '{"__proto__":{"topics":[]}}'],
    ['an entry that is null', '{"topics":[null]}'],
    ['an entry that is an array', '{"topics":[[]]}'],
    ['an entry with a prototype', '{"topics":[{"__proto__":{"name":"orders"}}]}'],
    ['an entry without a name', entry({ name: undefined })],
    ['a name that leads out', entry({ name: '../outside' })],
    ['a name that is no text', entry({ name: 7 })],
    ['an id that is none', entry({ id: '../../../../etc/passwd' })],
    ['an unknown state', entry({ state: 'gone' })],
    ['a count that is negative', entry({ partitionCount: -1 })],
    ['a count that is huge', entry({ partitionCount: 1e15 })],
    ['a count that is broken', entry({ partitionCount: 1.5 })],
    ['a configuration that is null', entry({ config: null })],
    ['a configuration with a prototype', entry({}).replace('{}', '{"__proto__":{"x":1}}')],
    ['a configuration with a key of objects', entry({ config: { constructor: 1 } })],
    ['a configuration out of range', entry({ config: { segmentBytes: -1 } })],
    ['a topic twice', entry({}).replace(/\[(.*)\]/, '[$1,$1]')],
    [
      'more partitions than a directory can have',
      JSON.stringify({
        topics: ['a', 'b', 'c'].map((name) => ({
          ...(JSON.parse(entry({})) as { topics: [object] }).topics[0],
          name,
          partitionCount: 100_000,
          state: 'deleting',
        })),
      }),
    ],
    ['deep nesting', `{"topics":${'['.repeat(100_000)}${']'.repeat(100_000)}}`],
  ])('is rejected as damaged, and no data is changed, if it has %s', async (_, body) => {
    const disk = await closedDirectory()
    writeTopics(disk, body)
    const fileSystem = new RecordingFileSystem(disk)
    await expect(Broker.open('/data', { fileSystem, clock })).rejects.toThrow(CorruptRecordError)
    expect([...fileSystem.changed]).toEqual(['/data/.kafka_cleanshutdown'])
    expect(({} as Record<string, unknown>)['x']).toBeUndefined()
  })
})

describe('the number of partitions', () => {
  it('does not include topics whose creation was interrupted', async () => {
    const fileSystem = await closedDirectory()
    const sound = JSON.parse(entry({})) as { topics: [object] }
    // With the one of the sound topic, as many as a directory can have.
    const interrupted = Object.entries({ many: 100_000, more: 99_999 }).map(
      ([name, partitionCount]) => ({ ...sound.topics[0], name, partitionCount, state: 'creating' }),
    )
    writeTopics(fileSystem, JSON.stringify({ topics: [...sound.topics, ...interrupted] }))
    const broker = await Broker.open('/data', { fileSystem, clock })
    const orders = broker.topic('orders')
    await orders.addPartitions(3)
    expect(orders.partitions).toHaveLength(3)
    await broker.close()
  })

  it.each(['x-2147483647', 'x-99999999', 'orders-2147483647', 'orders-100000'])(
    'is not derived from the name of a directory without a log: %s',
    async (name) => {
      for (const isKnown of [true, false]) {
        const fileSystem = await closedDirectory()
        await fileSystem.createDirectory(`/data/${name}`)
        fileSystem.writeFile(`/data/${name}/photo.jpg`, Buffer.from('precious'))
        if (!isKnown) await fileSystem.unlink('/data/varve-topics')
        const before = fileSystem.operationCount
        const broker = await Broker.open('/data', { fileSystem, clock })
        expect(broker.topics().map((topic) => topic.name)).toEqual(['orders'])
        await broker.close()
        expect(fileSystem.operationCount - before).toBeLessThan(500)
        expect(String(fileSystem.readFile(`/data/${name}/photo.jpg`))).toBe('precious')
      }
    },
  )

  it('includes only directories with a log if the topic list is missing', async () => {
    const fileSystem = await closedDirectory()
    await fileSystem.unlink('/data/varve-topics')
    fileSystem.writeFile('/data/photos-2024/beach.jpg', Buffer.from('precious'))
    const broker = await Broker.open('/data', { fileSystem, clock })
    expect(broker.topics().map((topic) => topic.name)).toEqual(['orders'])
    await broker.close()
    expect(await fileSystem.list('/data/photos-2024')).toEqual([
      { name: 'beach.jpg', kind: 'file' },
    ])
  })
})

describe('unknown files in the data directory', () => {
  it('are neither changed nor deleted, even when their topic is deleted', async () => {
    const fileSystem = await closedDirectory()
    const foreign = [
      ...['/data/notes.txt', '/data/.hidden', '/data/orders-0/notes.txt', '/data/orders-0/0.log'],
      ...['/data/orders-0/00000000000000000000.log.bak', '/data/orders-0/core', '/data/orders/a'],
      `/data/orders-0.${'a'.repeat(32)}-delete/notes.txt`,
    ]
    for (const path of foreign) fileSystem.writeFile(path, Buffer.from('precious'))
    const broker = await Broker.open('/data', { fileSystem, clock })
    await broker.deleteTopic('orders')
    for (const path of foreign) expect(String(fileSystem.readFile(path))).toBe('precious')
    const orders = await broker.createTopic('orders')
    await orders.partition(0).append({ value: 'new' })
    await broker.close()
    for (const path of foreign) expect(String(fileSystem.readFile(path))).toBe('precious')
  })
})

describe('the size of a file', () => {
  const DAMAGED = 16 * 2 ** 40

  it.each([
    ['varve-topics', false],
    ['meta.properties', false],
    ['recovery-point-offset-checkpoint', true],
    ['log-start-offset-checkpoint', true],
    ['orders-0/leader-epoch-checkpoint', true],
    ['orders-0/00000000000000000000.index', true],
    ['orders-0/00000000000000000000.timeindex', true],
    ['orders-0/00000000000000000001.snapshot', true],
    ['orders-0/partition.metadata', true],
    ['orders-0/00000000000000000000.log', true],
  ])('does not determine how much memory is allocated: %s', async (name, opens) => {
    const dir = join(await temporaryDirectory(), 'data')
    const options = { clock, defaults: { segmentBytes: 1000 } }
    const broker = await Broker.open(dir, options)
    await (await broker.createTopic('orders')).partition(0).append({ value: 'v' })
    await broker.close()
    // As large as the file system allows; all zeros, and sparse.
    await truncate(join(dir, name), name.endsWith('.log') ? 2 ** 28 : DAMAGED / 2)
    const before = process.memoryUsage().arrayBuffers
    const outcome: unknown = await Broker.open(dir, options).catch((error: unknown) => error)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(96 * 2 ** 20)
    if (!opens) {
      expect(outcome).toBeInstanceOf(CorruptRecordError)
      return
    }
    const opened = outcome as Broker
    expect(await opened.topic('orders').partition(0).read(0)).toHaveLength(1)
    await opened.close()
  })
})

describe('a batch', () => {
  it('is rejected if its gzip content exceeds the limit of the library', async () => {
    const batch = rawBatch(gzipSync(Buffer.alloc(64 * 2 ** 20 + 1)), { attributes: 1 })
    await expect(decodeRecords(batch, place)).rejects.toThrow(
      'records take more than the allowed 67108864 bytes',
    )
  })

  it('cannot be built larger than the limit for reading it if it is compressed', () => {
    const builder = new RecordBatchBuilder({ compressionType: 'gzip' })
    const half = Buffer.alloc(2 ** 25)
    builder.append(0, null, half)
    expect(() => builder.append(0, null, half)).toThrow(
      "the batch would take 67108951 bytes, the library's limit for a compressed batch allows 67108925",
    )
    expect(builder.recordCount).toBe(1)
  })

  it('is damaged if it claims more records or headers than a batch may hold', async () => {
    const count = 2 ** 20 + 1
    const records = rawBatch(Buffer.alloc(count * 7), { recordCount: count })
    expect(() => decodeRecords(records, place)).toThrow(`claims ${count} records`)
    // Record: length, attributes, deltas, no key, no value, 2^20 headers of two bytes.
    const body = Buffer.concat([
      Buffer.from('000000' + '0101' + '80808001', 'hex'),
      Buffer.alloc(2 ** 21),
    ])
    const length = Buffer.from('92808002', 'hex')
    const headers = rawBatch(gzipSync(Buffer.concat([length, body])), { attributes: 1 })
    await expect(decodeRecords(headers, place)).rejects.toThrow('claims 1048576 headers')
  })

  it('cannot be built with more records and headers than a reader accepts', () => {
    const builder = new RecordBatchBuilder()
    const header = { key: '', value: null }
    const headers = Array.from({ length: 2 ** 20 }, () => header)
    expect(() => builder.append(0, null, null, headers)).toThrow(
      'a batch can have at most 1048576 records and headers, got 1048577',
    )
    builder.append(0, null, null, headers.slice(1))
    expect(() => builder.append(0, null, null)).toThrow('got 1048577')
  })
})

describe('damage that looks like the header of a batch again and again', () => {
  it('is searched with reads proportional to the file size, and nothing is truncated', async () => {
    const fileSystem = await closedDirectory()
    await fileSystem.unlink('/data/.kafka_cleanshutdown')
    const path = '/data/orders-0/00000000000000000000.log'
    const header = Buffer.alloc(64)
    header.writeInt32BE(2 ** 20, 8)
    header.writeInt8(2, 16)
    header.writeUInt16BE(0x4000, 21)
    const bytes = Buffer.concat([
      fileSystem.readFile(path),
      ...Array.from({ length: 2 ** 15 }, () => header),
    ])
    fileSystem.writeFile(path, bytes)
    let readBytes = 0
    const counting = new RecordingFileSystem(fileSystem)
    const open = counting.open.bind(counting)
    counting.open = async (at, mode) => {
      const file = await open(at, mode)
      const read = file.read.bind(file)
      file.read = (buffer, position) => {
        readBytes += buffer.length
        return read(buffer, position)
      }
      return file
    }
    const broker = await Broker.open('/data', { fileSystem: counting, clock })
    await expect(broker.topic('orders').partition(0).append({ value: 'x' })).rejects.toThrow(
      CorruptRecordError,
    )
    await broker.close()
    expect(readBytes).toBeLessThan(10 * bytes.length)
    expect(fileSystem.readFile(path).equals(bytes)).toBe(true)
  })
})
