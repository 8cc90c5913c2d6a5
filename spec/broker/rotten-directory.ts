import { Broker } from '../../lib/broker.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const T0 = { topic: 't', partition: 0 }
const VALUES = ['a', 'b', 'c']
const COMMITTED = 2

/** What cannot be guessed, so that a directory does not open without it. */
const IS_NEEDED = /varve-topics$|meta\.properties$|__consumer_offsets-0\/\d+\.log$/

/** A directory with every file that a broker writes; closed in order, or killed after a checkpoint. */
export async function rottenDirectory(end: 'closed' | 'killed'): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const clock = new ManualClock()
  const broker = await open(fs, clock)
  const topic = await broker.createTopic('t', { segmentBytes: 1000 })
  for (const value of VALUES) await topic.partition(0).append({ value })
  const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false })
  consumer.assign([T0])
  for (const offset of [1, COMMITTED]) await consumer.commit([{ ...T0, offset }])
  // Recovery points are saved once a minute.
  await clock.advance(60_000)
  if (end === 'closed') await broker.close()
  return fs.restart('process')
}

/** What is wrong with a copy of the directory in which one file has rotted; `null` when nothing is. */
export async function judgeDirectory(
  fs: SimulatedFileSystem,
  path: string,
): Promise<string | null> {
  let broker: Broker
  try {
    broker = await open(fs, new ManualClock())
  } catch (error) {
    if (!(error instanceof CorruptRecordError)) return `it does not open: ${String(error)}`
    // A log whose file is gone is named by its directory.
    const isNamed = path.startsWith(String(error.path)) && IS_NEEDED.test(path)
    return isNamed ? null : `it does not open: ${String(error)}`
  }
  const { clampedOffsets, damaged } = broker.recovery
  if (clampedOffsets.length > 0) return 'a commit was taken back'
  const isTold = damaged.length > 0
  if (isTold && !path.includes('/t-0/')) return `t-0 is damaged: ${String(damaged[0]?.error)}`
  for (const [offset, value] of VALUES.entries()) {
    try {
      const [record] = await broker.topic('t').partition(0).read(offset)
      if (record?.offset !== offset || String(record.value) !== value) {
        return `offset ${offset} is read as ${String(record?.value)}`
      }
    } catch (error) {
      const isRefused = error instanceof CorruptRecordError && path.includes('/t-0/')
      if (!isRefused) return `offset ${offset} is not read: ${String(error)}`
    }
  }
  const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false })
  consumer.assign([T0])
  const offset = (await consumer.committed(T0))?.offset
  return offset === COMMITTED ? null : `the committed offset is ${String(offset)}`
}

function open(fileSystem: SimulatedFileSystem, clock: ManualClock): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock, random: new SeededRandom(1) })
}
