import { describe, expect, it } from 'vitest'
import type { ConsumerOptions, ConsumerRecord } from '../../lib/index.ts'
import { pushTo, type Push } from '../../lib/offline/index.ts'
import type { FileSystem } from '../../lib/platform/file-system.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

const RECORDS = 8

const text = ({ value }: ConsumerRecord): string => value?.toString() ?? ''
const values = (name: string, count: number) =>
  Array.from({ length: count }, (_, at) => ({ value: `${name}${at}` }))

async function setUp(
  options: ConsumerOptions = {},
  fileSystem: FileSystem = new SimulatedFileSystem(),
) {
  const clock = new ManualClock()
  const broker = await tempBroker({ fileSystem, clock })
  for (const name of ['t', 'u']) {
    await (await broker.createTopic(name)).partition(0).append(values(`${name}-old`, RECORDS))
  }
  const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false, ...options })
  const written: string[] = []
  const write = async (record: ConsumerRecord): Promise<void> => {
    await new Promise<void>((resolve) => void clock.startTimer(resolve, 30))
    written.push(text(record))
  }
  const until = async (isSo: () => boolean): Promise<void> => {
    for (let turn = 0; turn < 200 && !isSo(); turn += 1) await clock.advance(20)
  }
  return { clock, broker, reader, write, written, until }
}

/** A file system on which offsets become durable only on demand. */
function gatedOffsets() {
  const fileSystem = new SimulatedFileSystem()
  let gate: Promise<void> | null = null
  const open = fileSystem.open.bind(fileSystem)
  fileSystem.open = async (path, mode) => {
    const file = await open(path, mode)
    if (!path.includes('__consumer_offsets') || !path.endsWith('.log')) return file
    const datasync = file.datasync.bind(file)
    const datasyncNow = file.datasyncNow?.bind(file)
    file.datasyncNow = () => gate === null && datasyncNow?.() === true
    file.datasync = async () => {
      await gate
      await datasync()
    }
    return file
  }
  const close = (): (() => void) => {
    let release: () => void = () => undefined
    gate = new Promise((resolve) => (release = resolve))
    return () => {
      gate = null
      release()
    }
  }
  return { fileSystem, close }
}

describe('a push whose topic is deleted and created again', () => {
  it.each(
    (['range', 'cooperative-sticky'] as const).flatMap((strategy) =>
      [true, false].flatMap((drains) =>
        [0, 3, RECORDS].map((count) => [strategy, drains, count] as const),
      ),
    ),
  )(
    'writes every record of the new topic, %s, drained: %s, %i records before its group notices',
    async (strategy, drains, count) => {
      for (const afterMs of [0, 10, 40, 70, 130]) {
        const bench = await setUp({ partitionAssignmentStrategy: strategy })
        const { clock, broker, reader, write, written, until } = bench
        let push: Push | null = null
        let failure: unknown = null
        const onPartitionsRevoked: Push['drain'] = async (gone) => push?.drain(gone)
        reader.subscribe(['t', 'u'], drains ? { onPartitionsRevoked } : {})
        push = pushTo(reader, write, { clock, concurrency: 2 })
        push.catch((error: unknown) => (failure = error))
        await clock.advance(afterMs)
        await broker.deleteTopic('u')
        const again = await broker.createTopic('u')
        if (count > 0) await again.partition(0).append(values('u-new', count))
        // A query by the application itself finds the new topic before the group does.
        await reader.lag()
        await clock.advance(200)
        if (count < RECORDS) await again.partition(0).append(values('u-late', RECORDS - count))
        const all = [...values('u-new', count), ...values('u-late', RECORDS - count)]
        const missing = (): string[] =>
          all.map(({ value }) => value).filter((each) => !written.includes(each))
        await until(
          () => failure !== null || (missing().length === 0 && written.includes('t-old7')),
        )
        const where = `after ${afterMs} ms`
        expect(failure, where).toBeNull()
        expect(missing(), where).toEqual([])
        await push.stop()
        await broker.close()
      }
    },
  )
})

describe('a push that seeks back to its unwritten records', () => {
  it.each(['ends', 'drains'] as const)(
    'does not seek in a topic that was created again in the meantime, when it %s',
    async (how) => {
      const { clock, broker, reader, until } = await setUp()
      reader.subscribe(['t'])
      let fail: () => void = () => undefined
      const write = (record: ConsumerRecord): Promise<void> =>
        new Promise((resolve, reject) => {
          if (record.offset !== 2) resolve()
          else fail = reject.bind(null, new Error('no'))
        })
      const push = pushTo(reader, write, { clock, retries: 0 })
      push.catch(() => undefined)
      const committed = () => broker.describe().groups[0]?.offsets[0]?.offset
      await until(() => committed() === 2)
      const ending = how === 'ends' ? null : push.drain([{ topic: 't', partition: 0 }])
      await broker.deleteTopic('t')
      const again = await broker.createTopic('t')
      await clock.advance(1000)
      expect(reader.assignment()).toEqual([{ topic: 't', partition: 0 }])
      push.stop().catch(() => undefined)
      fail()
      await Promise.allSettled([push, ending])
      await again.partition(0).append(values('new', RECORDS))
      const records = await reader.poll({ maxWaitMs: 0 })
      expect(records.map(text)).toEqual(values('new', RECORDS).map(({ value }) => value))
      await broker.close()
    },
  )
})

describe('a push whose topic is deleted', () => {
  it('continues if its commit had to wait behind another commit of the group', async () => {
    const { fileSystem, close } = gatedOffsets()
    const bench = await setUp({ partitionAssignmentStrategy: 'cooperative-sticky' }, fileSystem)
    const { clock, broker, reader, written, until } = bench
    await reader.commit([{ topic: 't', partition: 0, offset: 0 }])
    reader.subscribe(['t', 'u'])
    const write = async (record: ConsumerRecord): Promise<void> => {
      const delayMs = record.topic === 'u' ? 10 : 30
      await new Promise<void>((resolve) => void clock.startTimer(resolve, delayMs))
      written.push(text(record))
    }
    const push = pushTo(reader, write, { clock, concurrency: 2 })
    let failure: unknown = null
    push.catch((error: unknown) => (failure = error))
    await clock.advance(5)
    const release = close()
    const other = reader.commit([{ topic: 't', partition: 0, offset: 0 }])
    await clock.advance(10)
    expect(written).toEqual(['u-old0'])
    const deleting = broker.deleteTopic('u')
    await clock.advance(10)
    expect(reader.assignment()).toEqual([{ topic: 't', partition: 0 }])
    await clock.advance(20)
    release()
    await clock.advance(5)
    await Promise.all([other, deleting])
    await until(() => failure !== null || written.includes('t-old7'))
    expect(failure).toBeNull()
    expect(written).toContain('t-old7')
    await push.stop()
    await broker.close()
  })
})
