import type { ResolvedConsumerOptions } from './consumer-options.ts'

type ReadOptions = Pick<
  ResolvedConsumerOptions<unknown, unknown>,
  'fetchMinBytes' | 'fetchMaxBytes' | 'maxPartitionFetchBytes' | 'maxPollRecords'
>

/**
 * So much is read ahead, over all partitions: it is there the moment it is asked for, so more would
 * only make the first record wait, and push out of the processor's cache what comes next.
 */
const READ_AHEAD_BYTES = 4 * 1024 * 1024

/** Of each partition at least so much is read, as one read takes it. */
const MIN_SHARE_BYTES = 64 * 1024

/**
 * While partitions have something buffered the others are looked at once for so many records of each:
 * a look at a thousand that have something takes as long as handing out hundreds of records.
 */
const RECORDS_PER_PARTITION = 4

/** So many partitions are read for each that there is room for: most of them may have little. */
const READS_PER_SHARE = 4

/** What is held already, of what was read before. */
interface Held {
  /** Stored size of all of it. */
  readonly bytes: number
  /** Of what can be handed out. */
  readonly readyBytes: number
  readonly hasReady: boolean
}

/** How much one fetch may read. */
export interface Room {
  /** Whether something of what is held can be handed out. */
  readonly hasReady: boolean
  /** Over all partitions; 0 or less where there is none. */
  readonly roomBytes: number
  /** The same where it is read all the same: one batch is taken however little there is. */
  readonly maxBytes: number
  /** So many partitions with something are enough. */
  readonly mostCount: number
  /** What is read of one partition at most, where so many have something. */
  partitionBytes(withDataCount: number): number
}

/** Says when partitions are worth a look, and how much is read of them. */
export class ReadAhead {
  readonly #options: ReadOptions
  /** Records that may have been handed out since the last look at all partitions. */
  #servedSinceLook = 0

  constructor(options: ReadOptions) {
    this.#options = options
  }

  /** @returns `null` where something is ready, and partitions of which nothing is are not worth a look */
  room({ bytes, readyBytes, hasReady }: Held, partitionCount: number): Room | null {
    const { fetchMaxBytes, fetchMinBytes } = this.#options
    const mostBytes = Math.max(READ_AHEAD_BYTES, this.#leastBytes)
    const aheadBytes = mostBytes - readyBytes
    // As much again is for partitions that get something meanwhile, or they would have no turn until
    // nearly all of the others is handed out.
    const lateBytes = hasReady ? mostBytes : 0
    if (hasReady && !this.#isLookDue(aheadBytes, lateBytes, partitionCount)) return null
    const roomBytes = Math.min(fetchMaxBytes - bytes, aheadBytes + lateBytes)
    // Who waits for many bytes may need what all of them have.
    const isAnyEnough = hasReady || fetchMinBytes <= 1
    const shareCount = Math.ceil(Math.max(1, roomBytes) / MIN_SHARE_BYTES)
    return {
      hasReady,
      roomBytes,
      maxBytes: Math.max(1, roomBytes),
      mostCount: isAnyEnough ? READS_PER_SHARE * shareCount : Infinity,
      partitionBytes: (withDataCount) => this.#partitionBytes(aheadBytes / withDataCount),
    }
  }

  /** Those that have something share what is read ahead. */
  #partitionBytes(shareBytes: number): number {
    const mostBytes = Math.max(Math.floor(shareBytes), MIN_SHARE_BYTES, this.#leastBytes)
    return Math.max(1, Math.min(this.#options.maxPartitionFetchBytes, mostBytes))
  }

  /** Whether partitions of which nothing is buffered are worth a look while others have something. */
  #isLookDue(aheadBytes: number, lateBytes: number, partitionCount: number): boolean {
    this.#servedSinceLook += this.#options.maxPollRecords
    const leastServed = RECORDS_PER_PARTITION * partitionCount
    const isDue = aheadBytes >= READ_AHEAD_BYTES / 2 || this.#servedSinceLook >= leastServed
    if (!isDue || aheadBytes + lateBytes <= 0) return false
    this.#servedSinceLook = 0
    return true
  }

  /**
   * No less may be read of one partition, which may be the only one with as much as is waited for:
   * what is read is whole batches, and the last of them may just not fit.
   */
  get #leastBytes(): number {
    return 2 * this.#options.fetchMinBytes
  }
}
