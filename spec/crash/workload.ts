import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import type { SimulatedFileSystemOptions } from '../../lib/testing/simulation-options.ts'
import { BrokerSession, openBroker } from './broker-session.ts'
import { newLedger, newTopicLedger, type Ledger } from './ledger.ts'
import { LogSession, openSmallLog } from './log-session.ts'
import { observeBroker, observeLog, type Observation } from './observation.ts'
import { SMALL as SMALL_LOG } from '../storage/log-fixtures.ts'

/** A few calls of the public interface. Each of their disk operations is a point to crash at. */
export interface Workload {
  readonly name: string
  /** Creates the disk that it starts from, with the promises that hold there. */
  readonly start: (options: SimulatedFileSystemOptions) => Promise<Start>
  /** Runs it; rejects when the machine stops. `ledger` then holds what was promised so far. */
  readonly run: (fileSystem: SimulatedFileSystem, ledger: Ledger) => Promise<void>
  /** Opens its directory, and observes everything. Closes nothing. */
  readonly observe: (fileSystem: SimulatedFileSystem, ledger: Ledger) => Promise<Observation>
}

export interface Start {
  readonly disk: SimulatedFileSystem
  readonly ledger: Ledger
}

/** A workload of a broker. */
export interface BrokerWorkload {
  readonly name: string
  /**
   * Prepares the disk before the workload. Runs on a disk that does not fail, in a broker with a
   * topic `orders` of two partitions, two records and a commit of the group `billing` at offset 0.
   */
  readonly prepare?: (session: BrokerSession) => Promise<void>
  /** Whether the broker is closed before `run`. @defaultValue true */
  readonly isClean?: boolean
  /** Writes files to the disk instead, and notes what they promise. */
  readonly files?: (disk: SimulatedFileSystem, ledger: Ledger) => Promise<void> | void
  /** The workload itself. It has to open the session first. */
  readonly run: (session: BrokerSession) => Promise<void>
}

export function brokerWorkload(workload: BrokerWorkload): Workload {
  const { name, run, files, isClean = true } = workload
  return {
    name,
    start: async (options) => {
      const disk = new SimulatedFileSystem(options)
      const ledger = newLedger()
      if (files !== undefined) {
        await files(disk, ledger)
        return { disk, ledger }
      }
      const session = new BrokerSession(disk, ledger, 'p')
      await session.open()
      await session.createTopic('orders', { partitions: 2 })
      await session.append()
      await session.append()
      await session.commit(0)
      await workload.prepare?.(session)
      if (isClean) await session.close()
      return { disk: isClean ? disk : disk.restart('process', { seed: 1 }), ledger }
    },
    run: async (fileSystem, ledger) => {
      await run(new BrokerSession(fileSystem, ledger, 'r'))
    },
    observe: async (fileSystem, ledger) => {
      const broker = await openBroker(fileSystem, new ManualClock())
      return observeBroker(broker, Object.keys(ledger.commits))
    },
  }
}

/** Creates a workload of a log without a broker, starting with an empty disk. */
export function logWorkload(name: string, run: (session: LogSession) => Promise<void>): Workload {
  return {
    name: `log: ${name}`,
    start: (options) => {
      const topic = newTopicLedger(1, SMALL_LOG.segmentBytes ?? 0)
      const ledger = { topics: { orders: [topic] }, commits: {} }
      return Promise.resolve({ disk: new SimulatedFileSystem(options), ledger })
    },
    run: async (fileSystem, ledger) => {
      const session = new LogSession(fileSystem, ledger)
      await session.open()
      await run(session)
    },
    observe: async (fileSystem) => observeLog(await openSmallLog(fileSystem)),
  }
}
