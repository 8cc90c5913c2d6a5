import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { UnknownTopicOrPartitionError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const RECORDS = 10
/** Younger than all of them. */
const LATER = 4_000_000_000_000

interface Brokers {
  readonly clock: ManualClock
  readonly disk: SimulatedFileSystem
  readonly owner: Broker
  /** The partition as another process sees it, which only reads. */
  readonly followed: Partition
  readonly close: () => Promise<void>
}

/** A topic of five segments that two processes have open. */
async function fixture(): Promise<Brokers> {
  const clock = new ManualClock()
  const disk = new SimulatedFileSystem()
  const owner = await Broker.open('/data', { fileSystem: disk, clock })
  const topic = await owner.createTopic('a', { segmentBytes: 200 })
  for (let each = 0; each < RECORDS; each += 1) {
    await topic.partition(0).append({ value: `v${each}` })
  }
  await owner.close()
  const again = await Broker.open('/data', { fileSystem: disk, clock })
  const reader = await Broker.open('/data', { fileSystem: disk, clock, readOnly: true })
  const followed = reader.topic('a').partition(0)
  const close = async (): Promise<void> => {
    await reader.close()
    await again.close()
  }
  return { clock, disk, owner: again, followed, close }
}

async function lastOf(records: AsyncIterable<unknown>): Promise<unknown> {
  let last: unknown = null
  for await (const record of records) last = record
  return last
}

const READS: [string, (partition: Partition) => Promise<unknown>][] = [
  ['read()', (partition) => partition.read(0)],
  ['a read() of a few', (partition) => partition.read(0, { maxRecords: 2 })],
  ['fetch()', (partition) => partition.fetch(0)],
  ['records()', (partition) => lastOf(partition.records({ from: 0 }))],
  ['offsetForTimestamp()', (partition) => partition.offsetForTimestamp(LATER)],
]

describe('a topic of which its owner has removed some of the files', () => {
  it.each(READS)('is deleted, and not damaged, for %s', async (_, read) => {
    const { disk, owner, followed, close } = await fixture()
    disk.failNext('unlink', 'EIO', { path: /0004\.log$/ })
    await expect(owner.deleteTopic('a')).rejects.toThrow('EIO')
    await followed.refresh()
    await followed.refresh()
    expect(followed.log.damage).not.toBeNull()
    await expect(read(followed)).rejects.toThrow(UnknownTopicOrPartitionError)
    await close()
  })
})
