import { expect } from 'vitest'
import type { Broker, Consumer, ConsumerOptions, ConsumerRecord, Topic } from '../../lib/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

/** A broker on a simulated disk, with a topic `t`. */
export interface PushSetUp {
  readonly clock: ManualClock
  readonly broker: Broker
  readonly fileSystem: SimulatedFileSystem
  readonly topic: Topic
  /** Returns a new member of the group `g`, subscribed to `t`, without automatic commits. */
  readonly consumer: (options?: ConsumerOptions) => Consumer
}

/** Creates the topic `t`, whose records have one of three keys, and as value `partition:offset`. */
export async function setUp(partitions = 1, perPartition = 10): Promise<PushSetUp> {
  const clock = new ManualClock()
  const fileSystem = new SimulatedFileSystem()
  const broker = await tempBroker({ fileSystem, clock })
  const topic = await broker.createTopic('t', { partitions })
  for (const partition of topic.partitions) {
    const records = Array.from({ length: perPartition }, (_, at) => ({
      key: `k${at % 3}`,
      value: `${partition.index}:${at}`,
    }))
    if (records.length > 0) await partition.append(records)
  }
  const consumer = (options: ConsumerOptions = {}): Consumer => {
    const made = broker.consumer({ groupId: 'g', enableAutoCommit: false, ...options })
    made.subscribe(['t'])
    return made
  }
  return { clock, broker, fileSystem, topic, consumer }
}

/** The offsets that the group has committed, in the order of the partitions. */
export function committedOf(broker: Broker): number[] {
  const [group] = broker.describe().groups
  return (group?.offsets ?? []).map(({ offset }) => offset)
}

/** Lets the time pass until something is so; fails if it does not become so. */
export async function until(clock: ManualClock, isSo: () => boolean): Promise<void> {
  for (let turn = 0; turn < 200 && !isSo(); turn += 1) await clock.advance(20)
  expect(isSo()).toBe(true)
}

/** Writes that end on demand, by their offset. */
export interface HeldWrites {
  /** Offsets of the records that have been passed to `write`. */
  readonly started: number[]
  readonly release: (clock: ManualClock, offset: number, error?: Error) => Promise<void>
  readonly write: (record: ConsumerRecord) => Promise<void>
}

export function heldWrites(): HeldWrites {
  const started: number[] = []
  const ends = new Map<number, (error?: Error) => void>()
  const write = ({ offset }: ConsumerRecord): Promise<void> => {
    started.push(offset)
    return new Promise((resolve, reject) => {
      ends.set(offset, (error) => {
        if (error === undefined) resolve()
        else reject(error)
      })
    })
  }
  const release = async (clock: ManualClock, offset: number, error?: Error): Promise<void> => {
    ends.get(offset)?.(error)
    await clock.advance(0)
  }
  return { started, release, write }
}

/** The value of a record as text. */
export const text = ({ value }: ConsumerRecord): string => value?.toString() ?? ''
