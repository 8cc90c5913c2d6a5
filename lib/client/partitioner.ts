import {
  boolean,
  checkOptions,
  describeValue,
  objectWith,
  wholeNumber,
  type Checks,
} from '../checks.ts'
import { systemRandom, type Random } from '../platform/random.ts'
import { murmur2, toPositive } from './murmur2.ts'

/** What a partitioner may look at: the record as it will be stored. */
export interface PartitionerRecord {
  readonly topic: string
  readonly key: Buffer | null
  readonly value: Buffer | null
}

/**
 * Chooses the partition of a record that names none itself. Called once for each such record, in
 * the order of the sends, so it may keep state.
 *
 * @param partitionCount number of partitions of the record's topic, at least 1; may grow from one
 * call to the next
 * @param load what waits to be written for each partition, in any unit that is the same for all;
 * absent while that is not known for all of them
 * @returns an integer in [0, `partitionCount`)
 */
export type Partitioner = (
  record: PartitionerRecord,
  partitionCount: number,
  load?: readonly number[],
) => number

/** Options of {@link defaultPartitioner}. */
export interface DefaultPartitionerOptions {
  /**
   * Bytes of keys and values after which records without a key go on to another partition, at
   * least 1. Best the producer's `batchSize`: less splits batches, more makes the load uneven.
   *
   * @defaultValue 16384, as Kafka's producers have it; the producers of this library give it theirs
   */
  readonly stickyBytes?: number
  /** Treats every record as if it had no key. @defaultValue `false` */
  readonly ignoreKeys?: boolean
  /** @defaultValue the system's */
  readonly random?: Random
}

/** Options of {@link random}. */
export interface RandomPartitionerOptions {
  /** @defaultValue the system's */
  readonly random?: Random
}

const RANDOM_OPTIONS: Checks<RandomPartitionerOptions> = { random: objectWith('integer') }

const DEFAULT_OPTIONS: Checks<DefaultPartitionerOptions> = {
  ...RANDOM_OPTIONS,
  stickyBytes: wholeNumber(1),
  ignoreKeys: boolean,
}

/** Where the records of a topic without a key go at present. */
interface StickyState {
  partition: number
  sentBytes: number
}

const DEFAULT_STICKY_BYTES = 16_384

/**
 * Kafka's partitioner. A record with a key, even an empty one, goes where the key's hash says, so
 * records of one key stay in order; that changes when partitions are added. Records without a key
 * fill a batch of one partition before they go to another, chosen at random: the less waits in its
 * queue the likelier.
 *
 * Use one for each producer: two that share one cut each other's batches short.
 *
 * @throws TypeError or RangeError for options that are not legal
 */
export function defaultPartitioner(options: DefaultPartitionerOptions = {}): Partitioner {
  const {
    stickyBytes = DEFAULT_STICKY_BYTES,
    ignoreKeys = false,
    random: source = systemRandom,
  } = checkOptions('partitioner options', options, DEFAULT_OPTIONS)
  const states = new Map<string, StickyState>()
  return ({ topic, key, value }, partitionCount, load) => {
    if (key !== null && !ignoreKeys) {
      return partitionCount === 1 ? 0 : toPositive(murmur2(key)) % partitionCount
    }
    let state = states.get(topic)
    if (
      state === undefined ||
      state.sentBytes >= stickyBytes ||
      state.partition >= partitionCount
    ) {
      state = { partition: choosePartition(partitionCount, load, source), sentBytes: 0 }
      states.set(topic, state)
    }
    // An empty record counts as well, or a stream of them would never leave its partition.
    state.sentBytes += Math.max(1, (key?.length ?? 0) + (value?.length ?? 0))
    return state.partition
  }
}

/**
 * Deals records to the partitions of their topic in a circle, with or without a key. Even to a
 * record, but it spreads what could have been one batch over all partitions.
 */
export function roundRobin(): Partitioner {
  const nextPartitions = new Map<string, number>()
  return ({ topic }, partitionCount) => {
    const partition = (nextPartitions.get(topic) ?? 0) % partitionCount
    nextPartitions.set(topic, partition + 1)
    return partition
  }
}

/** Chooses a partition at random for each record, with or without a key. */
export function random(options: RandomPartitionerOptions = {}): Partitioner {
  const checked = checkOptions('partitioner options', options, RANDOM_OPTIONS)
  const { random: source = systemRandom } = checked
  return (_record, partitionCount) => source.integer(partitionCount)
}

/**
 * Checks what a partitioner has returned, which may be anybody's code.
 *
 * @throws RangeError when it is not an integer in [0, `partitionCount`)
 */
export function resolvePartition(partition: unknown, partitionCount: number): number {
  if (
    typeof partition !== 'number' ||
    !Number.isInteger(partition) ||
    partition < 0 ||
    partition >= partitionCount
  ) {
    throw new RangeError(
      `partition must be an integer in [0, ${partitionCount}), got ${describeValue(partition)}`,
    )
  }
  // A computed -0 becomes 0, so that it prints and compares like any other partition number.
  return partition + 0
}

/**
 * The table that a random number is looked up in: partition `p` is chosen by a number below entry
 * `p` and not below the one before it. A partition's part is the longest queue plus one, less its
 * own queue, so the longest queue still has a chance of one, and equal queues have equal chances.
 *
 * @internal
 */
export function cumulativeWeights(load: readonly number[]): number[] {
  const longest = load.reduce((max, queue) => Math.max(max, queue), 0)
  let sum = 0
  return load.map((queue) => (sum += longest + 1 - queue))
}

function choosePartition(
  partitionCount: number,
  load: readonly number[] | undefined,
  source: Random,
): number {
  if (load === undefined || load.length < partitionCount) return source.integer(partitionCount)
  const table = cumulativeWeights(load.slice(0, partitionCount))
  const draw = source.integer(table.at(-1) ?? 1)
  return table.findIndex((end) => end > draw)
}
