import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import type { Ledger } from './ledger.ts'
import type { Observation } from './observation.ts'
import { brokenPromises, type Loss } from './promises.ts'
import type { Workload } from './workload.ts'

/** What opening a disk led to. */
export interface Recovery {
  /** `null` when it did not open. */
  readonly observation: Observation | null
  /** What is wrong with it whatever was promised. */
  readonly complaints: readonly string[]
}

/** What a second open comes to, and what it does although the first one should have. */
interface SecondOpen {
  readonly observation: Observation
  readonly changes: readonly string[]
}

/** Opens disks that a workload has left, and sees whether each is in order for good. */
export class Recoveries {
  readonly #workload: Workload
  readonly #ledger: Ledger
  /** Most crashes are recovered from to the same few disks. */
  readonly #secondOpens = new Map<string, SecondOpen>()

  /** @param ledger tells which commits to look for */
  constructor(workload: Workload, ledger: Ledger) {
    this.#workload = workload
    this.#ledger = ledger
  }

  /**
   * Opens what the workload works on, looks at all of it, and then loses power and opens it again:
   * what the first open did must be done for good, and leave nothing for the second to do.
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

/** Everything that is wrong after a crash, in sentences. */
export function complaintsOf(
  { observation, complaints }: Recovery,
  ledger: Ledger,
  loss: Loss,
): string[] {
  if (observation === null) return [...complaints]
  return [...complaints, ...brokenPromises(ledger, observation, loss)]
}

/**
 * Temporary files, which nobody reads and the next replacement takes over; recovery points, which are
 * lower bounds, and snapshots, which are there to save time: an open that finishes the deletion of a
 * topic appends to the committed offsets, and the next one saves where that ended, also in the record
 * of that log's segments.
 */
const MAY_CHANGE =
  /\.tmp$|\/recovery-point-offset-checkpoint$|\.snapshot$|\/__consumer_offsets-\d+\/varve-segments$/

/** An index that Kafka's directory lacks is built again at each open until an orderly close. */
function repairsLeft(first: Observation['repairs'], second: Observation['repairs']): string[] {
  return [
    ...second.cut.map((path) => `the second open cuts ${path}`),
    ...second.rebuilt
      .filter((path) => !first.rebuilt.includes(path))
      .map((path) => `the second open builds the index of ${path} again`),
  ]
}

/** Directories of partitions that no topic has, and temporary files. */
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

/** What is of a file to stay: what was preallocated for appends of the open itself is given back. */
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
