import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { toReadable } from '../../lib/offline/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { watch } from '../client/consumer-harness.ts'

async function open(): Promise<{
  broker: Broker
  clock: ManualClock
  partition: Partition
  idleTimers: number
}> {
  const clock = new ManualClock()
  const broker = await Broker.open('/data', { fileSystem: new SimulatedFileSystem(), clock })
  const topic = await broker.createTopic('t')
  await topic.partition(0).append({ value: 'a' })
  const idleTimers = clock.pendingTimers
  return { broker, clock, partition: topic.partition(0), idleTimers }
}

describe('an iteration that waits at the end of a partition', () => {
  it('ends on return, and leaves no timer', async () => {
    const { broker, clock, partition, idleTimers } = await open()
    const iterator = partition.records()
    await iterator.next()
    const next = watch(iterator.next())
    await clock.advance(0)
    const returned = watch(iterator.return())
    await clock.advance(5000)
    expect([next.isSettled, returned.isSettled]).toEqual([true, true])
    expect(clock.pendingTimers).toBe(idleTimers)
    await broker.close()
  })

  it('ends when its stream is destroyed', async () => {
    const { broker, clock, partition, idleTimers } = await open()
    const stream = toReadable(partition.records())
    stream.resume()
    await clock.advance(0)
    const closed = watch(once(stream, 'close'))
    stream.destroy()
    await clock.advance(5000)
    expect(closed.isSettled).toBe(true)
    expect(clock.pendingTimers).toBe(idleTimers)
    await broker.close()
  })
})
