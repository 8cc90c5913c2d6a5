import { describe, expect, it, onTestFinished } from 'vitest'
import type { Consumer, ConsumerRecord, OffsetReset, TopicConfig } from '../../lib/index.ts'
import { pushTo } from '../../lib/offline/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

const T0 = { topic: 't', partition: 0 }

/** A topic of one partition, which holds `old 0` up to `old 9`. */
async function filled(config: TopicConfig = {}) {
  const clock = new ManualClock()
  const broker = await tempBroker({ fileSystem: new SimulatedFileSystem(), clock })
  onTestFinished(() => broker.close().catch(() => undefined))
  const partition = (await broker.createTopic('t', config)).partition(0)
  const append = async (name: string, from: number, to: number): Promise<void> => {
    // A truncation removes whole batches.
    for (let offset = from; offset < to; offset += 1) {
      await partition.append({ value: `${name} ${offset}` })
    }
  }
  const resets: OffsetReset[] = []
  const consumer = (): Consumer => {
    const onOffsetReset = (reset: OffsetReset): void => void resets.push(reset)
    const made = broker.consumer({ groupId: 'g', enableAutoCommit: false, onOffsetReset })
    made.subscribe(['t'])
    return made
  }
  const until = async (isSo: () => boolean): Promise<void> => {
    for (let turn = 0; turn < 200 && !isSo(); turn += 1) await clock.advance(20)
    expect(isSo()).toBe(true)
  }
  const committed = (): number | undefined => broker.describe().groups[0]?.offsets[0]?.offset
  await append('old', 0, 10)
  return { clock, broker, partition, append, consumer, until, committed, resets }
}

const text = ({ value }: ConsumerRecord): string => String(value)

function named(name: string, from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, each) => `${name} ${from + each}`)
}

/** A write that waits at one record until it is released. */
function heldUpAt(offset: number) {
  const written: string[] = []
  let release: () => void = () => undefined
  const gate = new Promise<void>((resolve) => (release = resolve))
  const write = async (record: ConsumerRecord): Promise<void> => {
    if (record.offset === offset) await gate
    written.push(text(record))
  }
  return { write, written, release }
}

