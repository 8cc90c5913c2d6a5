import { describe, expect, it, vi } from 'vitest'
import { Broker, type CreateTopicOptions, type Partition } from '../../lib/index.ts'
import { watch } from '../client/consumer-harness.ts'
import { settle } from '../helpers/settle.ts'
import { ONE, openTopic, outcomeOf, VALUE, type Opened } from './capped-topic.ts'

describe('a topic that has reached maxBytes', () => {
  it('rejects an append that does not fit, naming the limit, and accepts appends once there is room', async () => {
    const { broker, partition } = await openTopic({ maxBytes: 3 * ONE })
    for (let each = 0; each < 3; each += 1) await partition.append({ value: VALUE })
    await expect(partition.append({ value: VALUE })).rejects.toMatchObject({
      code: 'LOG_FULL',
      name: 'LogFullError',
      outcome: 'not-written',
      topic: 'orders',
      limit: 'maxBytes',
      limitBytes: 3 * ONE,
      actualBytes: 3 * ONE,
      sizeBytes: ONE,
    })
    expect(partition.logEndOffset).toBe(3)
    await partition.deleteRecords(2)
    expect(await partition.append({ value: VALUE })).toMatchObject({ baseOffset: 3 })
    expect(await outcomeOf(partition.append({ value: VALUE }))).toBe('taken')
    await broker.close()
  })

  it('counts all partitions together, and never exceeds the limit however many appends run at once', async () => {
    const { broker } = await openTopic({ maxBytes: 10 * ONE, partitions: 4 })
    const { partitions } = broker.topic('orders')
    const appends = partitions.flatMap((partition) =>
      Array.from({ length: 5 }, () =>
        outcomeOf(partition.append([{ value: VALUE }, { value: '' }])),
      ),
    )
    const outcomes = await Promise.all(appends)
    expect(broker.topic('orders').diskUsage().bytes).toBeLessThanOrEqual(10 * ONE)
    expect(outcomes).toContain('taken')
    expect(outcomes).toContain('LOG_FULL')
    await broker.close()
  })

  it('never exceeds the limit by appends, even if a compaction has made its batches larger', async () => {
    const maxBytes = 20_000
    const { broker, partition } = await openTopic({
      ...{ maxBytes, segmentBytes: 5000, cleanupPolicy: 'compact' },
    })
    let count = 0
    const append = (): Promise<unknown> =>
      partition.append(Array.from({ length: 40 }, () => ({ key: `${count++}`, value: null })))
    while (partition.log.size < 14_000) await append()
    const sizeBytes = partition.log.size
    await partition.compact()
    // It has noted when the tombstones may be removed.
    expect(partition.log.size).toBeGreaterThan(sizeBytes + 2000)
    while ((await outcomeOf(append())) === 'taken') {
      expect(partition.log.size).toBeLessThanOrEqual(maxBytes)
    }
    expect(partition.log.size).toBeGreaterThan(maxBytes - 1000)
    await broker.close()
  })

  it('deletes expired records before it rejects an append', async () => {
    const { broker, partition, clock } = await openTopic({ maxBytes: 3 * ONE, retentionMs: 1000 })
    for (let each = 0; each < 3; each += 1) await partition.append({ value: VALUE })
    await clock.advance(1001)
    expect(await partition.append({ value: VALUE })).toMatchObject({ baseOffset: 3 })
    expect(partition.logStartOffset).toBe(3)
    await broker.close()
  })

  it('accepts an append at any moment while whenFull is altered from wait to dropOldest', async () => {
    for (let moment = 0; moment < 120; moment += 1) {
      const { broker, partition } = await openTopic({ maxBytes: 3 * ONE, whenFull: 'wait' })
      for (let each = 0; each < 3; each += 1) await partition.append({ value: VALUE })
      const altered = broker.topic('orders').alter({ whenFull: 'dropOldest' })
      for (let turn = 0; turn < moment; turn += 1) await Promise.resolve()
      const outcome = outcomeOf(partition.append({ value: VALUE }))
      await altered
      expect(await outcome, `${moment} turns later`).toBe('taken')
      await broker.close()
    }
  })

  it('rejects an append or send larger than the limit at once', async () => {
    for (const whenFull of ['reject', 'wait', 'dropOldest'] as const) {
      const { broker, partition } = await openTopic({
        maxBytes: 2 * ONE,
        whenFull,
        segmentBytes: 5000,
      })
      const producer = broker.producer()
      const large = { value: 'x'.repeat(3 * ONE) }
      const several = Array.from({ length: 9 }, () => ({ value: VALUE }))
      for (const append of [
        partition.append(large),
        partition.append(several),
        producer.send({ topic: 'orders', ...large }),
      ]) {
        await expect(append).rejects.toMatchObject({ code: 'MESSAGE_TOO_LARGE', maxBytes: 2 * ONE })
      }
      await broker.close()
    }
  })

  it('rejects appends and sends queued behind a rejected one, and a later send of the producer is accepted', async () => {
    const { broker, partition } = await openTopic({ maxBytes: 3 * ONE })
    for (let each = 0; each < 2; each += 1) await partition.append({ value: VALUE })
    const pair = [{ value: VALUE }, { value: VALUE }]
    const outcomes = [partition.append(pair), partition.append({ value: '' })].map(outcomeOf)
    expect(await Promise.all(outcomes)).toEqual(['LOG_FULL', 'LOG_FULL'])
    await partition.append({ value: VALUE })
    const producer = broker.producer({ batchRecords: 1 })
    const sends = [1, 2].map(() => producer.send({ topic: 'orders', value: VALUE }))
    expect(await Promise.all(sends.map(outcomeOf))).toEqual(['LOG_FULL', 'LOG_FULL'])
    await partition.deleteRecords(-1)
    await broker.topic('orders').enforceRetention()
    expect(await outcomeOf(producer.send({ topic: 'orders', value: VALUE }))).toBe('taken')
    await broker.close()
  })

  it('accepts more after the limit is raised, and any number once it is removed', async () => {
    const { broker, partition } = await openTopic({ maxBytes: ONE })
    await partition.append({ value: VALUE })
    expect(await outcomeOf(partition.append({ value: VALUE }))).toBe('LOG_FULL')
    await broker.topic('orders').alter({ maxBytes: 2 * ONE })
    expect(await outcomeOf(partition.append({ value: VALUE }))).toBe('taken')
    await broker.topic('orders').alter({ maxBytes: -1 })
    expect(await outcomeOf(partition.append({ value: VALUE }))).toBe('taken')
    await broker.close()
  })
})

