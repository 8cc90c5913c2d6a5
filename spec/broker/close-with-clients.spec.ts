import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { ClosedError, StorageError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { settle } from '../helpers/settle.ts'
import { watch } from '../client/consumer-harness.ts'
import { ONE, openTopic, outcomeOf, VALUE } from './capped-topic.ts'

async function open(): Promise<{ broker: Broker; fileSystem: SimulatedFileSystem }> {
  const fileSystem = new SimulatedFileSystem()
  const broker = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
  await broker.createTopic('t')
  return { broker, fileSystem }
}

describe('a send callback that is called by a close that gives up its record', () => {
  it('finds the broker closed', async () => {
    const { broker } = await open()
    let seen: unknown = 'not called'
    broker.producer({ lingerMs: 1000 }).send({ topic: 't', value: 'x' }, () => {
      try {
        seen = broker.producer()
      } catch (error) {
        seen = error
      }
    })
    await broker.close({ timeoutMs: 0 })
    expect(seen).toBeInstanceOf(ClosedError)
  })

  it('may close the broker too, which closes only once', async () => {
    const { broker, fileSystem } = await open()
    let inner: Promise<void> = Promise.reject(new Error('not called'))
    inner.catch(() => undefined)
    broker.producer({ lingerMs: 1000 }).send({ topic: 't', value: 'x' }, () => {
      inner = broker.close()
    })
    const outer = broker.close({ timeoutMs: 0 })
    expect(await Promise.allSettled([outer, inner])).toMatchObject([
      { status: 'fulfilled' },
      { status: 'fulfilled' },
    ])
    const again = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    expect(again.recovery.cleanShutdown).toBe(true)
    await again.close()
  })
})

describe('a commit that was not awaited', () => {
  it('is stored by the close of the broker, even if it is the first commit', async () => {
    const { broker, fileSystem } = await open()
    await broker.topic('t').partition(0).append({ value: 'x' })
    const place = { topic: 't', partition: 0 }
    const committing = watch(broker.consumer({ groupId: 'g' }).commit([{ ...place, offset: 1 }]))
    await broker.close()
    expect([committing.isSettled, committing.error]).toEqual([true, undefined])
    const again = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    expect(again.recovery.cleanShutdown).toBe(true)
    expect(await again.consumer({ groupId: 'g' }).committed(place)).toMatchObject({ offset: 1 })
    await again.close()
  })
})

describe('a rebalance listener that throws', () => {
  it('does not make the close of its broker an unclean shutdown', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    await broker.createTopic('t')
    const consumer = broker.consumer({ groupId: 'g' })
    consumer.subscribe(['t'], {
      onPartitionsRevoked: () => {
        throw new Error('no')
      },
    })
    await consumer.poll({ maxWaitMs: 0 })
    await expect(broker.close()).rejects.toThrow(/^no$/)
    const again = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    expect(again.recovery.cleanShutdown).toBe(true)
    await again.close()
  })
})

describe('the failures of a broker close', () => {
  function closeWith(broker: Broker, ...errors: Error[]): Promise<void> {
    for (const error of errors) {
      const consumer = broker.consumer({ groupId: error.message, enableAutoCommit: false })
      consumer.subscribe(['t'], {
        onPartitionsRevoked: () => {
          throw error
        },
      })
      consumer.poll({ maxWaitMs: 60_000 }).catch(() => undefined)
    }
    return new Promise((resolve, reject) => {
      setImmediate(() => {
        broker.close().then(resolve, reject)
      })
    })
  }

  it('are all reported if several clients fail', async () => {
    const { broker } = await open()
    const errors = [new Error('one'), new Error('two')]
    const closing = closeWith(broker, ...errors)
    await expect(closing).rejects.toBeInstanceOf(AggregateError)
    await expect(closing).rejects.toMatchObject({ errors })
    await expect(closing).rejects.toThrow('/data was not closed cleanly: one; two')
  })

  it('are reported together if the disk fails too, with the disk failure first', async () => {
    const { broker, fileSystem } = await open()
    const topic = await broker.createTopic('relaxed', { flushMessages: 100 })
    await topic.partition(0).append({ value: 'x' })
    fileSystem.failNext('datasync', 'EIO')
    const listener = new Error('no')
    const closing = closeWith(broker, listener)
    await expect(closing).rejects.toBeInstanceOf(StorageError)
    const errors = [expect.any(StorageError), listener] as unknown[]
    await expect(closing).rejects.toMatchObject({ cause: { errors } })
  })
})

describe('several partitions that fail while a broker closes', () => {
  async function openFailing(partitions: number): Promise<Broker> {
    const { broker, fileSystem } = await open()
    const topic = await broker.createTopic('relaxed', { partitions, flushMessages: 100 })
    for (const partition of topic.partitions) await partition.append({ value: 'x' })
    fileSystem.failNext('datasync', 'EIO', { path: /relaxed-/, persistent: true })
    return broker
  }

  it('are all reported in the cause of one error', async () => {
    const broker = await openFailing(2)
    const closing = broker.close()
    await expect(closing).rejects.toBeInstanceOf(StorageError)
    const errors = [0, 1].map((index): unknown => {
      return { message: expect.stringContaining(`relaxed-${index}`) as unknown }
    })
    await expect(closing).rejects.toMatchObject({ outcome: 'unknown', cause: { errors } })
  })

  it('are reported in one list with the other failures', async () => {
    const broker = await openFailing(2)
    const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false })
    const listener = new Error('no')
    consumer.subscribe(['t'], {
      onPartitionsRevoked: () => {
        throw listener
      },
    })
    await consumer.poll({ maxWaitMs: 0 })
    const errors = [expect.any(StorageError), expect.any(StorageError), listener] as unknown[]
    await expect(broker.close()).rejects.toMatchObject({ cause: { errors } })
  })

  it('are only counted in the message beyond the first ten', async () => {
    const broker = await openFailing(13)
    await expect(broker.close()).rejects.toThrow(/relaxed-9 .*; and 3 more$/)
  })
})

describe('a close that is called again with timeoutMs', () => {
  it('ends when the time limit of the second call expires', async () => {
    const { broker, partition, clock } = await openTopic({ maxBytes: ONE, whenFull: 'wait' })
    await partition.append({ value: VALUE })
    const sent = outcomeOf(broker.producer().send({ topic: 'orders', value: VALUE }))
    await settle()
    const first = watch(broker.close())
    await settle()
    const second = watch(broker.close({ timeoutMs: 500 }))
    await clock.advance(499)
    expect([first.isSettled, second.isSettled]).toEqual([false, false])
    await clock.advance(1)
    expect([first.isSettled, second.isSettled]).toEqual([true, true])
    expect(await sent).toBe('CLOSED')
  })
})