describe('a push from a log that is truncated', () => {
  it('leaves the consumer after the written records when it fails, so that a truncation resets it', async () => {
    const { clock, partition, append, consumer, resets } = await filled()
    const reader = consumer()
    const write = (record: ConsumerRecord): void => {
      if (record.offset === 5) throw new Error('the target is down')
    }
    const push = pushTo(reader, write, { clock, retries: 0 })
    await expect(push).rejects.toThrow('the target is down')
    expect(reader.position(T0)).toBe(5)
    await partition.log.truncateTo(3)
    await append('new', 3, 8)
    expect((await reader.poll({ maxWaitMs: 0 })).map(text)).toEqual(named('new', 3, 8))
    expect(resets).toEqual([{ ...T0, from: 5, to: 3, reason: 'truncated' }])
  })

  it('commits what it writes in the place of truncated records, and the next push continues after it', async () => {
    const { clock, partition, append, consumer, until, committed } = await filled()
    const written: string[] = []
    const reader = consumer()
    const push = pushTo(reader, (record) => void written.push(text(record)), { clock })
    await until(() => committed() === 10)
    await partition.log.truncateTo(5)
    await append('new', 5, 9)
    await until(() => committed() === 9)
    await push.stop()
    await reader.close()
    expect(written).toEqual([...named('old', 0, 10), ...named('new', 5, 9)])
    const again = pushTo(consumer(), (record) => void written.push(text(record)), { clock })
    await append('new', 9, 10)
    await until(() => committed() === 10)
    await again.stop()
    expect(written.slice(-1)).toEqual(['new 9'])
    expect(written).toHaveLength(15)
  })

  it('does not commit the records that replaced one whose write ends after the truncation', async () => {
    const { clock, partition, append, consumer, until, committed } = await filled()
    const written: string[] = []
    let release: () => void = () => undefined
    const gate = new Promise<void>((resolve) => (release = resolve))
    const reader = consumer()
    const write = async (record: ConsumerRecord): Promise<void> => {
      if (record.offset === 6) await gate
      written.push(text(record))
    }
    const push = pushTo(reader, write, { clock })
    await until(() => committed() === 6)
    await partition.log.truncateTo(5)
    await append('new', 5, 12)
    const stopped = push.stop()
    release()
    await stopped
    await reader.close()
    expect(committed()).toBe(5)
    const again = pushTo(consumer(), (record) => void written.push(text(record)), { clock })
    await until(() => committed() === 12)
    await again.stop()
    expect(written.slice(7)).toEqual(named('new', 5, 12))
  })

  it.each(['cut', 'sought'])(
    'writes what it had taken and still exists when the consumer is %s back into it',
    async (how) => {
      const { clock, partition, append, consumer, until, committed } = await filled()
      const reader = consumer()
      const { write, written, release } = heldUpAt(2)
      const push = pushTo(reader, write, { clock })
      await until(() => committed() === 2)
      if (how === 'cut') {
        await partition.log.truncateTo(8)
        await append('new', 8, 12)
      } else reader.seek(T0, 8)
      await clock.advance(1000)
      release()
      const end = how === 'cut' ? 12 : 10
      await until(() => committed() === end)
      await push.stop()
      const last = how === 'cut' ? named('new', 8, 12) : named('old', 8, 10)
      expect([...new Set(written)]).toEqual([...named('old', 0, 8), ...last])
      expect(written.length).toBe(end + 1)
    },
  )

  it.each(['latest', 'none'] as const)(
    'continues at the log start offset if it is moved back and what it had taken was deleted, %s',
    async (autoOffsetReset) => {
      const { clock, broker, partition, until, committed } = await filled()
      const reader = broker.consumer({ groupId: 'g', enableAutoCommit: false, autoOffsetReset })
      reader.subscribe(['t'])
      await reader.commit([{ ...T0, offset: 0 }])
      const { write, written, release } = heldUpAt(2)
      const push = pushTo(reader, write, { clock })
      await until(() => committed() === 2)
      await partition.deleteRecords(5)
      reader.seek(T0, 8)
      await clock.advance(1000)
      release()
      await until(() => committed() === 10)
      await push.stop()
      expect(written.slice(-5)).toEqual(named('old', 5, 10))
    },
  )

  it('leaves the consumer after the acknowledged records, so that a second truncation resets it', async () => {
    const { clock, partition, append, consumer, until, committed, resets } = await filled()
    let release: () => void = () => undefined
    const gate = new Promise<void>((resolve) => (release = resolve))
    const reader = consumer()
    const push = pushTo(reader, (record) => (record.offset === 5 ? gate : undefined), { clock })
    await until(() => committed() === 5)
    await partition.log.truncateTo(8)
    await append('new', 8, 12)
    await clock.advance(1000)
    const stopped = push.stop()
    release()
    await stopped
    expect(reader.position(T0)).toBe(5)
    await partition.log.truncateTo(3)
    await append('newer', 3, 12)
    expect((await reader.poll({ maxWaitMs: 0 })).map(text)).toEqual(named('newer', 3, 12))
    expect(resets.map(({ from, to }) => [from, to])).toEqual([
      [10, 8],
      [5, 3],
    ])
  })

  it.each([{}, { flushMessages: 1000 }])(
    'continues if the log is truncated while it commits: %o',
    async (config) => {
      const { clock, partition, append, consumer, until, committed } = await filled(config)
      const written: string[] = []
      const reader = consumer()
      const push = pushTo(reader, (record) => void written.push(text(record)), { clock })
      // The truncation happens between the check of what is done and the commit.
      const commit = reader.commit.bind(reader)
      let isCut = false
      reader.commit = async (offsets) => {
        const isFirst = offsets?.[0]?.offset === 10 && !isCut
        if (isFirst) await partition.log.truncateTo(5)
        isCut ||= isFirst
        await commit(offsets)
      }
      await until(() => isCut)
      await append('new', 5, 9)
      await until(() => committed() === 9)
      await push.stop()
      expect(written).toEqual([...named('old', 0, 10), ...named('new', 5, 9)])
    },
  )
})
