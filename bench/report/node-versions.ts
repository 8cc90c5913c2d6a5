import { CASES, isRaw, isVarve, PEERS } from '../cases.ts'
import {
  bestPeerOf,
  figuresOf,
  ratioTo,
  withRange,
  withUnit,
  type Figures,
  type Sample,
} from './figures.ts'
import type { RunDescription } from './markdown.ts'
import { floorOf, linesOf, roundsText, times } from './table.ts'

/** The samples of one version of Node.js. */
export interface VersionSamples {
  /** `v20.20.2`. */
  readonly node: string
  /** The runs that the samples are from. */
  readonly runs: readonly RunDescription[]
  readonly samples: readonly Sample[]
}

/** A version of Node.js and its figures. */
interface Column {
  readonly node: string
  readonly figures: readonly Figures[]
}

/**
 * Varve under several versions of Node.js, as Markdown: a row for each case, a column for each
 * version; and its ratios to the other logs under each version in which those were run too. Empty
 * if there is only one version.
 */
export function nodeVersionsOf(versions: readonly VersionSamples[]): string[] {
  if (versions.length < 2) return []
  const columns = versions.map(({ node, samples }) => ({
    node,
    figures: figuresOf(CASES, samples),
  }))
  const names = CASES.filter(
    ({ name, log }) =>
      isVarve(log) && columns.every(({ figures }) => figureOf(figures, name) !== undefined),
  ).map(({ name }) => name)
  const rows = names.map((name) => [
    name,
    ...columns.map(({ figures }) => {
      const found = figureOf(figures, name)
      return found === undefined ? '' : withRange(found)
    }),
  ])
  return [
    '## Versions of Node.js',
    'Varve under each version: medians, and the range of the rounds. The versions were not run ' +
      'in turn, so the figures also reflect the state of the machine at the time.',
    versions.map(({ node, runs }) => `- ${node}: ${originOf(runs)}`).join('\n'),
    linesOf([['case', ...columns.map(({ node }) => node)], ...rows]),
    ...ratiosOf(columns),
  ]
}

/** When and on what the runs were made; runs of one day on one machine are named once. */
function originOf(runs: readonly RunDescription[]): string {
  const origins = runs.map(
    ({ startedAt, rounds, machine }) =>
      `${startedAt.slice(0, 10)}, ${machine.cpu}, ${roundsText(rounds)}`,
  )
  return [...new Set(origins)].join('; ')
}

/** The ratios to the best peer and to the floor, under each version that has them. */
function ratiosOf(columns: readonly Column[]): string[] {
  const compared = columns.filter(({ figures }) => bestPeerOf(figures) !== null)
  if (compared.length < 2) return []
  const rows = CASES.filter(({ log }) => isVarve(log) || !isPeer(log)).flatMap(({ name }) => {
    const cells = compared.map(({ figures }) => ratioCells(figures, name))
    const isFilled = cells.every((each) => each.some((cell) => cell !== ''))
    return isFilled ? [[name, ...cells.flat()]] : []
  })
  const titles = compared.flatMap(({ node }) => [`${node} × best peer`, '× floor'])
  return [
    'The ratios under the versions in which the other logs were also run, in turn with Varve:',
    linesOf([['case', ...titles], ...rows]),
  ]
}

function ratioCells(figures: readonly Figures[], name: string): [string, string] {
  const found = figureOf(figures, name)
  if (found === undefined) return ['', '']
  const { workload, valueBytes, question } = found.benchCase
  const asked = figures.filter(
    ({ benchCase }) =>
      benchCase.workload === workload &&
      benchCase.valueBytes === valueBytes &&
      benchCase.question === question,
  )
  const best = bestPeerOf(asked)
  const toBest = best === null ? '' : `${times(ratioTo(found, best))} ${nameAndFigure(best)}`
  return [toBest, times(ratioTo(found, floorOf(found, figures)))]
}

function nameAndFigure({ benchCase: { log, unit }, median }: Figures): string {
  return `${log}, ${withUnit(median, unit)}`
}

function figureOf(figures: readonly Figures[], name: string): Figures | undefined {
  return figures.find(({ benchCase }) => benchCase.name === name)
}

function isPeer(log: string): boolean {
  return isRaw(log) || PEERS.some(({ name }) => name === log)
}
