import type { Measurement } from './bench-case.ts'
import { startProfile, stopProfile } from './profile.ts'

/** What passed between {@link startWatch} and the call of what it returned. */
export interface Lap {
  readonly seconds: number
  readonly cpuMs: number
  readonly maxRssMb: number
}

/** Starts measuring; the returned function tells how much time has passed since. */
export function startWatch(): () => Lap {
  startProfile()
  const cpu = process.cpuUsage()
  const start = performance.now()
  return () => {
    const seconds = (performance.now() - start) / 1000
    const { user, system } = process.cpuUsage(cpu)
    const maxRssMb = process.resourceUsage().maxRSS / 1024
    stopProfile()
    return { seconds, cpuMs: (user + system) / 1000, maxRssMb }
  }
}

/** A throughput: `count` things of `bytes` in all, done in one lap. */
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

/** Median, 99th percentile and maximum of what single calls took, under the names of a report. */
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

/** The middle one; the mean of the middle two of an even number; NaN of none. */
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
