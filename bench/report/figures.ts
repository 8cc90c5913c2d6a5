import type { BenchCase, Measurement } from '../bench-case.ts'
import { isRaw, isVarve, PEERS } from '../cases.ts'
import { median } from '../measure.ts'

/** One run of one case; `round` counts from 0. */
export interface Sample {
  readonly name: string
  readonly round: number
  readonly result: Measurement
}

/** All runs of one case. */
export interface Figures {
  readonly benchCase: BenchCase
  readonly samples: readonly Sample[]
  readonly median: number
  readonly min: number
  readonly max: number
}

/** The figures of the cases that were run, in the order of `cases`. */
export function figuresOf(cases: readonly BenchCase[], samples: readonly Sample[]): Figures[] {
  return cases.flatMap((benchCase): Figures[] => {
    const own = samples.filter(({ name }) => name === benchCase.name)
    if (own.length === 0) return []
    const values = own.map(({ result }) => result.value)
    const range = { min: Math.min(...values), max: Math.max(...values) }
    return [{ benchCase, samples: own, median: median(values), ...range }]
  })
}

/** The figures of the second time, of the cases that do their work twice in one process. */
export function againOf(figures: readonly Figures[]): Figures[] {
  return figures.flatMap(({ benchCase, samples }) =>
    figuresOf(
      [benchCase],
      samples.flatMap(({ name, round, result: { again } }) =>
        // The largest resident set is that of both times.
        again === undefined ? [] : [{ name, round, result: { ...again, maxRssMb: NaN } }],
      ),
    ),
  )
}

/** The fastest log that is neither Varve nor a floor; `null` if there is none. */
export function bestPeerOf(figures: readonly Figures[]): Figures | null {
  const peers = figures.filter(
    ({ benchCase: { log } }) =>
      !isVarve(log) && !isRaw(log) && PEERS.some(({ name }) => name === log),
  )
  return peers.reduce<Figures | null>((best, each) => {
    if (best === null) return each
    const isBetter =
      each.benchCase.unit === 'ms' ? each.median < best.median : each.median > best.median
    return isBetter ? each : best
  }, null)
}

/**
 * The figure divided by that of another case: the median of the ratios of the rounds, because a
 * disturbance affects all cases of a round. NaN if they have no round in common.
 */
export function ratioTo(figures: Figures, other: Figures | null): number {
  if (other === null) return NaN
  const ratios = figures.samples.flatMap(({ round, result }) => {
    const counterpart = other.samples.find((sample) => sample.round === round)
    return counterpart === undefined ? [] : [result.value / counterpart.result.value]
  })
  return median(ratios)
}

/** The median of another value that the runs have measured; NaN if they have not. */
export function medianOf(
  { samples }: Figures,
  read: (result: Measurement) => number | undefined,
): number {
  return median(samples.map(({ result }) => read(result) ?? NaN))
}

/** Processor time for 100,000 records or reads; NaN if there was only one. */
export function cpuMsPer100k(figures: Figures): number {
  return medianOf(figures, ({ cpuMs, count }) => (count === 1 ? NaN : (cpuMs / count) * 100_000))
}

/** A figure with its unit, abbreviated. */
export function withUnit(value: number, unit: BenchCase['unit']): string {
  return unit === 'ms' ? `${milliseconds(value)} ms` : `${perSecond(value)}/s`
}

/** A figure and its range. */
export function withRange({ benchCase: { unit }, median: middle, min, max }: Figures): string {
  const write = unit === 'ms' ? milliseconds : perSecond
  return `${withUnit(middle, unit)} [${write(min)}..${write(max)}]`
}

/** Two or three significant digits, whole numbers from 100 on; empty if the value is unknown. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) return ''
  if (value === 0) return '0'
  if (value >= 100) return Math.round(value).toLocaleString('en')
  return value >= 10 ? value.toFixed(1) : value.toPrecision(value >= 1 ? 3 : 2)
}

function perSecond(value: number): string {
  if (value >= 1e6) return `${significant(value / 1e6)} M`
  return value >= 1e4 ? `${significant(value / 1e3)} k` : significant(value)
}

function milliseconds(value: number): string {
  return value < 0.01 ? value.toFixed(4) : significant(value)
}
