import type { ResolvedConsumerOptions } from './consumer-options.ts'

type ReadOptions = Pick<
  ResolvedConsumerOptions<unknown, unknown>,
  'fetchMinBytes' | 'fetchMaxBytes' | 'maxPartitionFetchBytes' | 'maxPollRecords'
>

/**
 * Bytes to read ahead over all partitions. Data is available the moment it is requested, so reading
 * more would only delay the first record, and evict from the processor's cache what is needed next.
 */
const READ_AHEAD_BYTES = 4 * 1024 * 1024

/** Minimum bytes to read from each partition, as one read returns that much. */
const MIN_SHARE_BYTES = 64 * 1024

/**
 * While some partitions have data buffered, the others are looked at once for this many records per
 * partition: looking at a thousand partitions with data takes as long as returning hundreds of
 * records.
 */
const RECORDS_PER_PARTITION = 4

/**
 * Number of partitions to read for each share of the available room: most of them may have little
 * data.
 */
const READS_PER_SHARE = 4

/** What is already buffered. */
interface Held {
  /** Stored size of everything. */
  readonly bytes: number
  /** Stored size of what can be returned. */
  readonly readyBytes: number
  readonly hasReady: boolean
}

/** How much one fetch may read. */
export interface Room {
  /** Whether any buffered record can be returned. */
  readonly hasReady: boolean
  /** Over all partitions; 0 or less if there is no room. */
  readonly roomBytes: number
  /**
   * The limit for a read that is made all the same, at least 1: one batch is read however little
   * room there is.
   */
  readonly maxBytes: number
  /** Once this many partitions with data are found, no others are looked at. */
  readonly mostCount: number
  /** Maximum bytes to read from one partition if this many have data. */
  partitionBytes(withDataCount: number): number
}

/** Decides when to look at partitions, and how much to read from them. */
export class ReadAhead {
  readonly #options: ReadOptions
  /** Records that may have been returned since the last look at all partitions. */
  #servedSinceLook = 0

  constructor(options: ReadOptions) {
    this.#options = options
  }

  /** @returns `null` if records are ready, and the partitions without any are not worth a look */
  room({ bytes, readyBytes, hasReady }: Held, partitionCount: number): Room | null {
    const { fetchMaxBytes, fetchMinBytes } = this.#options
    const mostBytes = Math.max(READ_AHEAD_BYTES, this.#leastBytes)
    const aheadBytes = mostBytes - readyBytes
    // The same amount again is reserved for partitions that get data meanwhile. Otherwise they
    // would have no turn until nearly all data of the others was returned.
    const lateBytes = hasReady ? mostBytes : 0
    if (hasReady && !this.#isLookDue(aheadBytes, lateBytes, partitionCount)) return null
    const roomBytes = Math.min(fetchMaxBytes - bytes, aheadBytes + lateBytes)
    // A poll that waits for many bytes may need the data of all partitions.
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

  /** Partitions with data share what is read ahead. */
  #partitionBytes(shareBytes: number): number {
    const mostBytes = Math.max(Math.floor(shareBytes), MIN_SHARE_BYTES, this.#leastBytes)
    return Math.max(1, Math.min(this.#options.maxPartitionFetchBytes, mostBytes))
  }

  /** Whether partitions without buffered data are worth a look while others have some. */
  #isLookDue(aheadBytes: number, lateBytes: number, partitionCount: number): boolean {
    this.#servedSinceLook += this.#options.maxPollRecords
    const leastServed = RECORDS_PER_PARTITION * partitionCount
    const isDue = aheadBytes >= READ_AHEAD_BYTES / 2 || this.#servedSinceLook >= leastServed
    if (!isDue || aheadBytes + lateBytes <= 0) return false
    this.#servedSinceLook = 0
    return true
  }

  /**
   * Minimum bytes to read from one partition, which may be the only one with as much data as the
   * poll waits for. Whole batches are read, and the last of them may only just not fit.
   */
  get #leastBytes(): number {
    return 2 * this.#options.fetchMinBytes
  }
}
