import { describe, expect, it, onTestFinished } from 'vitest'
import type { Consumer, ConsumerRecord, OffsetReset } from '../../lib/index.ts'
import { pushTo } from '../../lib/offline/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

const T0 = { topic: 't', partition: 0 }

/** A topic of one partition, which holds `old 0` up to `old 9`. */
async function filled() {
  const clock = new ManualClock()
  const broker = await tempBroker({ fileSystem: new SimulatedFileSystem(), clock })
  onTestFinished(() => broker.close().catch(() => undefined))
  const partition = (await broker.createTopic('t')).partition(0)
  const append = async (name: string, from: number, to: number): Promise<void> => {
    const offsets = Array.from({ length: to - from }, (_, each) => from + each)
    await partition.append(offsets.map((offset) => ({ value: `${name} ${offset}` })))
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

describe('a push from a log that is cut', () => {
  it('that has failed leaves the consumer behind the records that it has written', async () => {
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
})
