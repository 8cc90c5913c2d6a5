import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { Broker } from '../lib/broker.ts'
import type { OffsetReset } from '../lib/client/consumer-options.ts'
import { StorageError } from '../lib/errors.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { SeededRandom } from '../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'
import { withoutTurns } from './helpers/held-turns.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

const T0 = { topic: 't', partition: 0 }
const NO_WAIT = { maxWaitMs: 0 }
/** Later than every record. */
const LATER_MS = 8e12

/** A broker with a topic of one partition, which holds `old 0` to `old 9`. */
async function filled(fileSystem = new SimulatedFileSystem()) {
  const clock = new ManualClock()
  const broker = await Broker.open('/data', { fileSystem, clock, random: new SeededRandom(3) })
  onTestFinished(() => broker.close().catch(() => undefined))
  const { partitions } = await broker.createTopic('t', { segmentBytes: 300 })
  const [partition] = partitions
  if (partition === undefined) throw new Error('there is no partition')
  for (let each = 0; each < 10; each += 1) await partition.append({ value: `old ${each}` })
  return { broker, partition, clock, fileSystem }
}

describe('a truncation of a log that is being read', () => {
  it.each(['cut before the append is called', 'cut beside the append'])(
    'resets a consumer that waits in a poll while the log grows again: %s',
    async (order) => {
      const { broker, partition, clock } = await filled()
      const resets: OffsetReset[] = []
      const onOffsetReset = (reset: OffsetReset): void => void resets.push(reset)
      const consumer = broker.consumer({ groupId: 'g', onOffsetReset })
      consumer.assign([T0])
      expect(await consumer.poll(NO_WAIT)).toHaveLength(10)
      const waiting = consumer.poll({ maxWaitMs: 1000 })
      const cut = partition.log.truncateTo(8)
      if (order.includes('before')) await cut
      await partition.append(['new 8', 'new 9', 'new 10'].map((value) => ({ value })))
      await cut
      await clock.advance(1000)
      const texts = (await waiting).map(({ value }) => String(value))
      for (const { value } of await consumer.poll(NO_WAIT)) texts.push(String(value))
      expect(texts).toEqual(['new 8', 'new 9', 'new 10'])
      expect(resets).toEqual([{ ...T0, from: 10, to: 8, reason: 'truncated' }])
    },
  )

  it.each(['autoOffsetReset', 'seekToEnd', 'seekToTimestamp'])(
    'resets a consumer that was placed at the end by %s, and delivers the new records',
    async (way) => {
      const { broker, partition } = await filled()
      const resets: OffsetReset[] = []
      const consumer = broker.consumer({
        autoOffsetReset: way === 'autoOffsetReset' ? 'latest' : 'earliest',
        onOffsetReset: (reset) => void resets.push(reset),
      })
      consumer.assign([T0])
      if (way === 'seekToEnd') consumer.seekToEnd([T0])
      if (way === 'seekToTimestamp') await consumer.seekToTimestamp([T0], LATER_MS)
      expect(await consumer.poll(NO_WAIT)).toEqual([])
      await partition.log.truncateTo(8)
      for (const value of ['new 8', 'new 9', 'new 10']) await partition.append({ value })
      const texts = (await consumer.poll(NO_WAIT)).map(({ value }) => String(value))
      expect(texts).toEqual(['new 8', 'new 9', 'new 10'])
      expect(resets).toEqual([{ ...T0, from: 10, to: 8, reason: 'truncated' }])
    },
  )

  it('makes a seekToTimestamp to the end that is under way lead to the new records', async () => {
    withoutTurns()
    const { broker, partition } = await filled()
    const consumer = broker.consumer()
    consumer.assign([T0])
    const seeking = consumer.seekToTimestamp([T0], LATER_MS)
    await partition.log.truncateTo(8)
    await partition.append(['new 8', 'new 9', 'new 10'].map((value) => ({ value })))
    await seeking
    const texts = (await consumer.poll(NO_WAIT)).map(({ value }) => String(value))
    expect(texts).toEqual(['new 8', 'new 9', 'new 10'])
  })

  it.each([
    ['before it waits', 4],
    ['while it waits', 4],
    ['while it waits', 2],
  ])(
    'rejects an iteration from the end with OFFSET_OUT_OF_RANGE: truncated %s, then %d new records',
    async (when, count) => {
      const { partition, clock } = await filled()
      const records = partition.records({ from: 'latest' })
      let outcome: unknown = 'it waits'
      const start = (): void => {
        records.next().then(
          (result) => (outcome = result),
          (error: unknown) => (outcome = error),
        )
      }
      if (when === 'while it waits') start()
      await clock.advance(10)
      await partition.log.truncateTo(8)
      await partition.append(Array.from({ length: count }, () => ({ value: 'new' })))
      if (when === 'before it waits') start()
      await clock.advance(1000)
      expect(outcome).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', offset: 10 })
    },
  )

  it('rejects polls of a consumer without autoOffsetReset, and names the truncation point', async () => {
    const { broker, partition } = await filled()
    const consumer = broker.consumer({ autoOffsetReset: 'none' })
    consumer.assign([T0])
    consumer.seekToBeginning([T0])
    await consumer.poll(NO_WAIT)
    await partition.log.truncateTo(8)
    for (let each = 8; each < 14; each += 1) await partition.append({ value: `new ${each}` })
    for (let poll = 0; poll < 2; poll += 1) {
      await expect(consumer.poll(NO_WAIT)).rejects.toMatchObject({
        code: 'OFFSET_OUT_OF_RANGE',
        offset: 10,
        message:
          'the records of t-0 before offset 10 were truncated from offset 8 on; ' +
          'the log now holds 0 to 14 (exclusive)',
      })
    }
    consumer.seek(T0, 8)
    expect((await consumer.poll(NO_WAIT)).map(({ offset }) => offset)[0]).toBe(8)
  })

  it('resets a consumer to the new end of the log if it fails half way', async () => {
    const { broker, partition, fileSystem } = await filled()
    const resets: OffsetReset[] = []
    const onOffsetReset = (reset: OffsetReset): void => void resets.push(reset)
    const consumer = broker.consumer({ groupId: 'g', onOffsetReset })
    consumer.assign([T0])
    await consumer.poll(NO_WAIT)
    // The epoch of a failed append is recorded to begin where the log ended then.
    for (let each = 0; each < 2; each += 1) {
      fileSystem.failNext('write', 'ENOSPC', { path: /t-0.*log$/ })
      await expect(partition.append({ value: 'lost' })).rejects.toThrow(StorageError)
    }
    fileSystem.failNext('stat', 'EMFILE', { path: /snapshot/ })
    await expect(partition.log.truncateTo(6)).rejects.toMatchObject({ outcome: 'unknown' })
    expect(await consumer.poll(NO_WAIT)).toEqual([])
    expect(resets).toEqual([{ ...T0, from: 10, to: 6, reason: 'truncated' }])
  })
})
