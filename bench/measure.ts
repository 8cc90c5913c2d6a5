import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Measurement } from './bench-case.ts'
import { startProfile, stopProfile } from './profile.ts'

/** What {@link measure} has measured. */
export interface Lap {
  readonly seconds: number
  readonly cpuMs: number
  readonly maxRssMb: number
}

/** The event loop delay found by {@link measureWithLoop}, under the names of a report. */
export interface LoopDelay {
  readonly loopP99Ms: number
  readonly loopMaxMs: number
}

/** Interval at which the delay of the event loop is sampled. */
const LOOP_RESOLUTION_MS = 1

/** Times `work`. */
export async function measure(work: () => Promise<unknown>): Promise<Lap> {
  startProfile()
  const cpu = process.cpuUsage()
  const start = performance.now()
  await work()
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  const maxRssMb = process.resourceUsage().maxRSS / 1024
  stopProfile()
  return { seconds, cpuMs: (user + system) / 1000, maxRssMb }
}

/** Times `work`, and measures how late timers of the process fire meanwhile. */
export async function measureWithLoop(
  work: () => Promise<unknown>,
): Promise<{ lap: Lap; loop: LoopDelay }> {
  const histogram = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS })
  histogram.enable()
  // A delay is measured from the previous sample, so there must be one.
  await sleep(5 * LOOP_RESOLUTION_MS)
  const lap = await measure(work)
  // A delay at the very end of the work is only recorded when the loop turns again.
  await sleep(2 * LOOP_RESOLUTION_MS)
  histogram.disable()
  return { lap, loop: delayOf(histogram) }
}

/** The histogram holds the time between samples, which equals the resolution without any delay. */
function delayOf(histogram: IntervalHistogram): LoopDelay {
  const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - LOOP_RESOLUTION_MS)
  return { loopP99Ms: late(histogram.percentile(99)), loopMaxMs: late(histogram.max) }
}

/** A throughput: `count` items, of `bytes` in total, processed in one lap. */
export function rate(
  lap: Lap,
  work: { count: number; bytes?: number },
  extra: Readonly<Record<string, number>> = {},
): Measurement {
  const { count, bytes } = work
  const { seconds, cpuMs, maxRssMb } = lap
  const measurement = { value: count / seconds, count, cpuMs, maxRssMb, extra }
  return bytes === undefined ? measurement : { ...measurement, bytesPerSecond: bytes / seconds }
}

/** Median, 99th percentile and maximum of the latencies of calls, under the names of a report. */
export function latencies(samplesMs: Float64Array): {
  p50Ms: number
  p99Ms: number
  maxMs: number
} {
  const sorted = samplesMs.slice().sort()
  return {
    p50Ms: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
    maxMs: quantile(sorted, 1),
  }
}

/** The median; for an even number of values, the mean of the middle two; NaN for no values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  const low = sorted[Math.ceil(middle) - 1] ?? NaN
  const high = sorted[Math.floor(middle)] ?? NaN
  return (low + high) / 2
}

/** The smallest sample that at least this share of all samples does not exceed. */
function quantile(sorted: Float64Array, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? NaN
}
