import { Broker } from '../../lib/broker.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const T0 = { topic: 't', partition: 0 }
const VALUES = ['a', 'b', 'c']
const COMMITTED = 2

/** Files that cannot be guessed: a directory does not open without them. */
const IS_NEEDED = /varve-topics$|meta\.properties$/

/** The file of the committed offsets, which are refused as a whole if some of them are damaged. */
const IS_OFFSETS = /__consumer_offsets-0\/\d+\.log$/

/** A directory with every file that a broker writes; closed, or killed after a checkpoint. */
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

/** What is wrong with a copy of the directory after one file has rotted; `null` if nothing is. */
export async function judgeDirectory(
  fs: SimulatedFileSystem,
  path: string,
): Promise<string | null> {
  let broker: Broker
  try {
    broker = await open(fs, new ManualClock())
  } catch (error) {
    if (!(error instanceof CorruptRecordError)) return `it does not open: ${String(error)}`
    return error.path === path && IS_NEEDED.test(path) ? null : `it does not open: ${String(error)}`
  }
  const { clampedOffsets, damaged } = broker.recovery
  if (clampedOffsets.length > 0) return 'a commit was taken back'
  for (const { topic, partition, error } of damaged) {
    const isNamed = topic === 't' ? path.includes('/t-0/') : IS_OFFSETS.test(path)
    if (!isNamed) return `${topic}-${partition} is damaged: ${String(error)}`
  }
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
  try {
    const offset = (await consumer.committed(T0))?.offset
    return offset === COMMITTED ? null : `the committed offset is ${String(offset)}`
  } catch (error) {
    const isTold = damaged.some(({ topic, error: known }) => topic !== 't' && known === error)
    return isTold ? null : `the committed offset is not given: ${String(error)}`
  }
}

function open(fileSystem: SimulatedFileSystem, clock: ManualClock): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock, random: new SeededRandom(1) })
}
