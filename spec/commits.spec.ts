import { describe, expect, it } from 'vitest'
import { Broker } from '../lib/broker.ts'
import type { Consumer } from '../lib/client/consumer.ts'
import type { OffsetReset } from '../lib/client/consumer-options.ts'
import { CorruptRecordError, OffsetOutOfRangeError, StorageError } from '../lib/errors.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { SeededRandom } from '../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'

const T0 = { topic: 't', partition: 0 }
const NO_WAIT = { maxWaitMs: 0 }
const RELAXED = { flushMessages: Number.MAX_SAFE_INTEGER }

function open(fileSystem: SimulatedFileSystem, readOnly = false): Promise<Broker> {
  const random = new SeededRandom(5)
  return Broker.open('/data', { fileSystem, clock: new ManualClock(), random, readOnly })
}

async function append(broker: Broker, ...values: string[]): Promise<void> {
  await broker
    .topic('t')
    .partition(0)
    .append(values.map((value) => ({ value })))
}

function reader(broker: Broker, resets: OffsetReset[] = []): Consumer {
  const consumer = broker.consumer({
    groupId: 'g',
    enableAutoCommit: false,
    onOffsetReset: (reset) => void resets.push(reset),
  })
  consumer.assign([T0])
  return consumer
}

async function valuesOf(consumer: Consumer): Promise<string[]> {
  return (await consumer.poll(NO_WAIT)).map(({ value }) => String(value))
}

/** A topic whose records `a`, `b`, `c` the group has committed. */
async function consumed(
  config: { flushMessages?: number } = {},
): Promise<{ fs: SimulatedFileSystem; broker: Broker; consumer: Consumer }> {
  const fs = new SimulatedFileSystem()
  const broker = await open(fs)
  await broker.createTopic('t', config)
  await append(broker, 'a', 'b', 'c')
  const consumer = reader(broker)
  await consumer.poll(NO_WAIT)
  await consumer.commit()
  return { fs, broker, consumer }
}