describe("whenFull: 'wait'", () => {
  it('makes appends wait in order until records are deleted', async () => {
    const { broker, partition } = await openTopic({ maxBytes: 3 * ONE, whenFull: 'wait' })
    for (let each = 0; each < 3; each += 1) await partition.append({ value: VALUE })
    const order: number[] = []
    const waiting = [0, 1].map(async (each) => {
      await partition.append([{ value: VALUE }])
      order.push(each)
    })
    await settle()
    expect([order, partition.logEndOffset]).toEqual([[], 3])
    await partition.deleteRecords(2)
    await Promise.all(waiting)
    expect([order, partition.logEndOffset]).toEqual([[0, 1], 5])
    await broker.close()
  })

  it('looks again at a commit only if that frees a segment', async () => {
    const { broker, partition } = await openTopic({
      ...{ maxBytes: 4 * ONE, segmentBytes: 2 * ONE, whenFull: 'wait', retention: 'consumed' },
    })
    for (let each = 0; each < 4; each += 1) await partition.append({ value: VALUE })
    const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false })
    consumer.assign([{ topic: 'orders', partition: 0 }])
    const waiting = partition.append({ value: VALUE })
    await settle()
    const looks = vi.spyOn(partition.deletion, 'mayDeleteConsumed')
    for (const offset of [0, 1]) {
      await consumer.commit([{ topic: 'orders', partition: 0, offset }])
      await settle()
      expect([looks.mock.calls.length, partition.logEndOffset]).toEqual([0, 4])
    }
    await consumer.commit([{ topic: 'orders', partition: 0, offset: 2 }])
    expect(await waiting).toMatchObject({ baseOffset: 4 })
    expect(partition.logStartOffset).toBe(2)
    await broker.close()
  })

  it('ends the wait when groups have consumed records, and when the configuration is altered', async () => {
    const { broker, partition } = await openTopic({
      ...{ maxBytes: 2 * ONE, whenFull: 'wait', retention: 'consumed' },
    })
    for (let each = 0; each < 2; each += 1) await partition.append({ value: VALUE })
    const third = partition.append({ value: VALUE })
    await settle()
    const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false })
    consumer.assign([{ topic: 'orders', partition: 0 }])
    await consumer.commit([{ topic: 'orders', partition: 0, offset: 2 }])
    expect(await third).toMatchObject({ baseOffset: 2 })
    await partition.append({ value: VALUE })
    const fifth = outcomeOf(partition.append({ value: VALUE }))
    await settle()
    await broker.topic('orders').alter({ whenFull: 'reject' })
    expect(await fifth).toBe('LOG_FULL')
    await broker.close()
  })

  it('ends the wait when the broker is closed and when the topic is deleted', async () => {
    for (const end of ['close', 'deleteTopic'] as const) {
      const { broker, partition } = await openTopic({ maxBytes: ONE, whenFull: 'wait' })
      await partition.append({ value: VALUE })
      const waiting = outcomeOf(partition.append({ value: VALUE }))
      await settle()
      await (end === 'close' ? broker.close() : broker.deleteTopic('orders'))
      expect(await waiting).toBe(end === 'close' ? 'CLOSED' : 'UNKNOWN_TOPIC_OR_PARTITION')
      await broker.close()
    }
  })

  it.each([
    ['close', 'first'],
    ['close', 'last'],
    ['deleteTopic', 'first'],
    ['deleteTopic', 'last'],
  ] as const)(
    'ends the wait when %s closes more partitions than are closed at a time, and the %s waits first',
    async (end, first) => {
      const { broker, clock } = await openTopic({ maxBytes: ONE, whenFull: 'wait', partitions: 17 })
      const { partitions } = broker.topic('orders')
      await partitions[0]?.append({ value: VALUE })
      const outcomes: Promise<unknown>[] = []
      // If the partition that is closed last is the first in the queue, all others wait for it.
      for (const partition of first === 'last' ? partitions.toReversed() : partitions) {
        outcomes.push(outcomeOf(partition.append({ value: VALUE })))
        await settle()
      }
      const ending = watch(end === 'close' ? broker.close() : broker.deleteTopic('orders'))
      await clock.advance(5000)
      await settle()
      expect(ending.isSettled).toBe(true)
      expect(new Set(await Promise.all(outcomes)).has('taken')).toBe(false)
    },
  )

  it('ends the wait of an append when its signal aborts, and appends behind it continue', async () => {
    const { broker, partition } = await openTopic({
      ...{ maxBytes: 4 * ONE, whenFull: 'wait', partitions: 2, segmentBytes: 5000 },
    })
    const other = broker.topic('orders').partition(1)
    for (let each = 0; each < 3; each += 1) await partition.append({ value: VALUE })
    const abort = new AbortController()
    const options = { signal: abort.signal }
    const several = Array.from({ length: 4 }, () => ({ value: VALUE }))
    const outcomes = [
      partition.append(several, options),
      // In a separate group after the waiting one, and in the topic's queue.
      partition.append({ value: 'given up' }, options),
      other.append(several, options),
    ].map((append) => append.catch((error: unknown) => error))
    const behind = [partition.append({ value: 'kept' }), other.append({ value: '' })]
    await settle()
    expect(partition.logEndOffset).toBe(3)
    const reason = new Error('enough')
    abort.abort(reason)
    await settle()
    expect(await Promise.all(outcomes)).toEqual([reason, reason, reason])
    await partition.deleteRecords(-1).catch(() => undefined)
    expect(await Promise.all(behind)).toMatchObject([{ baseOffset: 3 }, { baseOffset: 0 }])
    expect(String((await partition.read(3))[0]?.value)).toBe('kept')
    await broker.close()
  })

  it('rejects an append whose signal is aborted while its records are read', async () => {
    const { broker, partition } = await openTopic({ maxBytes: ONE, whenFull: 'wait' })
    await partition.append({ value: VALUE })
    const abort = new AbortController()
    const headers = {
      *[Symbol.iterator]() {
        abort.abort(new Error('while it is read'))
        yield { key: 'h', value: null }
      },
    }
    let outcome = 'waits'
    partition.append({ value: '', headers }, { signal: abort.signal }).catch((error: unknown) => {
      outcome = String(error)
    })
    await settle()
    expect(outcome).toBe('Error: while it is read')
    await broker.close()
  })

  it('ignores a signal that is aborted after its append, and rejects appends with an aborted signal', async () => {
    const { broker, partition } = await openTopic({ maxBytes: 4 * ONE, whenFull: 'wait' })
    const abort = new AbortController()
    const { signal } = abort
    const first = partition.append({ value: VALUE }, { signal })
    await settle()
    expect(await first).toMatchObject({ baseOffset: 0 })
    abort.abort(new Error('late'))
    expect(partition.logEndOffset).toBe(1)
    await expect(partition.append({ value: VALUE }, { signal })).rejects.toThrow('late')
    await expect(partition.append({ value: VALUE }, { signal, acks: 0 })).rejects.toThrow('late')
    expect(partition.logEndOffset).toBe(1)
    await broker.close()
  })

  it('rejects a send that waits for longer than deliveryTimeoutMs', async () => {
    const { broker, partition, clock } = await openTopic({ maxBytes: ONE, whenFull: 'wait' })
    await partition.append({ value: VALUE })
    const producer = broker.producer({ deliveryTimeoutMs: 5000 })
    const send = outcomeOf(producer.send({ topic: 'orders', value: VALUE }))
    await settle()
    await clock.advance(5001)
    expect(await send).toBe('TIMEOUT')
    await broker.close()
  })

  it('leaves no timer behind once there is room', async () => {
    const { broker, partition, clock } = await openTopic({ maxBytes: ONE, whenFull: 'wait' })
    const before = clock.pendingTimers
    await partition.append({ value: VALUE })
    const waiting = partition.append({ value: VALUE })
    await settle()
    await partition.deleteRecords(-1)
    await clock.advance(1000)
    await waiting
    expect(clock.pendingTimers).toBe(before)
    await broker.close()
  })
})

