import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { WORKLOADS } from '../cases.ts'
import { chartOf } from './chart.ts'
import type { Figures } from './figures.ts'
import { markdownOf, ofSize, ofWorkload, sizeName, type RunDescription } from './markdown.ts'
import type { VersionSamples } from './node-versions.ts'

/** Writes `BENCHMARKS.md` into `dir`, and a chart for each workload into `bench/` below it. */
export function writeReport(
  dir: string,
  runs: readonly RunDescription[],
  figures: readonly Figures[],
  versions: readonly VersionSamples[],
): string {
  mkdirSync(join(dir, 'bench'), { recursive: true })
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
    writeFileSync(join(dir, chartPath(name)), chartOf(heading, panels))
  }
  const page = join(dir, 'BENCHMARKS.md')
  writeFileSync(page, markdownOf(runs, figures, chartPath, versions))
  return page
}

function chartPath(workload: string): string {
  return `bench/${workload}.svg`
}
