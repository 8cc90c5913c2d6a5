/** What compaction may have done to a partition of a compacted topic. */
export interface CompactionLedger {
  /** The key of each record, by offset. */
  readonly keys: string[]
  /** Below this offset, passes may have removed records that later ones replace. */
  below: number
  /** Below this offset, passes may have removed tombstones, because they were due. */
  tombstonesBelow: number
}

/** What a partition's user knows about it, as far as it matters after a crash. */
export interface PartitionLedger {
  /**
   * Values by offset, in the order in which they were appended; `null` if the offset is known to
   * hold no record.
   */
  readonly history: (string | null)[]
  /** Everything below this offset survives a process crash: it was acknowledged as written. */
  written: number
  /** Everything below this offset survives a power loss: it was acknowledged as durable. */
  durable: number
  /** The log starts at this offset or above. */
  leastStart: number
  /** The log starts at this offset or below: everything before its start was deleted on purpose. */
  greatestStart: number
  /** Only of a compacted topic; in others, every record stays as it was appended. */
  compaction?: CompactionLedger
}

/** What a topic's user knows about it. */
export interface TopicLedger {
  readonly partitions: PartitionLedger[]
  /** Represents the configuration, which changes as a whole. */
  readonly segmentBytes: number
}

/**
 * What a workload asked for and was promised. Plain data, so that a copy can be kept for every
 * moment at which the machine may stop.
 */
export interface Ledger {
  /** By name, the states a topic may be in; `null` means that the topic does not exist. */
  readonly topics: Record<string, (TopicLedger | null)[]>
  /** By `group topic-partition`, the possible committed offsets; -1 means none. */
  readonly commits: Record<string, number[]>
}

export function newLedger(): Ledger {
  return { topics: {}, commits: {} }
}

export function newPartitionLedger(): PartitionLedger {
  return { history: [], written: 0, durable: 0, leastStart: 0, greatestStart: 0 }
}

/** Returns the ledger of an empty topic. */
export function newTopicLedger(partitions: number, segmentBytes: number): TopicLedger {
  return { partitions: Array.from({ length: partitions }, newPartitionLedger), segmentBytes }
}
