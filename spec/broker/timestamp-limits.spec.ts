import { describe, expect, it } from 'vitest'
import { openTopic } from './capped-topic.ts'

describe('timestamp limits of a topic', () => {
  it('reject appends and sends outside of them, naming the timestamp and the range', async () => {
    const { broker, partition, clock } = await openTopic({
      messageTimestampBeforeMaxMs: 1000,
      messageTimestampAfterMaxMs: 10,
    })
    const now = clock.now()
    const producer = broker.producer()
    for (const timestamp of [now - 1001, now + 11]) {
      for (const append of [
        partition.append({ value: 'v', timestamp }),
        partition.append([{ value: 'v' }, { value: 'v', timestamp }]),
        producer.send({ topic: 'orders', value: 'v', timestamp }),
      ]) {
        await expect(append).rejects.toMatchObject({
          code: 'INVALID_TIMESTAMP',
          message: expect.stringContaining(
            `${timestamp} is out of range: the topic accepts ${now - 1000} to ${now + 10}`,
          ) as string,
        })
      }
    }
    expect(partition.logEndOffset).toBe(0)
    await partition.append([{ timestamp: now - 1000 }, { timestamp: now + 10 }, {}])
    await producer.send({ topic: 'orders', value: 'v', timestamp: now })
    await broker.topic('orders').alter({ messageTimestampType: 'LogAppendTime' })
    await partition.append({ value: 'v', timestamp: 1 })
    expect(partition.logEndOffset).toBe(5)
    await broker.close()
  })

  it('are reported as a range that begins at 0 rather than at a negative timestamp', async () => {
    const { broker, partition, clock } = await openTopic({ messageTimestampAfterMaxMs: 10 })
    const highest = clock.now() + 10
    await expect(partition.append({ timestamp: highest + 1 })).rejects.toThrow(
      `is out of range: the topic accepts 0 to ${highest},`,
    )
    await broker.close()
  })
})
