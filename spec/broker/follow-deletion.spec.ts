import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { UnknownTopicOrPartitionError } from '../../lib/errors.ts'
import type { FileSystem } from '../../lib/platform/file-system.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { seenThrough } from '../helpers/seen-through.ts'

const RECORDS = 10
/** Later than all of them. */
const LATER = 4_000_000_000_000

interface Brokers {
  readonly clock: ManualClock
  readonly disk: SimulatedFileSystem
  readonly owner: Broker
  /** The partition as a read-only process sees it. */
  readonly followed: Partition
  readonly close: () => Promise<void>
}

/** A topic of five segments that two processes have open, the second one through `seenBy`. */
async function fixture(seenBy = (disk: FileSystem): FileSystem => disk): Promise<Brokers> {
  const clock = new ManualClock()
  const disk = new SimulatedFileSystem()
  const owner = await Broker.open('/data', { fileSystem: disk, clock })
  const topic = await owner.createTopic('a', { segmentBytes: 200 })
  for (let each = 0; each < RECORDS; each += 1) {
    await topic.partition(0).append({ value: `v${each}` })
  }
  await owner.close()
  const again = await Broker.open('/data', { fileSystem: disk, clock })
  const reader = await Broker.open('/data', { fileSystem: seenBy(disk), clock, readOnly: true })
  const followed = reader.topic('a').partition(0)
  const close = async (): Promise<void> => {
    await reader.close()
    await again.close()
  }
  return { clock, disk, owner: again, followed, close }
}

/** A view of a disk that returns no data of a log file while it is held. */
class SlowReads {
  isHeld = false
  readonly #waiting: (() => void)[] = []

  of(disk: FileSystem): FileSystem {
    return seenThrough(disk, {
      open: async (path, mode) => {
        const file = await disk.open(path, mode)
        if (!path.endsWith('.log')) return file
        const read = file.read.bind(file)
        const readNow = file.readNow?.bind(file)
        file.readNow = (buffer, position) =>
          this.isHeld ? -1 : (readNow?.(buffer, position) ?? -1)
        file.read = async (buffer, position) => {
          if (this.isHeld) await new Promise<void>((resolve) => this.#waiting.push(resolve))
          return read(buffer, position)
        }
        return file
      },
    })
  }

  get waitingCount(): number {
    return this.#waiting.length
  }

  goOn(): void {
    this.isHeld = false
    for (const each of this.#waiting) each()
  }
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

const READS_OF_THE_END: typeof READS = [
  ['readLast()', (partition) => partition.readLast(RECORDS)],
  ['records() backwards', (partition) => lastOf(partition.records({ reverse: true }))],
  ['verify()', (partition) => partition.log.verify()],
]

describe('a topic whose owner has removed some of its files', () => {
  it.each([
    ...READS,
    ...READS_OF_THE_END,
    [
      'records() up to the end',
      (partition: Partition) => lastOf(partition.records({ until: 'end' })),
    ],
  ] as typeof READS)('is reported as deleted, not as damaged, by %s', async (_, read) => {
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

describe('a read in progress when the owner deletes the topic', () => {
  it.each([...READS, ...READS_OF_THE_END])(
    'rejects with UnknownTopicOrPartitionError, not with ClosedError: %s',
    async (_, read) => {
      const reads = new SlowReads()
      const { clock, owner, followed, close } = await fixture((disk) => reads.of(disk))
      reads.isHeld = true
      const reading = expect(read(followed)).rejects.toThrow(UnknownTopicOrPartitionError)
      while (reads.waitingCount === 0) await new Promise(setImmediate)
      await owner.deleteTopic('a')
      await clock.advance(1_000)
      reads.goOn()
      await reading
      await close()
    },
  )
})
