import { describe, expect, it } from 'vitest'
import { ClosedError, CommitFailedError, type ConsumerRecord } from '../../lib/index.ts'
import { pushTo } from '../../lib/offline/index.ts'
import { committedOf, heldWrites, setUp, until } from './push-harness.ts'

const P0 = { topic: 't', partition: 0 }

/** Waits for the end of a push that must fail. */
function errorOf(push: Promise<unknown>): { error: unknown } {
  const found: { error: unknown } = { error: null }
  push.catch((error: unknown) => (found.error = error))
  return found
}

describe('a push that fails', () => {
  it.each([100, 2])(
    'while commits fail leaves its consumer at the first unacknowledged record (maxInFlight %i)',
    async (maxInFlight) => {
      const { clock, broker, fileSystem, consumer } = await setUp()
      const reader = consumer()
      const { release, started, write } = heldWrites()
      const push = pushTo(reader, write, { clock, maxInFlight })
      const failed = errorOf(push)
      await until(clock, () => started.length === 1)
      fileSystem.failNext('write', 'ENOSPC', { path: /__consumer_offsets/, persistent: true })
      await release(clock, 0)
      await release(clock, 1)
      await until(clock, () => failed.error !== null)
      expect(failed.error).toMatchObject({ cause: { code: 'ENOSPC' } })
      expect(reader.position(P0)).toBe(started.length)
      expect(reader.paused()).toEqual([])

      fileSystem.clearFaults()
      const written: number[] = []
      const next = pushTo(reader, ({ offset }) => void written.push(offset), { clock })
      await until(clock, () => committedOf(broker).join() === '10')
      expect([...started, ...written]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      await next.stop()
      await broker.close()
    },
  )

  it('with the error of another, closed client in a listener rejects, and repeats what is unwritten', async () => {
    const { clock, broker, consumer } = await setUp()
    const producer = broker.producer()
    await producer.close()
    const reader = consumer({ partitionAssignmentStrategy: 'cooperative-sticky' })
    let isToFail = false
    reader.subscribe(['t'], {
      onPartitionsAssigned: async () => {
        if (isToFail) await producer.send({ topic: 't', value: 'audit' })
      },
    })
    const { release, started, write } = heldWrites()
    const failed = errorOf(pushTo(reader, write, { clock }))
    await until(clock, () => started.length === 1)
    isToFail = true
    await broker.topic('t').addPartitions(2)
    await clock.advance(1000)
    await release(clock, 0)
    await until(clock, () => failed.error !== null)
    expect(failed.error).toBeInstanceOf(ClosedError)
    expect(reader.position(P0)).toBe(1)
    await broker.close()
  })
})

it('a push of assigned partitions rejects when the group has subscribed members, and writes nothing', async () => {
  const { clock, broker, consumer } = await setUp()
  const member = consumer()
  await member.poll({ maxWaitMs: 0 })
  const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false })
  reader.assign([P0])
  const written: number[] = []
  const push = pushTo(reader, ({ offset }) => void written.push(offset), { clock })
  const failed = errorOf(push)
  await until(clock, () => failed.error !== null)
  expect(failed.error).toBeInstanceOf(CommitFailedError)
  expect(written).toEqual([])
  await broker.close()
})

it('a push of assigned partitions rejects when the group gets subscribed members', async () => {
  const { clock, broker, consumer } = await setUp()
  const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false })
  reader.assign([P0])
  const { release, started, write } = heldWrites()
  const failed = errorOf(pushTo(reader, write, { clock }))
  await until(clock, () => started.length === 1)
  await consumer().poll({ maxWaitMs: 0 })
  await release(clock, 0)
  await until(clock, () => failed.error !== null)
  expect(failed.error).toBeInstanceOf(CommitFailedError)
  expect(reader.position(P0)).toBe(1)
  await broker.close()
})

it('a push does not write what another member has written, if one poll gives up the partition and gets it back', async () => {
  const { clock, broker, topic, consumer } = await setUp(2, 0)
  await topic.partition(1).append(Array.from({ length: 10 }, (_, at) => ({ value: `1:${at}` })))
  const first = consumer({ partitionAssignmentStrategy: 'range', fetchMaxWaitMs: 30_000 })
  const { release, started, write } = heldWrites()
  const push = pushTo(first, write, { clock })
  await until(clock, () => started.length === 1 && committedOf(broker).length === 1)

  const second = consumer({ partitionAssignmentStrategy: 'range' })
  const taken: ConsumerRecord[] = []
  for (let turn = 0; turn < 50 && taken.length < 10; turn += 1) {
    const polling = second.poll({ maxWaitMs: 10 })
    await clock.advance(10)
    taken.push(...(await polling))
  }
  expect(taken.map(({ offset }) => offset)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  await second.commit([{ topic: 't', partition: 1, offset: 10 }])
  await second.close()
  await until(clock, () => first.assignment().length === 2)

  await release(clock, 0)
  await clock.advance(1000)
  expect(started).toEqual([0])
  await push.stop()
  expect(committedOf(broker).at(-1)).toBe(10)
  await broker.close()
})
