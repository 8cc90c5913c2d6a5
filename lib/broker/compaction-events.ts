import { channel } from 'node:diagnostics_channel'
import type { CompactionReport } from '../storage/log-cleaner.ts'

/**
 * Message on the diagnostics channel `varve:compaction` about a compaction pass over one partition.
 */
export type CompactionEvent = {
  readonly topic: string
  readonly partition: number
} & (
  | { readonly type: 'start' }
  /** Published after each group of segments was rewritten. */
  | { readonly type: 'progress'; readonly bytesRead: number }
  | { readonly type: 'end'; readonly report: CompactionReport }
  | { readonly type: 'failure'; readonly error: unknown }
)

const compaction = channel('varve:compaction')

/** Publishes an event on `varve:compaction`. */
export function publishCompaction(event: CompactionEvent): void {
  compaction.publish(event)
}
