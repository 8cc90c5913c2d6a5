import { PERSONAS, type Persona } from '../../lib/testing/crash-model.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { crashPoints, type CrashPoint } from './crash-points.ts'
import type { Ledger } from './ledger.ts'
import { complaintsOf, Recoveries } from './recovery.ts'
import type { Workload } from './workload.ts'

/** How one power loss came out. */
export interface Trial {
  readonly persona: Persona
  readonly failures: readonly string[]
  /** What replays it: its seed, the workload, and every operation up to the loss and behind it. */
  readonly story: () => string
}

/** The workload as it ran on one kind of disk, with every place at which the power may fail. */
interface Recording {
  readonly points: readonly CrashPoint<Ledger>[]
  readonly operations: readonly string[]
  readonly recoveries: Recoveries
}

/** In how many orders of completion each workload is run; the first is that of the calls. */
const INTERLEAVINGS = 3
/** So many seeds in a row share a recording: making one costs as much as several trials. */
const TRIALS_EACH = 50
/** Of so many losses one is followed by another while the machine recovers. */
const SECOND_LOSSES = 4
/** How much of a trace is told. */
const TOLD_OPERATIONS = 60

/**
 * Power losses drawn at random: which workload, which disk, where, and what the disk keeps. A trial
 * is decided by its seed alone.
 */
export class PowerLossTrials {
  readonly #workloads: readonly Workload[]
  #last: { readonly key: string; readonly recording: Recording } | null = null

  constructor(workloads: readonly Workload[]) {
    this.#workloads = workloads
  }

  async run(seed: number): Promise<Trial> {
    const shared = new SeededRandom(Math.floor(seed / TRIALS_EACH))
    const workload = shared.pick(this.#workloads)
    const persona = shared.pick(PERSONAS)
    const sectorBytes = shared.pick([512, 4096, 64])
    const order = shared.integer(INTERLEAVINGS)
    const random = new SeededRandom(seed)
    const { points, operations, recoveries } = await this.#record(workload, {
      persona,
      sectorBytes,
      order,
    })
    const point = random.pick(points)
    let disk = point.machine.restart('power', { seed: random.integer(2 ** 32) })
    const traces = [operations.slice(0, operationNumber(point.where))]
    if (random.integer(SECOND_LOSSES) === 0) {
      disk.crashAt(1 + random.integer(100), { when: random.pick(['before', 'after', 'torn']) })
      await workload.observe(disk, point.note).catch(() => undefined)
      traces.push([...disk.operations])
      const loss = random.pick(['process', 'power'] as const)
      disk = disk.restart(loss, { seed: random.integer(2 ** 32) })
    }
    const recovery = await recoveries.recover(disk)
    return {
      persona,
      failures: complaintsOf(recovery, point.note, 'power'),
      story: () =>
        [
          `seed ${seed}: ${workload.name}, ${persona}, ${sectorBytes} bytes, order ${order}, power lost ${point.where}`,
          ...[...traces, disk.operations].flatMap((trace) => [
            '--',
            ...trace.slice(-TOLD_OPERATIONS),
          ]),
        ].join('\n'),
    }
  }

  async #record(
    workload: Workload,
    disk: { persona: Persona; sectorBytes: number; order: number },
  ): Promise<Recording> {
    const key = JSON.stringify([workload.name, disk])
    if (this.#last?.key !== key) this.#last = { key, recording: await record(workload, disk) }
    return this.#last.recording
  }
}

async function record(
  workload: Workload,
  options: { persona: Persona; sectorBytes: number; order: number },
): Promise<Recording> {
  const { persona, sectorBytes, order } = options
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
  return {
    points,
    operations: start.disk.operations,
    recoveries: new Recoveries(workload, start.ledger),
  }
}

/** Of the operation that a point stands at; all of them for the end. */
function operationNumber(where: string): number {
  return Number(/#(\d+) /.exec(where)?.[1] ?? Infinity)
}
