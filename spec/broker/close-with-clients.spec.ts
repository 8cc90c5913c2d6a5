import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { ClosedError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

async function open(): Promise<{ broker: Broker; fileSystem: SimulatedFileSystem }> {
  const fileSystem = new SimulatedFileSystem()
  const broker = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
  await broker.createTopic('t')
  return { broker, fileSystem }
}

describe('a callback that hears of a close that gives records up', () => {
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

  it('may close the broker as well, which is closed once', async () => {
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

describe('a listener that throws', () => {
  it('in the close of the broker does not make it an unclean one', async () => {
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
