import { expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const COUNT = 40
const LATE = 9_000

it.each([1, 20, 39])(
  'a reader finds by time what was appended after a truncation, in place of records of the same size: cut at %d',
  async (cut) => {
    const clock = new ManualClock(2_000_000)
    const fileSystem = new SimulatedFileSystem()
    const owner = await Broker.open('/data', { fileSystem, clock })
    const topic = await owner.createTopic('a', { indexIntervalBytes: 0 })
    const partition = topic.partition(0)
    const timeOf = (offset: number): number => 1_000 + offset
    for (let offset = 0; offset < COUNT; offset += 1)
      await partition.append({ value: 'before', timestamp: timeOf(offset) })
    await partition.log.checkpoint()
    const reader = await Broker.open('/data', { fileSystem, clock, readOnly: true })
    const followed = reader.topic('a').partition(0)
    expect(await followed.offsetForTimestamp(LATE)).toBeNull()
    await partition.log.truncateTo(cut)
    const late = Math.min(COUNT - 1, cut + 5)
    for (let offset = cut; offset < COUNT; offset += 1)
      await partition.append({
        value: 'behind',
        timestamp: offset === late ? LATE : timeOf(offset),
      })
    await followed.refresh()
    await followed.refresh()
    for (const since of [timeOf(cut), LATE]) {
      const found = await followed.offsetForTimestamp(since)
      expect(found, `since ${since}`).toEqual(await partition.offsetForTimestamp(since))
      expect(found).toEqual(since === LATE ? late : cut)
    }
    await reader.close()
    await owner.close()
  },
)