describe('an append that needs room in a full topic', () => {
  it('is rejected when the limit is lowered below its size, blocks no other append and deletes nothing', async () => {
    for (const whenFull of ['wait', 'dropOldest'] as const) {
      const { broker, partition, clock } = await openTopic({
        ...{ maxBytes: 4 * ONE, whenFull: 'wait', partitions: 2 },
      })
      const topic = broker.topic('orders')
      for (let each = 0; each < 4; each += 1) await partition.append({ value: VALUE })
      const large = outcomeOf(partition.append([{ value: VALUE }, { value: VALUE }]))
      await settle()
      const behind = topic.partition(1).append({ value: '' })
      await settle()
      await topic.alter({ maxBytes: ONE, whenFull })
      expect(await large).toBe('MESSAGE_TOO_LARGE')
      if (whenFull === 'wait') {
        expect(partition.logStartOffset).toBe(0)
        await partition.deleteRecords(-1)
        await clock.advance(1000)
      }
      expect(await behind).toMatchObject({ baseOffset: 0 })
      await broker.close()
    }
  })

  it('is not rejected along with its group when the limit is lowered, if it fits alone', async () => {
    const { broker, partition } = await openTopic({ maxBytes: 9 * ONE, whenFull: 'wait' })
    for (let each = 0; each < 9; each += 1) await partition.append({ value: VALUE })
    const producer = broker.producer({ batchRecords: 1 })
    const sent = [0, 1, 2, 3].map((n) =>
      producer.send({ topic: 'orders', value: `${n}${VALUE.slice(1)}` }),
    )
    await settle()
    const alone = [4, 5].map((n) => partition.append([{ value: `${n}${VALUE.slice(1)}` }]))
    const large = outcomeOf(partition.append(Array.from({ length: 5 }, () => ({ value: VALUE }))))
    const shared = partition.append({ value: `6${VALUE.slice(1)}` })
    await settle()
    await broker.topic('orders').alter({ maxBytes: 2 * ONE })
    const last = partition.append({ value: `7${VALUE.slice(1)}` })
    await settle()
    const seen: string[] = []
    for (let room = 0; room < 4; room += 1) {
      await partition.deleteRecords(-1)
      await settle()
      for (const { value } of await partition.read(partition.logStartOffset)) {
        seen.push(value?.toString()[0] ?? '')
      }
    }
    await Promise.all([...sent, ...alone, shared, last])
    expect(await large).toBe('MESSAGE_TOO_LARGE')
    expect(seen.toSorted()).toEqual(['0', '1', '2', '3', '4', '5', '6', '7'])
    expect(seen.filter((each) => each < '4')).toEqual(['0', '1', '2', '3'])
    await broker.close()
  })

  it('is accepted when a concurrent retention pass deletes what it needs', async () => {
    for (let microtasks = 0; microtasks < 60; microtasks += 3) {
      const { broker, partition, clock } = await openTopic({ maxBytes: 3 * ONE, retentionMs: 1000 })
      for (let each = 0; each < 3; each += 1) await partition.append({ value: VALUE })
      await clock.advance(1001)
      const pass = partition.enforceRetention()
      for (let each = 0; each < microtasks; each += 1) await Promise.resolve()
      const outcome = await outcomeOf(partition.append({ value: VALUE }))
      expect(outcome, `after ${microtasks} microtasks`).toBe('taken')
      await pass
      await broker.close()
    }
  })

  it('is accepted once compaction has made room', async () => {
    const { broker, partition, clock } = await openTopic({
      ...{ maxBytes: 1500, segmentBytes: 5000, whenFull: 'wait', cleanupPolicy: 'compact' },
    })
    while (partition.log.size < 1350) await partition.append({ key: 'k', value: VALUE })
    const three = Array.from({ length: 3 }, () => ({ key: 'k', value: VALUE }))
    const waiting = outcomeOf(partition.append(three))
    await settle()
    await partition.compact()
    await clock.advance(1000)
    expect(await waiting).toBe('taken')
    await broker.close()
  })
})

