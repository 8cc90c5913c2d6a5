import { PERSONAS, type Persona } from '../../lib/testing/crash-model.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { crashPoints, type CrashPoint } from './crash-points.ts'
import type { Ledger } from './ledger.ts'
import { complaintsOf, Recoveries, type Recovery } from './recovery.ts'
import type { Workload } from './workload.ts'

/** The result of one power loss. */
export interface Trial {
  readonly persona: Persona
  readonly failures: readonly string[]
  /** How to replay it: seed, workload, and the operations before and after the loss. */
  readonly story: () => Promise<string>
}

/** The conditions of a run of a workload. */
interface Setup {
  readonly workload: Workload
  readonly persona: Persona
  readonly sectorBytes: number
  /** Which order of completion; 0 is the order of the calls. */
  readonly order: number
}

/** A workload's run on one kind of disk, with every point at which the power may fail. */
interface Recording {
  readonly points: readonly CrashPoint<Ledger>[]
  readonly operations: readonly string[]
  readonly ledger: Ledger
}

const SECTOR_BYTES = [512, 4096, 64]
/** In how many orders of completion each workload is run, and each disk recovered. */
const ORDERS = 3
/** So many consecutive seeds share a recording: making one costs as much as several trials. */
const TRIALS_EACH = 50
/** One in this many losses is followed by another while the machine recovers. */
const SECOND_LOSSES = 4
/** How many operations of a trace are reported. */
const TOLD_OPERATIONS = 60

/**
 * Power losses at random points, of which the disk keeps a random part. Workloads and kinds of
 * disks alternate, so that consecutive seeds leave none out. The seed alone determines a trial.
 */
export class PowerLossTrials {
  readonly #workloads: readonly Workload[]
  #last: { readonly key: string; readonly recording: Recording } | null = null
  readonly #recoveries = new Map<string, KnownRecoveries>()

  constructor(workloads: readonly Workload[]) {
    this.#workloads = workloads
  }

  async run(seed: number): Promise<Trial> {
    const setup = this.#setup(Math.floor(seed / TRIALS_EACH))
    const { workload, persona, sectorBytes, order } = setup
    const { points, operations, ledger } = await this.#record(setup)
    const random = new SeededRandom(seed)
    const point = random.pick(points)
    let disk = point.machine.restart('power', { seed: random.integer(2 ** 32) })
    const traces: (readonly string[])[] = [operations.slice(0, operationNumber(point.where))]
    if (random.integer(SECOND_LOSSES) === 0) {
      disk.crashAt(1 + random.integer(100), { when: random.pick(['before', 'after', 'torn']) })
      await workload.observe(disk, point.note).catch(() => undefined)
      traces.push(disk.operations)
      const loss = random.pick(['process', 'power'] as const)
      disk = disk.restart(loss, { seed: random.integer(2 ** 32) })
    }
    const recoveries = this.#recoveriesOf(setup, ledger)
    const turn = order === 0 ? 0 : random.integer(ORDERS)
    return {
      persona,
      failures: complaintsOf(await recoveries.recover(disk, turn), point.note, 'power'),
      story: async () =>
        [
          `seed ${seed}: ${workload.name}, ${persona}, ${sectorBytes} bytes, order ${order}, power lost ${point.where}`,
          ...[...traces, await recoveries.operations(disk, turn)].flatMap((trace) => [
            '--',
            ...trace.slice(-TOLD_OPERATIONS),
          ]),
        ].join('\n'),
    }
  }

  /** Uses each workload once before any repeats, then again with another persona, and so on. */
  #setup(number: number): Setup {
    const round = Math.floor(number / this.#workloads.length)
    const kind = Math.floor(round / PERSONAS.length) + number
    return {
      workload: at(this.#workloads, number),
      persona: at(PERSONAS, round + number),
      sectorBytes: at(SECTOR_BYTES, kind),
      order: Math.floor(kind / SECTOR_BYTES.length) % ORDERS,
    }
  }

  async #record({ workload, ...disk }: Setup): Promise<Recording> {
    const key = JSON.stringify([workload.name, disk])
    if (this.#last?.key !== key) this.#last = { key, recording: await record(workload, disk) }
    return this.#last.recording
  }

  /** What an open does depends neither on the sector size nor on how the disk came about. */
  #recoveriesOf({ workload, persona, order }: Setup, ledger: Ledger): KnownRecoveries {
    const key = JSON.stringify([workload.name, persona, order === 0])
    const known = this.#recoveries.get(key) ?? new KnownRecoveries(workload, ledger)
    this.#recoveries.set(key, known)
    return known
  }
}

/** Recovers disks; opens each different disk only once per order of completion. */
class KnownRecoveries {
  readonly #recoveries: Recoveries
  readonly #known = new Map<string, Recovery>()
  /** Few outcomes differ, so equal ones are kept once. */
  readonly #outcomes = new Map<string, Recovery>()

  constructor(workload: Workload, ledger: Ledger) {
    this.#recoveries = new Recoveries(workload, ledger)
  }

  /** Does not change `disk`. */
  async recover(disk: SimulatedFileSystem, turn: number): Promise<Recovery> {
    const key = `${turn} ${disk.digest()}`
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const recovery = await this.#recoveries.recover(disk.fork({ seed: turn }))
    const text = JSON.stringify(recovery)
    const outcome = this.#outcomes.get(text) ?? recovery
    this.#outcomes.set(text, outcome)
    this.#known.set(key, outcome)
    return outcome
  }

  /** The operations of a recovery, one per line. */
  async operations(disk: SimulatedFileSystem, turn: number): Promise<readonly string[]> {
    const opened = disk.fork({ seed: turn })
    await this.#recoveries.recover(opened)
    return opened.operations
  }
}

/** The item at `number`, starting over at the end of the list. */
function at<T>(items: readonly T[], number: number): T {
  const item = items[number % items.length]
  if (item === undefined) throw new RangeError(`there is no item ${number} in a list of none`)
  return item
}

async function record(
  workload: Workload,
  { persona, sectorBytes, order }: Omit<Setup, 'workload'>,
): Promise<Recording> {
  const random = new SeededRandom(order)
  const start = await workload.start({
    persona,
    sectorBytes,
    seed: order,
    completion: order === 0 ? 'in-order' : 'random',
  })
  const points = await crashPoints(start.disk, () => workload.run(start.disk, start.ledger), {
    note: () => structuredClone(start.ledger),
    cut: (sizeBytes) => 1 + random.integer(sizeBytes - 1),
  })
  return { points, operations: start.disk.operations, ledger: start.ledger }
}

/** The number of the operation at a crash point; `Infinity` for the end. */
function operationNumber(where: string): number {
  return Number(/#(\d+) /.exec(where)?.[1] ?? Infinity)
}
