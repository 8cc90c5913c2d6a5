import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Broker } from '../lib/broker.ts'
import { importFile, ndjsonSink, planLoad, runLoad, toWritable } from '../lib/offline/index.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'

let unhandled: unknown[] = []
let others: NodeJS.UnhandledRejectionListener[] = []
const note = (error: unknown): void => {
  unhandled.push(error)
}

beforeEach(() => {
  unhandled = []
  others = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', note)
})

afterEach(() => {
  process.off('unhandledRejection', note)
  for (const each of others) process.on('unhandledRejection', each)
})

const fails = (async () => {
  await Promise.resolve()
  throw new Error('later')
}) as never

type Use = (broker: Broker, fileSystem: SimulatedFileSystem) => Promise<unknown>

const consumed: Use = async (broker) => {
  await broker.topic('t').partition(0).append({ value: 'x' })
  const consumer = broker.consumer({ onOffsetReset: fails })
  consumer.assign([{ topic: 't', partition: 0 }])
  consumer.seek({ topic: 't', partition: 0 }, 9)
  await consumer.poll({ maxWaitMs: 0 })
}

const streamed: Use = (broker) =>
  new Promise((_, reject) => {
    const stream = toWritable(broker.producer(), { topic: 't', toRecord: fails })
    stream.on('error', reject)
    stream.write('x')
  })

const imported = async (
  broker: Broker,
  fileSystem: SimulatedFileSystem,
  option: 'toRecord' | 'onProgress',
): Promise<unknown> => {
  fileSystem.writeFile('/rows.ndjson', Buffer.from('{}\n'))
  const rejects: { reason: string }[] = []
  await importFile(broker, '/rows.ndjson', {
    topic: 't',
    fileSystem,
    rejects: (reject) => void rejects.push(reject),
    [option]: fails,
  })
  throw new TypeError(rejects[0]?.reason)
}

const loaded: Use = async (broker, fileSystem) => {
  await broker.topic('t').partition(0).append({ value: 'x' })
  const plan = await planLoad(broker, { topics: ['t'] })
  await runLoad(plan, ndjsonSink('/out', { fileSystem }), { onProgress: fails })
}

/** By the name of the callback: how it is called, and why it is refused. */
const CASES: readonly (readonly [string, Use, RegExp])[] = [
  [
    'a partitioner',
    (broker) => broker.producer({ partitioner: fails }).send({ topic: 't', value: 'x' }),
    /^a partitioner must not be asynchronous, got an instance of Promise$/,
  ],
  [
    'a serializer',
    (broker) => {
      const producer = broker.producer({ valueSerializer: { serialize: fails } })
      return producer.send({ topic: 't', value: 'x' })
    },
    /a serializer must not be asynchronous, got an instance of Promise$/,
  ],
  ['onOffsetReset', consumed, /^onOffsetReset must not be asynchronous/],
  ['toRecord of a stream', streamed, /^toRecord must return a record, got an instance of Promise$/],
  [
    'toRecord of an import',
    (broker, fileSystem) => imported(broker, fileSystem, 'toRecord'),
    /^toRecord must return a record or null, got an instance of Promise$/,
  ],
  [
    'onProgress of an import',
    (broker, fileSystem) => imported(broker, fileSystem, 'onProgress'),
    /^onProgress must not be asynchronous/,
  ],
  ['onProgress of a load', loaded, /^onProgress must not be asynchronous/],
]

describe('an asynchronous function where a synchronous one is required', () => {
  it.each(CASES)('is refused, and its rejection is handled: %s', async (_name, use, why) => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const broker = await Broker.open('/data', { fileSystem, clock })
    await broker.createTopic('t')
    await expect(use(broker, fileSystem)).rejects.toThrow(why)
    // Unhandled rejections are reported when the event loop turns.
    await clock.advance(0)
    expect(unhandled).toEqual([])
    await broker.close()
  })
})