describe("whenFull: 'dropOldest'", () => {
  it('deletes the oldest segments of the topic, in any partition, and accepts the append', async () => {
    const { broker, clock } = await openTopic({
      maxBytes: 4 * ONE,
      whenFull: 'dropOldest',
      partitions: 2,
    })
    const [first, second] = broker.topic('orders').partitions as [Partition, Partition]
    await second.append({ value: VALUE })
    await clock.advance(10)
    for (let each = 0; each < 3; each += 1) await first.append({ value: VALUE })
    await first.append({ value: VALUE })
    expect([first.logStartOffset, second.logStartOffset]).toEqual([0, 1])
    for (let each = 0; each < 20; each += 1) {
      await first.append({ value: VALUE })
      expect(broker.topic('orders').diskUsage().bytes).toBeLessThanOrEqual(4 * ONE)
    }
    expect([first.logEndOffset, second.logEndOffset]).toEqual([24, 1])
    await broker.close()
  })

  it('rolls the active segment if it holds all records, so that it can be deleted', async () => {
    const options = { maxBytes: 3 * ONE, whenFull: 'dropOldest', segmentBytes: 5000 } as const
    const { broker, partition } = await openTopic(options)
    for (let each = 0; each < 4; each += 1) await partition.append({ value: VALUE })
    expect([partition.logStartOffset, partition.logEndOffset]).toEqual([3, 4])
    await broker.close()
  })

  it('rejects while nothing can be deleted because the disk fails', async () => {
    const { broker, partition, fileSystem } = await openTopic({
      maxBytes: ONE,
      whenFull: 'dropOldest',
    })
    await partition.append({ value: VALUE })
    fileSystem.failNext('unlink', 'EIO', { persistent: true })
    for (let each = 0; each < 3; each += 1) {
      expect(await outcomeOf(partition.append({ value: VALUE }))).toBe('LOG_FULL')
      // Files that could not be removed still take space.
      expect(broker.topic('orders').diskUsage().bytes).toBe(ONE)
    }
    fileSystem.clearFaults()
    expect(await outcomeOf(partition.append({ value: VALUE }))).toBe('taken')
    await broker.close()
  })
})

