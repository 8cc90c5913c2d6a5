import type { LogReader } from '../storage/log-reader.ts'
import type { StoredOffset } from './offset-replay.ts'

/** What is needed of a partition that groups consume. */
export interface ConsumedPartition {
  /** Resolves when everything below `offset` is covered by a sync; rejects when that cannot be had. */
  ensureDurable(offset: number): Promise<void>
  readonly log: { readonly reader: Pick<LogReader, 'epochOf' | 'endOffsetForEpoch'> }
}

/** A commit whose fields are right, and which partition it is for. */
export interface CheckedCommit extends StoredOffset {
  readonly data: ConsumedPartition
}

/** A commit with the epoch of the record before its offset, where it does not say it itself. */
export function withEpoch({ topicPartition, committed, data }: CheckedCommit): StoredOffset {
  const leaderEpoch = committed.leaderEpoch ?? data.log.reader.epochOf(committed.offset - 1)
  return { topicPartition, committed: { ...committed, leaderEpoch } }
}
