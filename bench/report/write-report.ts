import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CASES, WORKLOADS } from '../cases.ts'
import { sampleFileName, type StoredRun } from '../sample-file.ts'
import { chartOf } from './chart.ts'
import { figuresOf, type Figures, type Sample } from './figures.ts'
import {
  markdownOf,
  ofSize,
  ofWorkload,
  SAMPLES,
  sizeName,
  type RunDescription,
} from './markdown.ts'
import type { Machine } from './machine.ts'
import type { VersionSamples } from './node-versions.ts'

/** The results of runs. */
export interface Report {
  /** Of the version of Node.js with the most samples. */
  readonly figures: readonly Figures[]
  readonly machine: Machine
  /** The content of each file, by its path in the report's directory. */
  readonly files: ReadonlyMap<string, string>
}

/** Name of the page in a report's directory. */
export const PAGE = 'BENCHMARKS.md'

/**
 * Generates the page, a chart for each workload, and the sample files, from which the report can
 * be generated again. The order of the runs does not matter.
 *
 * @param runs at least one
 */
export function reportOf(runs: readonly StoredRun[]): Report {
  const inOrder = [...runs].sort((left, right) => (nameOf(left) < nameOf(right) ? -1 : 1))
  // Figures of different versions of Node.js do not mix; each version is reported separately.
  const versions = byNodeVersion(inOrder)
  const counted = [...versions].sort((left, right) => right.samples.length - left.samples.length)
  const { runs: ofNode = [], samples = [] } = counted[0] ?? {}
  const figures = figuresOf(CASES, samples)
  const [first] = ofNode
  if (first === undefined) throw new RangeError('a report is of one run at least')
  const files = new Map([[PAGE, markdownOf(ofNode, figures, chartPath, versions)]])
  for (const [name, chart] of chartsOf(figures)) files.set(chartPath(name), chart)
  for (const run of inOrder) files.set(`${SAMPLES}/${nameOf(run)}`, run.text)
  return { figures, machine: first.machine, files }
}

/**
 * Writes a report into `dir`, replacing the one that is there.
 *
 * @returns the path of its page
 */
export function writeReport(dir: string, { files }: Report): string {
  // Old samples would otherwise be included when the report is generated again.
  rmSync(join(dir, SAMPLES), { recursive: true, force: true })
  for (const [path, content] of files) {
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), content)
  }
  return join(dir, PAGE)
}

function nameOf({ description }: StoredRun): string {
  return sampleFileName(description)
}

/** @throws RangeError if a run is included twice */
export function ensureDistinct(runs: readonly StoredRun[]): void {
  const names = runs.map(nameOf)
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) throw new RangeError(`the run ${twice} was given twice`)
}

/** Keeps the rounds of different runs apart, which are never compared with one another. */
const ROUNDS_APART = 1000

function byNodeVersion(runs: readonly StoredRun[]): VersionSamples[] {
  const versions = new Map<string, { runs: RunDescription[]; samples: Sample[] }>()
  for (const [index, { description, samples }] of runs.entries()) {
    const { node } = description.machine
    const version = versions.get(node) ?? { runs: [], samples: [] }
    versions.set(node, version)
    version.runs.push(description)
    for (const each of samples) {
      version.samples.push({ ...each, round: each.round + index * ROUNDS_APART })
    }
  }
  return [...versions].map(([node, version]) => ({ node, ...version }))
}

/** By the name of their workload. */
function chartsOf(figures: readonly Figures[]): Map<string, string> {
  const charts = new Map<string, string>()
  for (const { name, title, unit, valueSizes } of WORKLOADS) {
    const rows = ofWorkload(figures, name)
    if (rows.length === 0) continue
    const direction = unit === 'ms' ? 'less is better' : 'more is better'
    const heading = `${name}: ${title}`
    const panels = valueSizes
      .map((valueBytes) => ({
        title: `${heading}, values of ${sizeName(valueBytes)}, ${direction}`,
        figures: ofSize(rows, valueBytes),
      }))
      .filter((panel) => panel.figures.length > 0)
    charts.set(name, chartOf(heading, panels))
  }
  return charts
}

function chartPath(workload: string): string {
  return `bench/${workload}.svg`
}
