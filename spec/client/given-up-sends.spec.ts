import { describe, expect, it } from 'vitest'
import { Broker, type Partition, type Producer, type ProducerOptions } from '../../lib/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { ONE, openTopic, VALUE, type Opened } from '../broker/capped-topic.ts'
import { heldSyncs } from '../helpers/held-syncs.ts'
import { settle } from '../helpers/settle.ts'
import { observe, type Outcome } from './fake-topic.ts'

/** The values in the log, without their padding. */
async function valuesOf(partition: Partition): Promise<string[]> {
  const values: string[] = []
  for await (const { value } of partition.records({ until: 'end' })) {
    values.push(String(value).replaceAll('x', ''))
  }
  return values
}

function send(producer: Producer, value: string): Outcome {
  return observe(producer.send({ topic: 'orders', value: value.padEnd(VALUE.length, 'x') }))
}

describe('a send that is given up while it waits for room', () => {
  /** A full topic, and a producer whose batches hold one record. */
  async function openFull(
    options: ProducerOptions = {},
  ): Promise<Opened & { readonly producer: Producer }> {
    const opened = await openTopic({ maxBytes: 3 * ONE, whenFull: 'wait' })
    for (let each = 0; each < 3; each += 1) await opened.partition.append({ value: VALUE })
    return { ...opened, producer: opened.broker.producer({ batchRecords: 1, ...options }) }
  }

  it('by a close of its producer, is not written later, and leaves no timer behind', async () => {
    const { broker, partition, producer, clock } = await openFull()
    const before = clock.pendingTimers
    const sent = [send(producer, 'a'), send(producer, 'b')]
    await settle()
    const closed = producer.close({ timeoutMs: 10 })
    await clock.advance(10)
    await closed
    for (const { error } of sent) {
      expect(error).toMatchObject({ code: 'CLOSED', outcome: 'not-written' })
    }
    await settle()
    expect(clock.pendingTimers).toBe(before)
    await partition.deleteRecords(-1)
    await clock.advance(1000)
    expect(partition.logEndOffset).toBe(3)
    await broker.close()
  })

  it.each(['all', 1, 0] as const)(
    'by deliveryTimeoutMs, is not written later with acks %s, and the sends after it are',
    async (acks) => {
      const { broker, partition, producer, clock } = await openFull({
        ...{ acks, deliveryTimeoutMs: 5000 },
      })
      const first = send(producer, 'a')
      await clock.advance(3000)
      const second = send(producer, 'b')
      await clock.advance(2000)
      if (acks !== 0) expect(first.error).toMatchObject({ code: 'TIMEOUT', outcome: 'not-written' })
      await partition.deleteRecords(-1)
      await clock.advance(1000)
      expect(await valuesOf(partition)).toEqual(['b'])
      if (acks !== 0) expect(second.metadata).toMatchObject({ offset: 3 })
      await broker.close()
    },
  )

  it('leaves the younger sends of its group waiting, in their order', async () => {
    const { broker, partition, producer, clock } = await openFull({ deliveryTimeoutMs: 5000 })
    // While it waits, those after it gather to one group.
    const outcomes = [send(producer, 'a')]
    for (const value of ['b', 'c', 'd']) {
      await clock.advance(1000)
      outcomes.push(send(producer, value))
    }
    // The first of that group was sent a second after 'a', the last three.
    await clock.advance(3000)
    expect(outcomes.map(({ isSettled }) => isSettled)).toEqual([true, true, false, false])
    expect(outcomes[1]?.error).toMatchObject({ code: 'TIMEOUT', outcome: 'not-written' })
    await partition.deleteRecords(-1)
    await clock.advance(900)
    expect(await valuesOf(partition)).toEqual(['c', 'd'])
    expect(outcomes.map(({ metadata }) => metadata?.offset)).toEqual([undefined, undefined, 3, 4])
    await producer.close()
    await broker.close()
  })
})

describe('a send that is given up while another write is synced', () => {
  async function openHeld(): Promise<{
    readonly broker: Broker
    readonly partition: Partition
    readonly producer: Producer
    readonly release: () => void
  }> {
    const { fileSystem, hold } = heldSyncs()
    const broker = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    const partition = (await broker.createTopic('orders')).partition(0)
    await partition.append({ value: '0' })
    return { broker, partition, producer: broker.producer(), release: hold() }
  }

  it('is not written later if its own write has not begun', async () => {
    const { broker, partition, producer, release } = await openHeld()
    const appended = partition.append({ value: '1' })
    await settle()
    const sent = send(producer, 'a')
    await settle()
    await producer.close({ timeoutMs: 0 })
    await settle()
    expect(sent.error).toMatchObject({ code: 'CLOSED', outcome: 'not-written' })
    release()
    await appended
    await partition.append({ value: '2' })
    expect(await valuesOf(partition)).toEqual(['0', '1', '2'])
    await broker.close()
  })

  it('is unknown, and in the log, if the write that is synced is its own', async () => {
    const { broker, partition, producer, release } = await openHeld()
    const sent = send(producer, 'a')
    await settle()
    await producer.close({ timeoutMs: 0 })
    await settle()
    expect(sent.error).toMatchObject({ code: 'CLOSED', outcome: 'unknown' })
    release()
    await partition.append({ value: '1' })
    expect(await valuesOf(partition)).toEqual(['0', 'a', '1'])
    await broker.close()
  })
})
