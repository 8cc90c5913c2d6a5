import { channel } from 'node:diagnostics_channel'
import type { Clock } from '../platform/clock.ts'
import type { Log } from '../storage/log.ts'

/** A sync that takes longer is reported: every append of the partition has waited for it. */
const SLOW_SYNC_MS = 1_000

/** Message on the diagnostics channel `varve:slow-sync`. */
export interface SlowSync {
  readonly topic: string
  readonly partition: number
  /** How long the sync took, including the time it waited. */
  readonly durationMs: number
}

const slowSync = channel('varve:slow-sync')

/**
 * Makes everything appended to a log durable. If that takes more than a second, it is published on
 * the diagnostics channel `varve:slow-sync`, whether or not it succeeded.
 *
 * @returns `null` when it is already done.
 */
export function flushTimed(clock: Pick<Clock, 'monotonic'>, log: Log): Promise<void> | null {
  const startMs = clock.monotonic()
  const flushing = log.prompt.flush()
  if (flushing !== null) {
    return flushing.finally(() => {
      tellIfSlow(clock.monotonic() - startMs, log)
    })
  }
  tellIfSlow(clock.monotonic() - startMs, log)
  return null
}

function tellIfSlow(durationMs: number, { topic, partition }: Log): void {
  if (durationMs <= SLOW_SYNC_MS) return
  slowSync.publish({ topic, partition, durationMs } satisfies SlowSync)
}