describe('a commit', () => {
  it('carries the leader epoch of the record before its offset, even if the log was truncated since', async () => {
    const { broker, consumer } = await consumed()
    expect(await consumer.committed(T0)).toEqual({ offset: 3, metadata: '', leaderEpoch: 0 })
    await broker.topic('t').partition(0).log.truncateTo(1)
    await append(broker, 'x', 'y', 'z')
    await consumer.commit([{ ...T0, offset: 3 }])
    expect((await consumer.committed(T0))?.leaderEpoch).toBe(1)
    await consumer.commit([{ ...T0, offset: 1 }])
    expect((await consumer.committed(T0))?.leaderEpoch).toBe(0)
    await consumer.commit([{ ...T0, offset: 0 }])
    expect((await consumer.committed(T0))?.leaderEpoch).toBeNull()
  })

  it('carries the leader epoch of the record before the current one of an iteration', async () => {
    const { fs } = await consumed()
    const broker = await open(fs.restart('process'))
    await append(broker, 'd', 'e')
    const consumer = reader(broker)
    const records = consumer[Symbol.asyncIterator]()
    await records.next()
    await consumer.commit()
    expect(await consumer.committed(T0)).toMatchObject({ offset: 3, leaderEpoch: 0 })
    await records.next()
    await consumer.commit()
    expect(await consumer.committed(T0)).toMatchObject({ offset: 4, leaderEpoch: 1 })
  })

  it('of the current record is not moved back by close, so that no deleted record is requested', async () => {
    const broker = await open(new SimulatedFileSystem())
    const topic = await broker.createTopic('t', { retention: 'consumed', segmentBytes: 100 })
    for (const value of ['a', 'b', 'c', 'd', 'e']) await append(broker, value)
    const options = { groupId: 'g', autoOffsetReset: 'latest' } as const
    await broker.consumer(options).commit([{ ...T0, offset: 0 }])
    const consumer = broker.consumer(options)
    consumer.subscribe(['t'])
    for await (const { offset } of consumer) {
      await consumer.commit([{ ...T0, offset: offset + 1 }])
      if (offset === 2) break
    }
    await topic.enforceRetention()
    await consumer.close()
    const next = broker.consumer(options)
    next.subscribe(['t'])
    expect(await valuesOf(next)).toEqual(['d', 'e'])
    await broker.close()
  })

  it('is refused beyond the end of the log, and the previous one stays', async () => {
    const { consumer } = await consumed()
    await expect(consumer.commit([{ ...T0, offset: 4 }])).rejects.toThrow(OffsetOutOfRangeError)
    expect((await consumer.committed(T0))?.offset).toBe(3)
  })

  it('is not where a consumer starts that asks while it is in progress, if it will be refused', async () => {
    const { broker, consumer } = await consumed()
    await consumer.commit([{ ...T0, offset: 1 }])
    const other = reader(broker)
    const committing = other.commit([{ ...T0, offset: 4 }])
    expect(other.position(T0)).toBe(1)
    await expect(committing).rejects.toThrow(OffsetOutOfRangeError)
    expect(await valuesOf(other)).toEqual(['b', 'c'])
  })

  it('is refused for records of a relaxed topic that were lost by a failed sync', async () => {
    const { fs, broker, consumer } = await consumed(RELAXED)
    await append(broker, 'd')
    expect(await valuesOf(consumer)).toEqual(['d'])
    fs.failNext('datasync', 'EIO', { path: /t-0/ })
    await expect(consumer.commit()).rejects.toThrow(StorageError)
    await expect(consumer.commit()).rejects.toThrow(OffsetOutOfRangeError)
    expect((await consumer.committed(T0))?.offset).toBe(3)
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'on a relaxed topic is never ahead of the records after a power loss: seed %i',
    async (seed) => {
      for (let at = 1; ; at += 1) {
        const { fs, broker, consumer } = await consumed(RELAXED)
        let acknowledged = 3
        fs.crashAt(at, { when: at % 2 === 0 ? 'torn' : 'after' })
        try {
          for (let round = 0; round < 3; round += 1) {
            await append(broker, 'd', 'e')
            await consumer.poll(NO_WAIT)
            await consumer.commit()
            acknowledged += 2
          }
        } catch (error) {
          if (!fs.crashed) throw error
        }
        if (!fs.crashed) break
        const after = await open(
          fs.restart('power', { unsynced: 'random', seed: seed * 1000 + at }),
        )
        const trace = `crash at operation ${at}, seed ${seed}`
        expect(after.recovery.clampedOffsets, trace).toEqual([])
        const offset = (await reader(after).committed(T0))?.offset ?? -1
        expect(offset, trace).toBeGreaterThanOrEqual(acknowledged)
        expect(offset, trace).toBeLessThanOrEqual(after.topic('t').partition(0).logEndOffset)
      }
    },
  )
})

describe('a committed offset beyond the end of its leader epoch', () => {
  it('is moved back for good and reported at open, and the records in its place are delivered', async () => {
    const { fs, broker } = await consumed()
    await broker.topic('t').partition(0).log.truncateTo(1)
    await append(broker, 'x', 'y', 'z')
    const second = fs.restart('process')
    const after = await open(second)
    const clamped = { groupId: 'g', ...T0, offset: 3, leaderEpoch: 0, clampedTo: 1 }
    expect(after.recovery.clampedOffsets).toEqual([clamped])
    const consumer = reader(after)
    expect(await consumer.committed(T0)).toMatchObject({ offset: 1, leaderEpoch: 0 })
    expect(await valuesOf(consumer)).toEqual(['x', 'y', 'z'])
    const again = await open(second.restart('power', { unsynced: 'lost' }))
    expect(again.recovery.clampedOffsets).toEqual([])
    expect(await reader(again).committed(T0)).toMatchObject({ offset: 1 })
  })

  it('does not prevent a broker from opening on a full disk, and the next open tries again', async () => {
    const { fs, broker } = await consumed()
    await broker.topic('t').partition(0).log.truncateTo(1)
    const second = fs.restart('process')
    second.failNext('write', 'ENOSPC', { path: /__consumer_offsets.*log$/, persistent: true })
    const after = await open(second)
    expect(after.recovery.clampedOffsets).toMatchObject([{ clampedTo: 1 }])
    expect(await reader(after).committed(T0)).toMatchObject({ offset: 1 })
    const third = second.restart('process')
    expect((await open(third)).recovery.clampedOffsets).toMatchObject([{ clampedTo: 1 }])
  })

  it('is left unchanged if damage may only hide the records, and polls reject with the damage', async () => {
    const { fs, broker } = await consumed()
    await broker.close()
    const path = '/data/t-0/00000000000000000000.log'
    fs.flipBit(path, 70, 0)
    fs.unlink('/data/.kafka_cleanshutdown').catch(() => undefined)
    fs.writeFile('/data/recovery-point-offset-checkpoint', Buffer.from('0\n1\nt 0 3\n'))
    const after = await open(fs)
    expect(after.recovery.damaged).toHaveLength(1)
    expect(after.recovery.clampedOffsets).toEqual([])
    const resets: OffsetReset[] = []
    const consumer = reader(after, resets)
    for (let poll = 0; poll < 2; poll += 1) {
      await expect(consumer.poll(NO_WAIT)).rejects.toThrow(CorruptRecordError)
    }
    expect(resets).toEqual([])
    await expect(consumer.commit([{ ...T0, offset: 3 }])).rejects.toThrow(CorruptRecordError)
    expect(await consumer.committed(T0)).toMatchObject({ offset: 3 })
  })
})

describe('a position that was moved back to the end of a truncated log', () => {
  it('is moved back again when more records are lost, and skips none that take their place', async () => {
    const { broker } = await consumed()
    const resets: OffsetReset[] = []
    const consumer = reader(broker, resets)
    consumer.seekToBeginning([T0])
    expect(await valuesOf(consumer)).toEqual(['a', 'b', 'c'])
    await broker.topic('t').partition(0).log.truncateTo(2)
    expect(await valuesOf(consumer)).toEqual([])
    await broker.topic('t').partition(0).log.truncateTo(1)
    await append(broker, 'x', 'y', 'z')
    expect(await valuesOf(consumer)).toEqual(['x', 'y', 'z'])
    expect(resets).toEqual([
      { ...T0, from: 3, to: 2, reason: 'truncated' },
      { ...T0, from: 2, to: 1, reason: 'truncated' },
    ])
  })
})

describe('a consumer in a read-only process', () => {
  it('reads on from an offset that the group has committed beyond the end it has seen', async () => {
    const { fs, broker, consumer } = await consumed()
    const beside = await open(fs, true)
    await append(broker, 'd')
    await consumer.poll(NO_WAIT)
    await consumer.commit()
    await append(broker, 'e')
    const resets: OffsetReset[] = []
    const other = reader(beside, resets)
    other.seek(T0, 4)
    expect(await valuesOf(other)).toEqual(['e'])
    expect(resets).toEqual([])
  })

  it('is reset when records that it has read were lost and others have taken their place', async () => {
    const { fs, broker } = await consumed(RELAXED)
    await append(broker, 'lost', 'lost too')
    const beside = await open(fs, true)
    const resets: OffsetReset[] = []
    const other = reader(beside, resets)
    expect(await valuesOf(other)).toEqual(['lost', 'lost too'])
    fs.failNext('datasync', 'EIO', { path: /t-0/ })
    await expect(broker.topic('t').partition(0).flush()).rejects.toThrow(StorageError)
    await broker.close().catch(() => undefined)
    const next = await open(fs)
    await append(next, 'x', 'y', 'z')
    await beside.topic('t').partition(0).refresh()
    expect(await valuesOf(other)).toEqual(['x', 'y', 'z'])
    expect(resets).toEqual([{ ...T0, from: 5, to: 3, reason: 'truncated' }])
  })
})
