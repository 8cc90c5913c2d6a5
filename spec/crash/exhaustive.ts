import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { crashPoints, type CrashPoint } from './crash-points.ts'
import type { Ledger } from './ledger.ts'
import type { Loss } from './promises.ts'
import { complaintsOf, Recoveries, type Recovery } from './recovery.ts'
import type { Workload } from './workload.ts'

/** How a machine is found when it runs again. */
const RESTARTS = [
  { loss: 'process', unsynced: 'kept' },
  { loss: 'power', unsynced: 'lost' },
  { loss: 'power', unsynced: 'random' },
] as const

/** What an exhaustive trial has gone through. */
export interface ExhaustiveResult {
  /** Crashes in the workload, by how they were found again. */
  readonly crashes: number
  /** Crashes in the recoveries from those, by how they were found again. */
  readonly crashesInRecovery: number
  /** Different disks that were opened. */
  readonly disks: number
  /** The first things that are wrong, with the way that led to them. */
  readonly failures: readonly string[]
}

interface Opened {
  readonly recovery: Recovery
  /** What crashes in this recovery lead to; `null` when nobody has looked. */
  readonly interrupted: Interrupted | null
}

interface Interrupted {
  /** Crashes, by how they were found again. */
  readonly crashes: number
  /** Of those that come to the same, the first. */
  readonly outcomes: readonly (Way & { readonly recovery: Recovery })[]
}

/** What led to a disk. */
interface Way {
  readonly loss: Loss
  readonly way: string
}

/** A disk that a machine finds when it runs again. */
interface Restarted extends Way {
  readonly key: string
  readonly disk: SimulatedFileSystem
}

/** How thorough an exhaustive trial is. */
export interface Thoroughness {
  /** Decides where writes are cut, and what a power loss keeps. */
  readonly seed: number
  /** Of so many recoveries one is interrupted, at every operation; 1 interrupts all of them. */
  readonly interruptEach: number
}

/** More would say the same again. */
const REPORTED_FAILURES = 3

/**
 * Crashes a workload at every operation, and every recovery from that at every operation of its own.
 *
 * What a crash leaves decides what the next open does, so a disk that was seen before need not be
 * opened again: only what had been promised by then differs.
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

  /** Opens at once what crashes leave, so that no disk is kept longer than it has to be. */
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
