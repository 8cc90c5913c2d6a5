import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import type { Ledger } from './ledger.ts'
import type { Observation } from './observation.ts'
import { brokenPromises, type Loss } from './promises.ts'
import type { Workload } from './workload.ts'

/** The result of opening a disk. */
export interface Recovery {
  /** `null` if it did not open. */
  readonly observation: Observation | null
  /** What is wrong with it, whatever was promised. */
  readonly complaints: readonly string[]
}

/** What a second open finds, and what it changes although the first one should have. */
interface SecondOpen {
  readonly observation: Observation
  readonly changes: readonly string[]
}

/** Opens the disks that a workload left, and checks that each recovery is complete and durable. */
export class Recoveries {
  readonly #workload: Workload
  readonly #ledger: Ledger
  /** By disk: most recoveries end with one of the same few disks. */
  readonly #secondOpens = new Map<string, SecondOpen>()

  /** @param ledger tells which commits to look for */
  constructor(workload: Workload, ledger: Ledger) {
    this.#workload = workload
    this.#ledger = ledger
  }

  /**
   * Opens the workload's directory, observes all of it, and then loses power and opens it again:
   * the first open's changes must be durable, and leave nothing for the second open to do.
   */
  async recover(disk: SimulatedFileSystem): Promise<Recovery> {
    try {
      const observation = await this.#workload.observe(disk, this.#ledger)
      const complaints = strays(disk, observation)
      const second = await this.#openAgain(disk.restart('power', { unsynced: 'lost', seed: 1 }))
      complaints.push(...repairsLeft(observation.repairs, second.observation.repairs))
      const [found, foundAgain] = [observation, second.observation].map((each) =>
        JSON.stringify({ ...each, repairs: null }),
      )
      if (found !== foundAgain) {
        complaints.push(`the second open finds something else: ${foundAgain}, not ${found}`)
      }
      return { observation, complaints: [...complaints, ...second.changes] }
    } catch (error) {
      return { observation: null, complaints: [`it does not open: ${String(error)}`] }
    }
  }

  async #openAgain(disk: SimulatedFileSystem): Promise<SecondOpen> {
    const key = disk.digest()
    const known = this.#secondOpens.get(key)
    if (known !== undefined) return known
    const files = disk.snapshot()
    const observation = await this.#workload.observe(disk, this.#ledger)
    const opened = { observation, changes: changesOf(files, disk.snapshot()) }
    this.#secondOpens.set(key, opened)
    return opened
  }
}

/** Returns everything that is wrong after a crash, as sentences. */
export function complaintsOf(
  { observation, complaints }: Recovery,
  ledger: Ledger,
  loss: Loss,
): string[] {
  if (observation === null) return [...complaints]
  return [...complaints, ...brokenPromises(ledger, observation, loss)]
}

/**
 * The files that a second open may change. Temporary files, which are never read and are
 * overwritten by the next replacement; recovery points, which are lower bounds; and snapshots,
 * which only save time. An open that finishes the deletion of a topic appends to the committed
 * offsets, and the next one saves where that ended, also in the record of that log's segments.
 */
const MAY_CHANGE =
  /\.tmp$|\/recovery-point-offset-checkpoint$|\.snapshot$|\/__consumer_offsets-\d+\/varve-segments$/

/** An index missing from a directory of Kafka's is rebuilt at each open until a clean close. */
function repairsLeft(first: Observation['repairs'], second: Observation['repairs']): string[] {
  return [
    ...second.cut.map((path) => `the second open cuts ${path}`),
    ...second.rebuilt
      .filter((path) => !first.rebuilt.includes(path))
      .map((path) => `the second open builds the index of ${path} again`),
  ]
}

/** Complaints about directories of partitions that belong to no topic. */
function strays(disk: SimulatedFileSystem, { topics }: Observation): string[] {
  const known = Object.entries(topics).flatMap(([name, { partitions }]) =>
    partitions.map((_, index) => `${name}-${index}`),
  )
  const directories = [...disk.snapshot().keys()].map((path) => path.split('/').at(-2) ?? '')
  return [...new Set(directories)]
    .filter((name) => /-\d+$/.test(name) && !known.includes(name))
    .filter((name) => !name.startsWith('__'))
    .map((name) => `the directory ${name} belongs to no topic`)
}

/** A file's content without the space that the open itself preallocated, which is given back. */
function settled(path: string, bytes: Buffer | undefined): Buffer | undefined {
  if (bytes === undefined || !path.endsWith('.log')) return bytes
  return bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0xfe) + 1)
}

function changesOf(before: Map<string, Buffer>, after: Map<string, Buffer>): string[] {
  const changes: string[] = []
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    if (MAY_CHANGE.test(path)) continue
    const [old, now] = [settled(path, before.get(path)), settled(path, after.get(path))]
    if (old === undefined) changes.push(`the second open makes ${path}`)
    else if (now === undefined) changes.push(`the second open removes ${path}`)
    else if (!old.equals(now)) changes.push(`the second open changes ${path}`)
  }
  return changes
}
