import { Broker } from '../../lib/broker.ts'
import type { BrokerOptions } from '../../lib/broker.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import type { ConsumerOptions } from '../../lib/client/consumer-options.ts'
import type { CrashMoment } from '../../lib/testing/fault-plan.ts'
import type { TopicConfig } from '../../lib/config.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

export const DIR = '/data'
export const T0 = { topic: 't', partition: 0 }
export const NO_WAIT = { maxWaitMs: 0 }
/** Records become durable only by `flush`. */
export const RELAXED: TopicConfig = { flushMessages: Number.MAX_SAFE_INTEGER }

export function open(
  fileSystem: SimulatedFileSystem,
  options: Partial<BrokerOptions> = {},
): Promise<Broker> {
  const random = new SeededRandom(5)
  return Broker.open(DIR, { fileSystem, clock: new ManualClock(), random, ...options })
}

/** Appends one batch; resolves when it is durable. */
export async function append(broker: Broker, ...values: string[]): Promise<void> {
  await broker
    .topic('t')
    .partition(0)
    .append(values.map((value) => ({ value })))
}

/** What readers of topic `t` receive, by offset, from its start to its end. */
export async function stored(broker: Broker): Promise<Map<number, string>> {
  const partition = broker.topic('t').partition(0)
  const records = new Map<number, string>()
  for (let offset = partition.logStartOffset; offset < partition.highWatermark;) {
    const read = await partition.read(offset)
    for (const record of read) records.set(record.offset, String(record.value))
    offset = (read.at(-1)?.offset ?? offset) + 1
  }
  return records
}

/** A consumer of topic `t` that only commits on request. */
export function reader(broker: Broker, options: ConsumerOptions = {}): Consumer {
  const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false, ...options })
  consumer.assign([T0])
  return consumer
}

/**
 * Calls `work` on a copy of a machine that stops after its first operation from `start` on, then on
 * one that stops after the second, and so on until the work completes, and passes each stopped
 * machine to `check`.
 *
 * @returns how many operations there are to stop after.
 */
export async function atEveryOperation(
  machine: SimulatedFileSystem,
  work: (fileSystem: SimulatedFileSystem, start: () => void) => Promise<void>,
  check: (stopped: SimulatedFileSystem, trace: string) => Promise<void>,
  when: CrashMoment = 'after',
): Promise<number> {
  for (let operation = 1; ; operation += 1) {
    const fileSystem = machine.fork({ seed: operation })
    const start = (): void => {
      fileSystem.crashAt(operation, { when })
    }
    try {
      await work(fileSystem, start)
    } catch (error) {
      if (!fileSystem.crashed) throw error
    }
    if (!fileSystem.crashed) return operation - 1
    const trace = `stopped (${when}) at operation ${operation}: ${fileSystem.operations.at(-1) ?? ''}`
    await check(fileSystem, trace)
  }
}
