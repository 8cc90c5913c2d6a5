import { describe, expect, it } from 'vitest'
import type { TopicPartition } from '../../lib/broker/topic-partition.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { ConsumerHarness, NO_WAIT, T0, T1, recorder, values } from './consumer-harness.ts'

const options = { groupId: 'g', partitionAssignmentStrategy: 'cooperative-sticky' } as const

async function pollInTurn(rounds: number, ...consumers: Consumer<string, string>[]): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const consumer of consumers) await consumer.poll(NO_WAIT)
  }
}

describe('a member of a group with the cooperative strategy', () => {
  it('keeps one partition, paused as it was, and gives up the other before the new member reads it', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const log: string[] = []
    const [one, two] = [harness.consumer(options), harness.consumer(options)]
    one.subscribe(['t'], recorder(log, '1 '))
    await one.poll(NO_WAIT)
    one.pause([T0])
    two.subscribe(['t'], recorder(log, '2 '))
    await two.poll(NO_WAIT)
    harness.partition('t', 1).append('a')
    harness.partition('t', 0).append('b')
    const read: (string | null)[] = []
    for (let round = 0; round < 4; round++) {
      for (const consumer of [one, two]) read.push(...values(await consumer.poll(NO_WAIT)))
    }
    expect([one.assignment(), two.assignment()]).toEqual([[T0], [T1]])
    expect(log.filter((line) => line.includes('revoked'))).toHaveLength(1)
    expect(log[0]).toBe('1 assigned t-0 t-1')
    expect(log).not.toContain('2 revoked')
    const revokedAt = log.findIndex((line) => line.startsWith('1 revoked'))
    const givenAt = log.findIndex((line) => line.startsWith('2 assigned t-'))
    expect(revokedAt).toBeGreaterThan(0)
    expect(givenAt).toBeGreaterThan(revokedAt)
    expect(one.paused()).toEqual([T0])
    expect(read).toEqual(['a'])
    one.resume([T0])
    expect(values(await one.poll(NO_WAIT))).toEqual(['b'])
  })

  it('gives up revoked partitions even if its listener empties the list that it receives', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const [one, two] = [harness.consumer(options), harness.consumer(options)]
    one.subscribe(['t'], {
      onPartitionsRevoked: (partitions) => void (partitions as TopicPartition[]).splice(0),
    })
    two.subscribe(['t'])
    await pollInTurn(6, one, two)
    expect([one.assignment().length, two.assignment().length]).toEqual([1, 1])
  })

  it('reads the partitions that it keeps while the group still waits for another member', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const [one, two, three] = [
      harness.consumer(options),
      harness.consumer(options),
      harness.consumer(options),
    ]
    one.subscribe(['t'])
    two.subscribe(['t'])
    await pollInTurn(4, one, two)
    three.subscribe(['t'])
    await three.poll(NO_WAIT)
    harness.partition('t', one.assignment()[0]?.partition).append('a')
    expect(values(await one.poll(NO_WAIT))).toEqual(['a'])
  })

  it('gives up the partitions that it has lost before it joins the next rebalance', async () => {
    const harness = new ConsumerHarness({ t: 3 })
    const [one, two, three, four] = [0, 1, 2, 3].map(() => {
      const consumer = harness.consumer(options)
      consumer.subscribe(['t'])
      return consumer
    })
    if (!one || !two || !three || !four) throw new Error('a consumer is missing')
    await pollInTurn(4, one, two)
    expect(one.assignment()).toHaveLength(2)
    await three.poll(NO_WAIT)
    await one.poll(NO_WAIT)
    await two.poll(NO_WAIT)
    // The result is available, and the next rebalance has begun, before the consumer polls again.
    await four.poll(NO_WAIT)
    expect(one.assignment()).toHaveLength(2)
    await one.poll(NO_WAIT)
    expect(one.assignment()).toHaveLength(1)
  })

  it('gives up only the partitions of topics that it no longer subscribes to', async () => {
    const harness = new ConsumerHarness({ t: 1, u: 1 })
    const log: string[] = []
    const consumer = harness.consumer(options)
    consumer.subscribe(['t', 'u'], recorder(log))
    await consumer.poll(NO_WAIT)
    consumer.subscribe(['u'], recorder(log))
    await consumer.poll(NO_WAIT)
    expect(log).toEqual(['assigned t-0 u-0', 'revoked t-0', 'assigned'])
    expect(consumer.assignment()).toEqual([{ topic: 'u', partition: 0 }])
  })
})
