import { channel } from 'node:diagnostics_channel'
import type { CompactionReport } from '../storage/log-cleaner.ts'

/** What subscribers of the diagnostics channel `varve:compaction` are told of a pass over a partition. */
export type CompactionEvent = {
  readonly topic: string
  readonly partition: number
} & (
  | { readonly type: 'start' }
  /** Comes with every group of segments that was written anew. */
  | { readonly type: 'progress'; readonly bytesRead: number }
  | { readonly type: 'end'; readonly report: CompactionReport }
  | { readonly type: 'failure'; readonly error: unknown }
)

const compaction = channel('varve:compaction')

/** Tells the subscribers of `varve:compaction`. */
export function publishCompaction(event: CompactionEvent): void {
  compaction.publish(event)
}
