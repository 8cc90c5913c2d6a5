import { Broker, type CreateTopicOptions, type Partition } from '../../lib/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const SMALL = { segmentBytes: 200, indexIntervalBytes: 32, retentionMs: -1 }
/** A batch with this value takes 109 bytes. */
export const VALUE: string = 'x'.repeat(40)

/** The result of {@link openTopic}. */
export interface Opened {
  readonly fileSystem: SimulatedFileSystem
  readonly clock: ManualClock
  readonly broker: Broker
  readonly partition: Partition
}

/** Opens a broker with the topic `orders`, with its own directory and clock. */
export async function openTopic(options: CreateTopicOptions): Promise<Opened> {
  const clock = new ManualClock()
  const fileSystem = new SimulatedFileSystem({ clock })
  const broker = await Broker.open('/data', { fileSystem, clock })
  const topic = await broker.createTopic('orders', { ...SMALL, ...options })
  return { fileSystem, clock, broker, partition: topic.partition(0) }
}

async function sizeOfOne(): Promise<number> {
  const { broker, partition } = await openTopic({})
  await partition.append({ value: VALUE })
  await broker.close()
  return partition.log.size
}

/** The size of such a batch in bytes. */
export const ONE: number = await sizeOfOne()
/** `taken`, or the code of the error that it rejects with. */
export const outcomeOf = (append: Promise<unknown>): Promise<unknown> =>
  append.then(
    () => 'taken',
    (error: unknown) => (error as { code: string }).code,
  )
