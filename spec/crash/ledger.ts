/** What compaction may have done to a partition of a compacted topic. */
export interface CompactionLedger {
  /** By offset, the key of each record. */
  readonly keys: string[]
  /** Below it passes may have taken records away that others replace. */
  below: number
  /** Below it passes may have taken tombstones away, because they were due. */
  tombstonesBelow: number
}

/** What a partition's user knows of it, as far as it bears on what a crash may leave. */
export interface PartitionLedger {
  /**
   * Values by offset, in the order in which they were given to the log; `null` where the offset is
   * known to hold none.
   */
  readonly history: (string | null)[]
  /** Everything below this offset outlives the process: it was acknowledged as written. */
  written: number
  /** Everything below this offset outlives a power loss: it was acknowledged as durable. */
  durable: number
  /** The log starts here or above. */
  leastStart: number
  /** The log starts here or below: everything in front was deleted on purpose. */
  greatestStart: number
  /** Of a compacted topic only: all else is there as it was given to the log. */
  compaction?: CompactionLedger
}

/** What a topic's user knows of it. */
export interface TopicLedger {
  readonly partitions: PartitionLedger[]
  /** Stands for the configuration, which changes as a whole. */
  readonly segmentBytes: number
}

/**
 * What a workload has asked for and been promised: plain data, so that a copy of it can be kept for
 * every moment at which the machine may stop.
 */
export interface Ledger {
  /** By name, the states a topic may be found in; `null` is a topic that is not there. */
  readonly topics: Record<string, (TopicLedger | null)[]>
  /** By `group topic-partition`, the committed offsets that may be found; -1 is none. */
  readonly commits: Record<string, number[]>
}

export function newLedger(): Ledger {
  return { topics: {}, commits: {} }
}

export function newPartitionLedger(): PartitionLedger {
  return { history: [], written: 0, durable: 0, leastStart: 0, greatestStart: 0 }
}

/** A topic that nothing was sent to. */
export function newTopicLedger(partitions: number, segmentBytes: number): TopicLedger {
  return { partitions: Array.from({ length: partitions }, newPartitionLedger), segmentBytes }
}
