import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { crashPoints, type CrashPoint } from './crash-points.ts'
import type { Ledger } from './ledger.ts'
import type { Loss } from './promises.ts'
import { complaintsOf, Recoveries, type Recovery } from './recovery.ts'
import type { Workload } from './workload.ts'

/** The states in which a machine may restart. */
const RESTARTS = [
  { loss: 'process', unsynced: 'kept' },
  { loss: 'power', unsynced: 'lost' },
  { loss: 'power', unsynced: 'random' },
] as const

/** What an exhaustive trial covered and found. */
export interface ExhaustiveResult {
  /** Restarts after crashes in the workload: each state in which one leaves the disk counts. */
  readonly crashes: number
  /** The same after crashes in the recoveries from those. */
  readonly crashesInRecovery: number
  /** Different disks that were opened. */
  readonly disks: number
  /** The first failures, each with the crashes that led to it. */
  readonly failures: readonly string[]
}

interface Opened {
  readonly recovery: Recovery
  /** What crashes in this recovery lead to; `null` if it was not interrupted. */
  readonly interrupted: Interrupted | null
}

interface Interrupted {
  /** Restarts after crashes in the recovery. */
  readonly crashes: number
  /** Their different outcomes, each with the first crash that led to it. */
  readonly outcomes: readonly (Way & { readonly recovery: Recovery })[]
}

/** What led to a disk. */
interface Way {
  readonly loss: Loss
  readonly way: string
}

/** A disk as a machine finds it after a restart. */
interface Restarted extends Way {
  readonly key: string
  readonly disk: SimulatedFileSystem
}

/** How thorough an exhaustive trial is. */
export interface Thoroughness {
  /** Decides where writes are torn, and what a power loss keeps. */
  readonly seed: number
  /** One in this many recoveries is interrupted, at every operation; 1 interrupts all of them. */
  readonly interruptEach: number
}

/** More would only repeat the same failure. */
const REPORTED_FAILURES = 3

/**
 * Crashes a workload at every operation, and the recoveries from those crashes at every operation
 * too.
 *
 * The disk that a crash leaves determines what the next open does. So a disk seen before is not
 * opened again; only the promises made by then differ.
 */
export async function crashEverywhere(
  workload: Workload,
  { seed, interruptEach }: Thoroughness,
): Promise<ExhaustiveResult> {
  const { disk, ledger } = await workload.start({ seed })
  const random = new SeededRandom(seed)
  const points = await crashPoints(disk, () => workload.run(disk, ledger), {
    note: () => structuredClone(ledger),
    cut: (sizeBytes) => 1 + random.integer(sizeBytes - 1),
  })
  return new Exhaustive(new Recoveries(workload, ledger), random).run(points, interruptEach)
}

class Exhaustive {
  readonly #recoveries: Recoveries
  readonly #random: SeededRandom
  readonly #opened = new Map<string, Opened>()
  readonly #failures: string[] = []

  constructor(recoveries: Recoveries, random: SeededRandom) {
    this.#recoveries = recoveries
    this.#random = random
  }

  async run(
    points: readonly CrashPoint<Ledger>[],
    interruptEach: number,
  ): Promise<ExhaustiveResult> {
    let [crashes, crashesInRecovery] = [0, 0]
    for (const { machine, where, note } of points) {
      for (const first of this.#restarts(machine, where)) {
        if (this.#failures.length >= REPORTED_FAILURES) break
        const { recovery, interrupted } = await this.#open(first, crashes % interruptEach === 0)
        crashes += 1
        this.#check(recovery, note, first)
        crashesInRecovery += interrupted?.crashes ?? 0
        for (const second of interrupted?.outcomes ?? []) {
          const loss = first.loss === 'power' ? 'power' : second.loss
          this.#check(second.recovery, note, { loss, way: `${first.way}, then ${second.way}` })
        }
      }
    }
    return { crashes, crashesInRecovery, disks: this.#opened.size, failures: this.#failures }
  }

  #restarts(machine: SimulatedFileSystem, where: string): Restarted[] {
    const found = new Map<string, Restarted>()
    for (const { loss, unsynced } of RESTARTS) {
      const disk = machine.restart(loss, { unsynced, seed: this.#random.integer(2 ** 32) })
      const key = disk.digest()
      const way = `${where}, ${loss}, unsynced ${unsynced}`
      if (!found.has(`${loss} ${key}`)) found.set(`${loss} ${key}`, { key, disk, loss, way })
    }
    return [...found.values()]
  }

  async #open({ key, disk }: Restarted, isFirst: boolean): Promise<Opened> {
    const known = this.#opened.get(key)
    if (known !== undefined && (known.interrupted !== null || !isFirst)) return known
    const opened = isFirst
      ? await this.#openWatched(disk)
      : { recovery: await this.#recoveries.recover(disk), interrupted: null }
    this.#opened.set(key, opened)
    return opened
  }

  async #openWatched(disk: SimulatedFileSystem): Promise<Opened> {
    const found: Recovery[] = []
    const run = async (): Promise<void> => {
      found.push(await this.#recoveries.recover(disk))
    }
    const points = await crashPoints(disk, run, {
      note: () => null,
      cut: (sizeBytes) => 1 + this.#random.integer(sizeBytes - 1),
    })
    const [recovery] = found
    if (recovery === undefined) throw new Error('the recovery has not run')
    return { recovery, interrupted: await this.#openAll(points) }
  }

  /** Opens the disks as soon as the crashes leave them, so that none is kept longer than needed. */
  async #openAll(points: readonly CrashPoint<null>[]): Promise<Interrupted> {
    let crashes = 0
    const outcomes = new Map<string, Interrupted['outcomes'][number]>()
    for (const { machine, where } of points) {
      for (const restarted of this.#restarts(machine, where)) {
        crashes += 1
        const { key, loss, way } = restarted
        if (outcomes.has(`${loss} ${key}`)) continue
        const { recovery } = await this.#open(restarted, false)
        outcomes.set(`${loss} ${key}`, { recovery, loss, way })
      }
    }
    return { crashes, outcomes: [...outcomes.values()] }
  }

  #check(recovery: Recovery, ledger: Ledger, { loss, way }: Way): void {
    for (const complaint of complaintsOf(recovery, ledger, loss)) {
      if (this.#failures.length < REPORTED_FAILURES) this.#failures.push(`${way}: ${complaint}`)
    }
  }
}
