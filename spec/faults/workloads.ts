import { Broker } from '../../lib/broker.ts'
import type { AppendOutcome } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** What was sent to the first partition of `orders`, in order, and what its sender was told. */
export type Told = Map<string, number | AppendOutcome>

/** A few calls of a broker, on a disk that fails in the middle of them. */
export interface Workload {
  readonly name: string
  readonly run: (broker: Broker, told: Told) => Promise<unknown>
  /** Whether the directory was closed cleanly before. @defaultValue true */
  readonly isClean?: boolean
  /** Whether its values are sent without waiting for each other. */
  readonly isAtOnce?: boolean
  /** Whether the broker is closed at the end. */
  readonly isClosed?: boolean
}

export const SMALL = { segmentBytes: 300, indexIntervalBytes: 32 }

/** Appends one value after the other, and continues after a failure. */
async function append(broker: Broker, told: Told, values: readonly string[]): Promise<void> {
  for (const value of values) await tell(told, value, appendOne(broker, value))
}

async function appendOne(broker: Broker, value: string): Promise<number> {
  return (await broker.topic('orders').partition(0).append({ value })).baseOffset
}

/** Notes the outcome of a value that was sent. */
export async function tell(told: Told, value: string, sent: Promise<number>): Promise<void> {
  told.set(value, 'unknown')
  try {
    told.set(value, await sent)
  } catch (error) {
    told.set(value, outcomeOf(error))
  }
}

/** What an append's error says about its bytes. @throws the error if it does not say. */
export function outcomeOf(error: unknown): AppendOutcome {
  const outcome = error instanceof Error && 'outcome' in error ? error.outcome : null
  if (outcome !== 'not-written' && outcome !== 'unknown') throw error
  return outcome
}

export const WORKLOADS: readonly Workload[] = [
  { name: 'append', run: (broker, told) => append(broker, told, ['c', 'd']) },
  {
    name: 'append many at once',
    isAtOnce: true,
    run: (broker, told) =>
      Promise.all(
        ['c', 'd', 'e', 'f', 'g', 'h'].map((value) => tell(told, value, appendOne(broker, value))),
      ),
  },
  {
    name: 'roll by size',
    run: (broker, told) => append(broker, told, ['c', 'd', 'e', 'f', 'g']),
  },
  {
    name: 'roll on call',
    run: async (broker, told) => {
      await append(broker, told, ['c'])
      await broker.topic('orders').partition(0).log.roll()
      await append(broker, told, ['d'])
    },
  },
  {
    name: 'send through a producer',
    isAtOnce: true,
    run: async (broker, told) => {
      const producer = broker.producer({ batchSize: 200 })
      const send = async (value: string): Promise<number> =>
        (await producer.send({ topic: 'orders', partition: 0, value })).offset
      const values = ['c', 'd', 'e', 'f', 'g', 'h']
      await Promise.all(values.map((value) => tell(told, value, send(value))))
      await producer.close()
    },
  },
  {
    name: 'commit',
    run: async (broker) => {
      const consumer = broker.consumer({ groupId: 'billing', enableAutoCommit: false })
      consumer.assign([{ topic: 'orders', partition: 0 }])
      await consumer.commit([{ topic: 'orders', partition: 0, offset: 1 }])
    },
  },
  { name: 'create a topic', run: (broker) => broker.createTopic('new', { partitions: 2 }) },
  { name: 'delete a topic', run: (broker) => broker.deleteTopic('old') },
  { name: 'add partitions', run: (broker) => broker.topic('orders').addPartitions(3) },
  { name: 'change the configuration', run: (broker) => broker.topic('old').alter(SMALL) },
  {
    name: 'save the recovery point',
    run: async (broker, told) => {
      await append(broker, told, ['c'])
      await broker.topic('orders').partition(0).log.checkpoint()
      await append(broker, told, ['d'])
    },
  },
  {
    name: 'close',
    isClosed: true,
    run: async (broker, told) => {
      await append(broker, told, ['c'])
      await broker.close()
    },
  },
  {
    name: 'append after an unclean stop',
    isClean: false,
    run: (broker, told) => append(broker, told, ['c']),
  },
]

/** Opens `/data`. */
export function open(
  fileSystem: SimulatedFileSystem,
  clock: ManualClock = new ManualClock(),
): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock, random: new SeededRandom(7) })
}

/** Returns the values of a partition of `orders`, in order, as a reader sees them. */
export async function valuesIn(broker: Broker, index = 0): Promise<string[]> {
  const values: string[] = []
  for await (const record of broker.topic('orders').partition(index).records({ until: 'end' })) {
    values.push(String(record.value))
  }
  return values
}

/** Waits for a call while the clock advances; a call that never settles is an error. */
export async function settled<T>(call: Promise<T>, clock: ManualClock): Promise<T> {
  const state: { isOver: boolean } = { isOver: false }
  const over = (): void => {
    state.isOver = true
  }
  call.then(over, over)
  for (let seconds = 0; seconds < 300 && !state.isOver; seconds += 1) await clock.advance(1_000)
  if (!state.isOver) throw new Error('it never settles')
  return call
}
