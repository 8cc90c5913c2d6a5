import { isRaw, isVarve } from '../cases.ts'
import { median } from '../measure.ts'
import { withUnit, type Figures } from './figures.ts'

/** Logs that ran the same case, under one heading. */
export interface ChartPanel {
  readonly title: string
  readonly figures: readonly Figures[]
}

const WIDTH = 760
const LABEL_WIDTH = 170
const VALUE_WIDTH = 90
const BAR_WIDTH = WIDTH - LABEL_WIDTH - VALUE_WIDTH
const ROW_HEIGHT = 22
const BAR_HEIGHT = 14
const HEAD_HEIGHT = 34

/** Bars of times are cut at this multiple of the median, so that outliers do not dwarf the rest. */
const MOST_MEDIANS = 4

/** Colours for a light and a dark background. */
const STYLE = `
  .page { fill: #ffffff } text { fill: #1f2328; font: 12px system-ui, sans-serif }
  .title { font-weight: 600; font-size: 13px }
  .varve { fill: #0b7a5c } .peer { fill: #8b95a1 } .raw { fill: #d0d7de } .range { stroke: #1f2328 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 }
    .varve { fill: #2fbf93 } .peer { fill: #6e7b89 } .raw { fill: #3a434d } .range { stroke: #e6edf3 }
  }
`

/** An SVG chart: a bar for the median of each log, and a line from its minimum to its maximum. */
export function chartOf(title: string, panels: readonly ChartPanel[]): string {
  const parts: string[] = []
  let top = 10
  for (const panel of panels) {
    parts.push(panelOf(panel, top))
    top += HEAD_HEIGHT + panel.figures.length * ROW_HEIGHT + 10
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" width="${WIDTH}" ` +
      `height="${top}" role="img" aria-label="${escape(title)}">`,
    `<style>${STYLE}</style>`,
    `<rect class="page" width="${WIDTH}" height="${top}"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

function panelOf({ title, figures }: ChartPanel, top: number): string {
  const limit = limitOf(figures)
  const rows = bestFirst(figures).map((row, index) =>
    rowOf(row, limit, top + HEAD_HEIGHT + index * ROW_HEIGHT),
  )
  return [`<text class="title" x="10" y="${top + 16}">${escape(title)}</text>`, ...rows].join('\n')
}

/** The value of the longest bar. The floor is ignored: next to it nothing else would be visible. */
function limitOf(figures: readonly Figures[]): number {
  const logs = figures.filter(({ benchCase }) => !isRaw(benchCase.log))
  const shown = logs.length === 0 ? figures : logs
  const most = Math.max(...shown.map(({ max }) => max))
  if (shown[0]?.benchCase.unit !== 'ms') return most
  return Math.min(most, MOST_MEDIANS * median(shown.map((each) => each.median)))
}

function bestFirst(figures: readonly Figures[]): Figures[] {
  return [...figures].sort((a, b) =>
    a.benchCase.unit === 'ms' ? a.median - b.median : b.median - a.median,
  )
}

function rowOf(row: Figures, limit: number, top: number): string {
  const { log, unit } = row.benchCase
  const kind = isVarve(log) ? 'varve' : isRaw(log) ? 'raw' : 'peer'
  const place = (value: number): number => LABEL_WIDTH + Math.min(1, value / limit) * BAR_WIDTH
  const text = top + BAR_HEIGHT - 2
  const middle = top + BAR_HEIGHT / 2
  const end = place(row.median)
  const isCut = row.median > limit
  return [
    `<text x="${LABEL_WIDTH - 8}" y="${text}" text-anchor="end">${escape(log)}</text>`,
    `<rect class="${kind}" x="${LABEL_WIDTH}" y="${top}" width="${round(Math.max(1, end - LABEL_WIDTH))}" height="${BAR_HEIGHT}"/>`,
    isCut
      ? ''
      : `<line class="range" x1="${round(place(row.min))}" x2="${round(place(row.max))}" y1="${middle}" y2="${middle}"/>`,
    `<text x="${round(Math.max(end, isCut ? 0 : place(row.max)) + 6)}" y="${text}">` +
      `${isCut ? '→ ' : ''}${escape(withUnit(row.median, unit))}</text>`,
  ].join('')
}

function round(value: number): string {
  return value.toFixed(1)
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
