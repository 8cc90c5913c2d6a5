import {
  bestPeerOf,
  cpuMsPer100k,
  medianOf,
  ratioTo,
  significant,
  withRange,
  type Figures,
} from './figures.ts'

/** Column titles of the further figures of a case, by their names. */
const EXTRA_TITLES: Readonly<Record<string, string>> = {
  bytesPerRecord: 'bytes on disk / record',
  closeMs: 'close ms',
  loopP99Ms: 'loop delay p99 ms',
  loopMaxMs: 'loop delay max ms',
  p50Ms: 'p50 ms',
  p99Ms: 'p99 ms',
  maxMs: 'max ms',
  fromStartP99Ms: 'p99 from the start ms',
  againMs: 'open again ms',
  openRssMb: 'memory of the open MB',
  descriptors: 'descriptors held',
  perSecond: 'records / s',
  replayedPerSecond: 'replayed / s',
}

/** A Markdown table with a row for each log; all logs ran the same case. */
export function tableOf(figures: readonly Figures[], all: readonly Figures[]): string {
  const bestPeer = bestPeerOf(figures)
  const extras = Object.keys(EXTRA_TITLES).filter((key) =>
    figures.some(({ samples }) => samples.some(({ result }) => key in result.extra)),
  )
  const columns: [string, (row: Figures) => string][] = [
    ['log', ({ benchCase }) => benchCase.log],
    ['n', ({ samples }) => (samples[0]?.result.count ?? 0).toLocaleString('en')],
    ['median [min..max]', withRange],
    ['MB/s', (row) => significant(medianOf(row, (each) => (each.bytesPerSecond ?? NaN) / 1e6))],
    ['× best peer', (row) => times(ratioTo(row, bestPeer))],
    ['× floor', (row) => times(ratioTo(row, floorOf(row, all)))],
    ['CPU ms / 100 k', (row) => significant(cpuMsPer100k(row))],
    ['max RSS MB', (row) => significant(medianOf(row, (each) => each.maxRssMb))],
    ...extras.map((key): [string, (row: Figures) => string] => [
      EXTRA_TITLES[key] ?? key,
      (row) => significant(medianOf(row, ({ extra }) => extra[key])),
    ]),
  ]
  const cells = figures.map((row) => columns.map(([, write]) => write(row)))
  const isFilled = columns.map((_, column) => cells.some((row) => row[column] !== ''))
  const titles = columns.map(([title]) => title)
  return linesOf([titles, ...cells].map((row) => row.filter((_, column) => isFilled[column])))
}

/** Pads the cells, so that the plain text is readable too; the first row has the titles. */
export function linesOf(rows: readonly (readonly string[])[]): string {
  const [titles = []] = rows
  const widths = titles.map((_, column) =>
    Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const lines = rows.map((row) => {
    const padded = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    )
    return `| ${padded.join(' | ')} |`
  })
  const rule = widths.map((width, column) =>
    column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  )
  return [lines[0], `| ${rule.join(' | ')} |`, ...lines.slice(1)].join('\n')
}

/** The floor that the figure is compared with; `null` if there is none. */
export function floorOf(
  { benchCase: { floor } }: Figures,
  all: readonly Figures[],
): Figures | null {
  return all.find(({ benchCase }) => benchCase.name === floor) ?? null
}

/** A ratio; empty if it is unknown. */
export function times(ratio: number): string {
  return Number.isFinite(ratio) ? `${significant(ratio)}×` : ''
}

/** `1 round` or `5 rounds`. */
export function roundsText(rounds: number): string {
  return rounds === 1 ? '1 round' : `${rounds} rounds`
}
