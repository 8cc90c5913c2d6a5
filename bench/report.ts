import type { BenchCase, Measurement } from './bench-case.ts'
import type { Machine } from './machine.ts'
import { median } from './measure.ts'

/** One run of one case; `round` is from 0. */
export interface Sample {
  readonly name: string
  readonly round: number
  readonly result: Measurement
}

/** What the figures were taken on, as lines of text. */
export function machineLines(machine: Machine): string[] {
  const { cpu, cores, memoryGb, loadAverage, system, node, threadPool } = machine
  return [
    `${cpu}, ${cores} cores, ${memoryGb} GB; ${system}; Node ${node}, ${threadPool} pool threads`,
    `load average ${loadAverage.toFixed(2)} before the first run`,
    `${machine.dir} on ${machine.fileSystem} (${machine.mountOptions})`,
    `sync: ${machine.sync}`,
  ]
}

const COLUMNS = [
  'case',
  'n',
  'median [min..max]',
  'MB/s',
  'x raw',
  'CPU ms/100k',
  'max RSS MB',
  'more',
] as const

/** A table with a row per case: medians over the rounds, and how many times slower than raw. */
export function tableOf(cases: readonly BenchCase[], samples: readonly Sample[]): string {
  const rows = cases.map((each) => rowOf(each, samples))
  const widths = COLUMNS.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]): string => {
    const padded = cells.map((cell, column) => {
      const width = widths[column] ?? 0
      return column === 0 || column === COLUMNS.length - 1
        ? cell.padEnd(width)
        : cell.padStart(width)
    })
    return `| ${padded.join(' | ')} |`
  }
  const rule = widths.map((width) => '-'.repeat(width))
  return [line(COLUMNS), line(rule), ...rows.map(line)].join('\n')
}

function rowOf(benchCase: BenchCase, samples: readonly Sample[]): string[] {
  const results = resultsOf(benchCase.name, samples)
  const [first] = results
  if (first === undefined) return [benchCase.name, '', 'failed', '', '', '', '', '']
  const values = results.map(({ value }) => value)
  const write = benchCase.unit === 'ms' ? milliseconds : perSecond
  const range = `[${write(Math.min(...values))}..${write(Math.max(...values))}]`
  const bytesPerSecond = results.map((result) => result.bytesPerSecond ?? NaN)
  const cpuMs = results.map((result) => (result.cpuMs / result.count) * 100_000)
  return [
    benchCase.name,
    String(first.count),
    `${write(median(values))} ${benchCase.unit} ${range}`,
    first.bytesPerSecond === undefined ? '' : significant(median(bytesPerSecond) / 1e6),
    benchCase.floor === null ? '' : timesSlower(benchCase, samples),
    first.count === 1 ? '' : significant(median(cpuMs)),
    significant(median(results.map(({ maxRssMb }) => maxRssMb))),
    Object.keys(first.extra)
      .map((key) => `${key} ${significant(median(results.map(({ extra }) => extra[key] ?? NaN)))}`)
      .join(', '),
  ]
}

/** The median of the ratios of each round: what disturbs a round disturbs both sides of its ratio. */
function timesSlower(benchCase: BenchCase, samples: readonly Sample[]): string {
  const ratios: number[] = []
  for (const { name, round, result } of samples) {
    if (name !== benchCase.name) continue
    const floor = samples.find((each) => each.name === benchCase.floor && each.round === round)
    if (floor === undefined) continue
    const ratio = result.value / floor.result.value
    ratios.push(benchCase.unit === 'ms' ? ratio : 1 / ratio)
  }
  return ratios.length === 0 ? '' : `${significant(median(ratios))}x`
}

function resultsOf(name: string, samples: readonly Sample[]): Measurement[] {
  return samples.filter((sample) => sample.name === name).map(({ result }) => result)
}

function perSecond(value: number): string {
  if (value >= 1e6) return `${significant(value / 1e6)} M`
  return value >= 1e4 ? `${significant(value / 1e3)} k` : significant(value)
}

function milliseconds(value: number): string {
  return value < 0.01 ? value.toFixed(4) : significant(value)
}

/** Three digits that count; more would be noise. */
function significant(value: number): string {
  if (!Number.isFinite(value)) return ''
  if (value >= 100) return Math.round(value).toString()
  return value >= 10 ? value.toFixed(1) : value.toPrecision(value >= 1 ? 3 : 2)
}
