import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Topic } from '../../lib/broker/topic.ts'
import type { TopicConfig } from '../../lib/config.ts'
import type { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

async function open(config: TopicConfig): Promise<{
  broker: Broker
  topic: Topic
  clock: ManualClock
  log: Log
}> {
  const clock = new ManualClock()
  const broker = await Broker.open('/data', { fileSystem: new SimulatedFileSystem(), clock })
  const topic = await broker.createTopic('t', config)
  return { broker, topic, clock, log: topic.partition(0).log }
}

describe('a lowered flushMessages', () => {
  it.each([1, 2, 3])(
    'syncs the records appended before if there are at least %i',
    async (flushMessages) => {
      const { broker, topic, clock, log } = await open({ flushMessages: 1000 })
      await topic.partition(0).append([{ value: 'a' }, { value: 'b' }])
      await topic.alter({ flushMessages })
      await clock.advance(0)
      expect(log.durableEndOffset).toBe(flushMessages <= 2 ? 2 : 0)
      expect(topic.partition(0).highWatermark).toBe(2)
      await broker.close()
    },
  )
})

describe('a lowered flushMs', () => {
  it('applies to the next append, and makes the records before it durable too', async () => {
    const { broker, topic, clock, log } = await open({ flushMessages: 1000, flushMs: 3_600_000 })
    await topic.partition(0).append({ value: 'a' })
    await topic.alter({ flushMs: 100 })
    await topic.partition(0).append({ value: 'b' })
    await clock.advance(1000)
    expect(log.durableEndOffset).toBe(2)
    await broker.close()
  })

  it('applies to records appended before, which nothing else would make durable', async () => {
    const { broker, topic, clock, log } = await open({ flushMessages: 1000 })
    await topic.partition(0).append({ value: 'a' })
    await topic.alter({ flushMs: 100 })
    await clock.advance(1000)
    expect(log.durableEndOffset).toBe(1)
    await broker.close()
  })
})
