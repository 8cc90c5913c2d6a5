import {
  boolean,
  checkOptions,
  describeValue,
  objectWith,
  refuseThenable,
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
 * Chooses the partition of a record that does not name one. Called once for each such record, in
 * the order of the sends, so it may keep state.
 *
 * @param partitionCount number of partitions of the record's topic, at least 1; may grow from one
 * call to the next
 * @param load how much waits to be written for each partition, in any unit that is the same for
 * all; absent if that is not known for all of them
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
   * Bytes of keys and values after which records without a key switch to another partition, at
   * least 1. Best set to the producer's `batchSize`: a smaller value splits batches, a larger one
   * makes the load uneven.
   *
   * @defaultValue 16384, as in Kafka's producers; the producers of this library pass their own
   * `batchSize`
   */
  readonly stickyBytes?: number | undefined
  /** Treats every record as if it had no key. @defaultValue `false` */
  readonly ignoreKeys?: boolean | undefined
  /** Source of random numbers. @defaultValue the system's */
  readonly random?: Random | undefined
}

/** Options of {@link random}. */
export interface RandomPartitionerOptions {
  /** Source of random numbers. @defaultValue the system's */
  readonly random?: Random | undefined
}

const RANDOM_OPTIONS: Checks<RandomPartitionerOptions> = { random: objectWith('integer') }

const DEFAULT_OPTIONS: Checks<DefaultPartitionerOptions> = {
  ...RANDOM_OPTIONS,
  stickyBytes: wholeNumber(1),
  ignoreKeys: boolean,
}

/** The current partition for a topic's records without a key. */
interface StickyState {
  partition: number
  sentBytes: number
}

const DEFAULT_STICKY_BYTES = 16_384

/**
 * Creates Kafka's default partitioner.
 *
 * A record with a key, even an empty one, is sent to the partition that the key's hash selects, so
 * records of one key stay in order; adding partitions changes the selection. Records without a key
 * fill a batch of one partition before they switch to another. That one is chosen at random; the
 * shorter a partition's queue, the likelier it is chosen.
 *
 * Use one for each producer: two producers that share one cut each other's batches short.
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
    // An empty record counts too, or a stream of them would never switch partitions.
    state.sentBytes += Math.max(1, (key?.length ?? 0) + (value?.length ?? 0))
    return state.partition
  }
}

/**
 * Creates a partitioner that sends each topic's records to its partitions in turn, with or without
 * a key. The distribution is exactly even, but it spreads records that could have shared a batch
 * over all partitions.
 */
export function roundRobin(): Partitioner {
  const nextPartitions = new Map<string, number>()
  return ({ topic }, partitionCount) => {
    const partition = (nextPartitions.get(topic) ?? 0) % partitionCount
    nextPartitions.set(topic, partition + 1)
    return partition
  }
}

/**
 * Creates a partitioner that chooses a partition at random for each record, with or without a key.
 */
export function random(options: RandomPartitionerOptions = {}): Partitioner {
  const checked = checkOptions('partitioner options', options, RANDOM_OPTIONS)
  const { random: source = systemRandom } = checked
  return (_record, partitionCount) => source.integer(partitionCount)
}

/**
 * Checks the return value of a partitioner, which may be user code.
 *
 * @throws TypeError when it is asynchronous
 * @throws RangeError when it is not an integer in [0, `partitionCount`)
 */
export function resolvePartition(
  partition: unknown,
  partitionCount: number,
  topic: string,
): number {
  if (
    typeof partition !== 'number' ||
    !Number.isInteger(partition) ||
    partition < 0 ||
    partition >= partitionCount
  ) {
    refuseThenable('a partitioner must not be asynchronous', partition)
    throw new RangeError(
      `partition of topic '${topic}' must be an integer in [0, ${partitionCount}), ` +
        `got ${describeValue(partition)}`,
    )
  }
  // A computed -0 becomes 0, so that it prints and compares like any other partition number.
  return partition + 0
}

/**
 * Builds the table in which a random number is looked up: partition `p` is chosen if the number is
 * below entry `p` and not below the entry before it. The weight of a partition is the longest queue
 * plus one, minus its own queue, so the longest queue still has a weight of one, and equal queues
 * have equal weights.
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
