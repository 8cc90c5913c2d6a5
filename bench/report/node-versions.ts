import { figuresOf, withRange, type Sample } from './figures.ts'
import { linesOf } from './table.ts'
import { CASES, isVarve } from '../cases.ts'

/** What one version of Node.js has made of the cases. */
export interface VersionSamples {
  /** `v20.20.2`. */
  readonly node: string
  readonly samples: readonly Sample[]
}

/**
 * Varve under several versions of Node.js, as Markdown: a row for each case, a column for each
 * version. Empty where there is one version only.
 */
export function nodeVersionsOf(versions: readonly VersionSamples[]): string[] {
  if (versions.length < 2) return []
  const columns = versions.map(({ node, samples }) => ({
    node,
    figures: figuresOf(CASES, samples),
  }))
  const names = CASES.filter(
    ({ name, log }) =>
      isVarve(log) &&
      columns.every(({ figures }) => figures.some(({ benchCase }) => benchCase.name === name)),
  ).map(({ name }) => name)
  const rows = names.map((name) => [
    name,
    ...columns.map(({ figures }) => {
      const found = figures.find(({ benchCase }) => benchCase.name === name)
      return found === undefined ? '' : withRange(found)
    }),
  ])
  return [
    '## Versions of Node.js',
    'Varve alone under other versions, one after the other: medians, and the range of the rounds.',
    linesOf([['case', ...columns.map(({ node }) => node)], ...rows]),
  ]
}
