import { parquetWriteBuffer } from 'hyparquet-writer'
import { expect, it } from 'vitest'
import { importFile } from '../../lib/offline/index.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

it('imports each row once even if rows carry the mark of an earlier import', async () => {
  const fileSystem = new SimulatedFileSystem()
  const broker = await tempBroker({ fileSystem })
  const topic = await broker.createTopic('t')
  // An export of what was imported under the same name into another topic, in another order.
  const rows = [60, 10, 20, 30].map((row) => ({
    value: `row ${row}`,
    headers: [{ key: 'varve-import', value: `orders:${row}` }],
  }))
  fileSystem.writeFile('/f.ndjson', Buffer.from(rows.map((row) => JSON.stringify(row)).join('\n')))
  let isFirst = true
  const run = () =>
    importFile<(typeof rows)[number]>(broker, '/f.ndjson', {
      topic: 't',
      name: 'orders',
      fileSystem,
      batchRecords: 1,
      toRecord: ({ value, headers }) => ({ value, headers }),
      onProgress: ({ rows: done }) => {
        if (isFirst && done === 2) throw new Error('broken off')
      },
    })
  await expect(run()).rejects.toThrow('broken off')
  isFirst = false
  await run()
  const values = (await topic.partition(0).read(0)).map(({ value }) => value?.toString())
  expect(values).toEqual(['row 60', 'row 10', 'row 20', 'row 30'])
  await broker.close()
})

it('does not import rows again after a failed run if newer records have replaced theirs', async () => {
  const fileSystem = new SimulatedFileSystem()
  const broker = await tempBroker({ fileSystem })
  const topic = await broker.createTopic('t', { cleanupPolicy: 'compact' })
  const partition = topic.partition(0)
  fileSystem.writeFile('/f.ndjson', Buffer.from('{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n'))
  let isFirst = true
  const run = () =>
    importFile(broker, '/f.ndjson', {
      topic: 't',
      keyField: 'id',
      fileSystem,
      batchRecords: 1,
      onProgress: ({ rows }) => {
        if (isFirst && rows === 2) throw new Error('broken off')
      },
    })
  await expect(run()).rejects.toThrow('broken off')
  isFirst = false
  await partition.append({ key: 'b', value: 'newer' })
  await partition.compact()
  expect(await run()).toMatchObject({ imported: 1, skipped: 2 })
  const stored = (await partition.read(0)).map(({ key, value }) => [String(key), String(value)])
  expect(stored).toEqual([
    ['a', '{"id":"a"}'],
    ['b', 'newer'],
    ['c', '{"id":"c"}'],
  ])
  await broker.close()
})

it('accepts records that are class instances, and rejects those whose headers would be lost', async () => {
  class Order {
    get key() {
      return 'k'
    }

    get value() {
      return 'v'
    }

    get headers() {
      return { a: 'b' }
    }
  }
  const fileSystem = new SimulatedFileSystem()
  const broker = await tempBroker({ fileSystem })
  const topic = await broker.createTopic('t')
  fileSystem.writeFile('/f.ndjson', Buffer.from('1\n2\n3\n4\n'))
  const reasons: string[] = []
  const made = [
    new Order(),
    { value: 'x', headers: Promise.resolve({}) as never },
    { value: 'x', header: {} } as never,
    new Map([['value', 'x']]) as never,
  ]
  await importFile<number>(broker, '/f.ndjson', {
    topic: 't',
    fileSystem,
    toRecord: (row) => made[row - 1] ?? null,
    rejects: ({ reason }) => void reasons.push(reason),
  })
  expect(await topic.partition(0).read(0)).toMatchObject([
    { key: Buffer.from('k'), value: Buffer.from('v'), headers: [{ key: 'a' }, {}] },
  ])
  expect(reasons.toSorted()).toEqual([
    expect.stringContaining('headers must be an array or a plain object'),
    expect.stringContaining('toRecord must return a record or null, got an instance of Map'),
    expect.stringContaining("did you mean 'headers'?"),
  ])
  await broker.close()
})

it('writes a numeric key as the same text, however large it is and whatever the format', async () => {
  const fileSystem = new SimulatedFileSystem()
  const broker = await tempBroker({ fileSystem })
  const ids = [7n, 9_007_199_254_740_993n]
  const bytes = parquetWriteBuffer({ columnData: [{ name: 'id', data: ids, type: 'INT64' }] })
  fileSystem.writeFile('/f.parquet', new Uint8Array(bytes))
  fileSystem.writeFile('/f.ndjson', Buffer.from('{"id":7}\n{"id":9007199254740993}\n'))
  const keysOf = async (path: string): Promise<(string | undefined)[]> => {
    const topic = `t${path.length}`
    await broker.createTopic(topic)
    await importFile(broker, path, { topic, keyField: 'id', fileSystem })
    return (await broker.topic(topic).partition(0).read(0)).map(({ key }) => key?.toString())
  }
  expect(await keysOf('/f.ndjson')).toEqual(['7', '9007199254740993'])
  expect(await keysOf('/f.parquet')).toEqual(['7', '9007199254740993'])
  await broker.close()
})
