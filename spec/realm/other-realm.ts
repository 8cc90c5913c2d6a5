import { access, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { types } from 'node:util'
import { runInNewContext } from 'node:vm'
import { expect, it, onTestFinished } from 'vitest'
import { Broker, json, LockedError, Log } from '../../lib/index.ts'
import { importFile, ndjsonSink, planLoad, runLoad } from '../../lib/offline/index.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

// Run by `other-realm.spec.ts` in a `vm` context, as some test runners run every spec.

async function freshDirectory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'varve-realm-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

/** Bytes of a third realm. */
const foreign = (...bytes: number[]): Uint8Array =>
  runInNewContext(`new Uint8Array([${bytes.join()}])`) as Uint8Array

it('runs in a realm in which a file system error is not an instance of Error', async () => {
  const error: unknown = await access('/none').catch((reason: unknown) => reason)
  expect([types.isNativeError(error), error instanceof Error]).toEqual([true, false])
  expect(foreign(1)).not.toBeInstanceOf(Uint8Array)
})

it('sends records, consumes them in a group, and keeps the committed offset after a reopen', async () => {
  const dir = join(await freshDirectory(), 'data')
  const broker = await Broker.open(dir)
  await broker.createTopic('t', { partitions: 2 })
  const producer = broker.producer({ valueSerializer: json<number>() })
  for (const value of [1, 2, 3]) await producer.send({ topic: 't', key: 'k', value })
  const consumer = broker.consumer({ groupId: 'g', valueDeserializer: json<number>() })
  consumer.subscribe(['t'])
  expect((await consumer.poll()).map(({ value }) => value)).toEqual([1, 2, 3])
  await expect(Broker.open(dir)).rejects.toThrow(LockedError)
  await broker.close()
  const again = await Broker.open(dir)
  onTestFinished(() => again.close())
  expect(again.recovery).toMatchObject({ cleanShutdown: true, damaged: [] })
  const next = again.consumer({ groupId: 'g' })
  next.subscribe(['t'])
  expect(await next.poll({ maxWaitMs: 0 })).toEqual([])
})

it('accepts bytes of any realm with every codec', async () => {
  const broker = await tempBroker()
  onTestFinished(() => broker[Symbol.asyncDispose]())
  for (const compressionType of ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const) {
    const { partitions } = await broker.createTopic(compressionType)
    const producer = broker.producer({ compressionType })
    const [key, value] = [foreign(1, 2), foreign(...Array.from({ length: 200 }, () => 7))]
    await producer.send({ topic: compressionType, key, value, headers: { h: foreign(9) } })
    await partitions[0]?.append({ key, value, headers: [['h', foreign(9)]] })
    const records = (await partitions[0]?.read(0)) ?? []
    for (const record of records) {
      expect(record.key).toEqual(Buffer.from(key))
      expect(record.value).toEqual(Buffer.from(value))
      expect(record.headers).toEqual([{ key: 'h', value: Buffer.from([9]) }])
    }
    expect(records).toHaveLength(2)
  }
})

it('opens, closes and salvages a log without a broker', async () => {
  const dir = await freshDirectory()
  const log = await Log.open(join(dir, 'a'))
  await log.append([{ value: 'x' }, { value: foreign(1) }])
  await log.close()
  await Log.salvage(join(dir, 'a'), join(dir, 'b'))
  const saved = await Log.open(join(dir, 'b'))
  onTestFinished(() => saved.close())
  expect(await saved.read(0)).toHaveLength(2)
})

it('imports a file, and loads a topic', async () => {
  const dir = await freshDirectory()
  await writeFile(join(dir, 'rows.ndjson'), '{"id":1}\n{"id":2}\nnot json\n')
  const broker = await tempBroker()
  onTestFinished(() => broker[Symbol.asyncDispose]())
  await broker.createTopic('rows')
  const rejects = join(dir, 'rejects.ndjson')
  const imported = await importFile(broker, join(dir, 'rows.ndjson'), { topic: 'rows', rejects })
  expect(imported).toMatchObject({ imported: 2, rejected: 1 })
  const plan = await planLoad(broker, { topics: ['rows'] })
  expect(await runLoad(plan, ndjsonSink(join(dir, 'out')))).toMatchObject({ records: 2 })
  expect((await readdir(join(dir, 'out'), { recursive: true })).join()).toContain('.ndjson')
})
