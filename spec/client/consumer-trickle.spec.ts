import { describe, expect, it } from 'vitest'
import type { Consumer } from '../../lib/client/consumer.ts'
import { ConsumerHarness, NO_WAIT, values, watch } from './consumer-harness.ts'

/** A consumer that has read all its partitions to the end. */
async function atTheEnd(
  partitionCount: number,
  options: { readonly fetchMinBytes?: number } = {},
): Promise<{ harness: ConsumerHarness; consumer: Consumer<string, string> }> {
  const harness = new ConsumerHarness({ t: partitionCount })
  const consumer = harness.consumer(options)
  consumer.assign(
    Array.from({ length: partitionCount }, (_, partition) => ({ topic: 't', partition })),
  )
  await consumer.poll(NO_WAIT)
  return { harness, consumer }
}

/** How often the ends of all partitions were queried in total. */
function looks(harness: ConsumerHarness): number {
  const partitions = harness.topics.get('t')?.partitions ?? []
  return partitions.reduce((sum, each) => sum + each.looks, 0)
}

describe('a poll that waits at the end of its partitions', () => {
  async function looksOfOneRecord(partitionCount: number): Promise<number> {
    const { harness, consumer } = await atTheEnd(partitionCount)
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(0)
    const before = looks(harness)
    harness.partition('t', partitionCount - 1).append('a')
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['a'])
    return looks(harness) - before
  }

  it('looks only at the partition that has changed, however many others there are', async () => {
    expect(await looksOfOneRecord(200)).toBe(await looksOfOneRecord(20))
  })

  async function looksOfFewBytes(partitionCount: number): Promise<number> {
    const { harness, consumer } = await atTheEnd(partitionCount, { fetchMinBytes: 1_000_000 })
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(0)
    const before = looks(harness)
    for (const partition of [3, 1, 3]) {
      harness.partition('t', partition).append('a')
      await harness.clock.advance(0)
    }
    expect(poll.isSettled).toBe(false)
    const looked = looks(harness) - before
    await harness.clock.advance(1000)
    expect(values(poll.value ?? [])).toEqual(['a', 'a', 'a'])
    return looked
  }

  it('looks only at the partitions that have changed while it waits for many bytes', async () => {
    expect(await looksOfFewBytes(200)).toBe(await looksOfFewBytes(20))
  })

  it('returns when several partitions have received enough bytes one after another', async () => {
    const { harness, consumer } = await atTheEnd(4, { fetchMinBytes: 4000 })
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    for (const partition of [2, 0, 3]) {
      await harness.clock.advance(0)
      expect(poll.isSettled).toBe(false)
      harness.partition('t', partition).append('x'.repeat(1300))
    }
    await harness.clock.advance(0)
    expect(poll.value).toHaveLength(3)
  })

  it('returns the records of several changed partitions in the order of their turns', async () => {
    const { harness, consumer } = await atTheEnd(4)
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(0)
    for (const partition of [3, 1]) harness.partition('t', partition).append(String(partition))
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['1', '3'])
  })

  it('notices a change to one partition while it reads another', async () => {
    const { harness, consumer } = await atTheEnd(3)
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(0)
    const open = harness.partition('t', 2).closeGate()
    // It received nothing to read.
    harness.partition('t', 2).notify()
    await harness.clock.advance(0)
    harness.partition('t', 0).append('a')
    await harness.clock.advance(0)
    expect(poll.isSettled).toBe(false)
    open()
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['a'])
  })
})