describe('a partition that takes no writes, in a full topic', () => {
  const BOTH = [{ value: VALUE }, { value: VALUE }]

  interface OpenedFull extends Opened {
    readonly other: Partition
  }

  /** A topic with room for one more record; its first partition holds its oldest records. */
  async function openFull(options: CreateTopicOptions): Promise<OpenedFull> {
    const opened = await openTopic({
      ...{ maxBytes: 7 * ONE, partitions: 2, segmentBytes: 5000, ...options },
    })
    for (let each = 0; each < 2; each += 1) await opened.partition.append({ value: VALUE })
    await opened.clock.advance(1)
    const other = opened.broker.topic('orders').partition(1)
    for (let each = 0; each < 4; each += 1) await other.append({ value: VALUE })
    return { ...opened, other }
  }

  async function openFailed(options: CreateTopicOptions): Promise<OpenedFull> {
    const opened = await openFull(options)
    opened.fileSystem.failNext('datasync', 'EIO', { path: /orders-0/ })
    expect(await outcomeOf(opened.partition.append({ value: '' }))).toBe('STORAGE_ERROR')
    return opened
  }

  async function openDamaged(options: CreateTopicOptions): Promise<OpenedFull> {
    const { clock, ...before } = await openFull(options)
    const fileSystem = before.fileSystem.restart('process')
    const path = before.partition.log.segments[0]?.path ?? ''
    fileSystem.flipBit(path, ONE - 1, 0)
    const broker = await Broker.open('/data', { fileSystem, clock })
    const [partition, other] = broker.topic('orders').partitions as [Partition, Partition]
    expect([partition.log.damage, partition.logEndOffset]).toEqual([expect.anything(), 0])
    while (broker.topic('orders').diskUsage().bytes < 6 * ONE) await other.append({ value: VALUE })
    return { broker, fileSystem, clock, partition, other }
  }

  it.each([
    ['reject', 'STORAGE_ERROR', openFailed],
    ['wait', 'STORAGE_ERROR', openFailed],
    ['dropOldest', 'STORAGE_ERROR', openFailed],
    ['reject', 'CORRUPT_MESSAGE', openDamaged],
    ['wait', 'CORRUPT_MESSAGE', openDamaged],
    ['dropOldest', 'CORRUPT_MESSAGE', openDamaged],
  ] as const)(
    'asks no room for its appends, with %s, which reject with %s, and the others go on',
    async (whenFull, code, open) => {
      const { broker, partition, other } = await open({ whenFull })
      const refused = watch(partition.append(BOTH))
      await settle()
      expect(refused.error).toMatchObject({ code })
      expect(other.logStartOffset).toBe(0)
      expect(await outcomeOf(other.append({ value: VALUE }))).toBe('taken')
      await broker.close().catch(() => undefined)
    },
  )

  it('ends the wait of its append when it begins to refuse, and appends behind it continue', async () => {
    const options = { whenFull: 'wait', flushMessages: 100 } as const
    const { broker, partition, other, fileSystem, clock } = await openFull(options)
    const waiting = watch(partition.append([BOTH, BOTH, BOTH, BOTH].flat()))
    await settle()
    const behind = watch(other.append({ value: VALUE }))
    await settle()
    fileSystem.failNext('datasync', 'EIO', { path: /orders-0/ })
    expect(await outcomeOf(partition.flush())).toBe('STORAGE_ERROR')
    expect(waiting.isSettled).toBe(false)
    await clock.advance(1000)
    await settle()
    expect(waiting.error).toMatchObject({ code: 'STORAGE_ERROR', outcome: 'not-written' })
    expect(behind).toMatchObject({ isSettled: true, value: { baseOffset: 4 } })
    await broker.close().catch(() => undefined)
  })

  it('deletes no records of the others if the deletion of its own ends its writes', async () => {
    const options = { whenFull: 'dropOldest', flushMessages: 100 } as const
    const { broker, partition, other, fileSystem } = await openFull(options)
    fileSystem.failNext('datasync', 'EIO', { path: /orders-0\/.*log$/ })
    const refused = await partition.append(BOTH).catch((error: unknown) => error)
    expect(refused).toMatchObject({ code: 'STORAGE_ERROR', outcome: 'not-written' })
    expect(other.logStartOffset).toBe(0)
    await broker.close().catch(() => undefined)
  })
})
