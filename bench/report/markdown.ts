import { PEERS, WORKLOADS } from '../cases.ts'
import type { WorkloadDefinition } from '../workloads/definition.ts'
import { againOf, type Figures } from './figures.ts'
import { loadText, machineLines, type Machine } from './machine.ts'
import { nodeVersionsOf, type VersionSamples } from './node-versions.ts'
import { roundsText, tableOf } from './table.ts'

/** Directory of the samples from which a page is generated, relative to the page. */
export const SAMPLES = 'bench/samples'

/** How the figures were measured. */
export interface RunDescription {
  readonly command: string
  readonly startedAt: string
  readonly rounds: number
  readonly scale: number
  readonly machine: Machine
}

/** Cases that compare logs with themselves, mostly only Varve, by the name of their workload. */
export const COMPARISONS: Readonly<Record<string, string>> = {
  growth:
    'Logs of the usual size, of ten times and of a hundred times that size: Varve, a plain file, ' +
    'and, up to ten times the size, the fastest of the other logs. × floor is the ratio to the ' +
    'usual size.',
  open:
    'A new process opens a broker that was closed cleanly, as in W7, with ten times the records ' +
    'or bytes, a hundred times the segments, or a hundred times the partitions. × floor ' +
    'is the ratio to the smaller one.',
  partitions:
    'Records are sent to, or polled from, one partition or a thousand partitions. They have keys ' +
    'unless the name of the case says otherwise. Each call has a thousand records, and eight ' +
    'calls are in flight. In the cases with whole calls, each call is one Partition.append, and ' +
    'the calls take turns among the partitions, so batches are as large for a thousand ' +
    'partitions as for one. All other cases use a producer. With keys, it then has about eight ' +
    'records at a time for each of a thousand partitions, and 64 with 64 calls in flight. × ' +
    'floor is the ratio to one partition.',
  consumers:
    'A group of one member, and one of four members, polls a topic of eight partitions, in one ' +
    'process. × floor is the ratio to one member.',
  load:
    'The 99th percentile of the time to an acknowledgement, which follows the sync. Records are ' +
    'due for six seconds, times the scale, at half of the rate that 256 writers reach when each ' +
    'awaits its record before it sends the next. A sample begins when its record is due. Samples ' +
    'of the first sixth of the records count only in “from the start”, because code is still ' +
    'being compiled and the reader is starting. × floor is the ratio to the case without a ' +
    'concurrent reader. The reader replays the log, with a loop over Partition.read or with a ' +
    'consumer that polls.',
  compression:
    'JSON events are appended in batches of a thousand to one topic per codec, and read from the ' +
    'beginning. × floor is the ratio to no codec.',
  compaction:
    'One pass of compaction over a log with ten records per key, and over a log with one record ' +
    'per key, where nothing can be removed. MB/s counts the bytes that the pass reads.',
}

/**
 * The page with all figures.
 *
 * @param runs all runs that the figures are from.
 * @param chartPath path of a workload's chart, relative to the page.
 * @param versions the samples of each version of Node.js, if there are several.
 */
export function markdownOf(
  runs: readonly RunDescription[],
  figures: readonly Figures[],
  chartPath: (workload: string) => string,
  versions: readonly VersionSamples[],
): string {
  const workloads = WORKLOADS.filter(({ name }) => ofWorkload(figures, name).length > 0)
  const comparisons = Object.keys(COMPARISONS).filter(
    (name) => ofWorkload(figures, name).length > 0,
  )
  return `${[
    '# Benchmarks',
    introductionOf(runs),
    ...workloads.flatMap((workload) => sectionOf(workload, figures, chartPath)),
    ...comparisons.flatMap((name) => comparisonOf(name, figures)),
    ...nodeVersionsOf(versions),
    '## How each log is used',
    usageOf(figures),
  ].join('\n\n')}\n`
}

/** The figures of one workload. */
export function ofWorkload(figures: readonly Figures[], workload: string): Figures[] {
  return figures.filter(({ benchCase }) => benchCase.workload === workload)
}

/** The figures with one size of values. */
export function ofSize(figures: readonly Figures[], valueBytes: number): Figures[] {
  return figures.filter(({ benchCase }) => benchCase.valueBytes === valueBytes)
}

/** The figures of each question, with `''` for figures without one. */
export function byQuestion(figures: readonly Figures[]): [string, Figures[]][] {
  const questions = new Map<string, Figures[]>()
  for (const row of figures) {
    const { question = '' } = row.benchCase
    questions.set(question, [...(questions.get(question) ?? []), row])
  }
  return [...questions]
}

/** A heading and a table for each time that a process did the work of `rows`. */
export function tablesOf(
  rows: readonly Figures[],
  all: readonly Figures[],
  heading: string,
): [string, string][] {
  if (rows.length === 0) return []
  const again = againOf(rows)
  const first: [string, string] = [`${heading}:`, tableOf(rows, all)]
  if (again.length === 0) return [first]
  return [first, [`${heading}, the second time:`, tableOf(again, againOf(all))]]
}

/** `100 B` or `1 KiB`. */
export function sizeName(valueBytes: number): string {
  return valueBytes < 1024 ? `${valueBytes} B` : `${valueBytes / 1024} KiB`
}

const REPEATED =
  ' Each process does the work twice: the first time, part of the code is still being compiled; ' +
  'the second time is what an application that runs for longer sees.'

/** A cloud machine is not equally fast on every day, and not always the same machine. */
const ACROSS_RUNS =
  'Each line below is a separate run. A machine like this one is a third slower on some days ' +
  'than on others. To compare logs of different runs, compare their ratios to the floor, which ' +
  'every run includes, not their rates.'

const ACROSS_MACHINES = 'The runs were made on different machines: each line names the processor.'

function introductionOf(runs: readonly RunDescription[]): string {
  const machines = machinesOf(runs)
  const isMixed = new Set(machines.map(({ cpu }) => cpu)).size > 1
  return [
    'This page is generated by the benchmark. Every run of a case is a separate process with its ' +
      'own directory, and verifies the data that it has written or read. The cases take turns, ' +
      'round by round, so that a slow minute of the machine affects all of them alike. Figures ' +
      'are medians of the rounds; ratios are medians of the ratios of the rounds. Differences ' +
      'below 20 % are ties. Keys have 16 bytes.',
    'A ratio is the figure divided by the other one, so a rate is better above 1× and a time ' +
      'below 1×. The best peer is the log with the best median among those that are neither ' +
      'Varve nor raw. The floor is the cost of the same bytes with only the file system.',
    'The samples are in the directory `samples` next to the charts; `--only-report --add` ' +
      'generates the page from them again.',
    ...(runs.length > 1 ? [ACROSS_RUNS] : []),
    ...(isMixed ? [ACROSS_MACHINES] : []),
    [
      ...runs.map((run) => lineOf(run, isMixed)),
      ...new Set(machines.flatMap(machineLines).map((line) => `- ${line}`)),
    ].join('\n'),
  ].join('\n\n')
}

/** Each machine once; machines that the page describes in the same way are one. */
function machinesOf(runs: readonly RunDescription[]): Machine[] {
  const machines = new Map<string, Machine>()
  for (const { machine } of runs) machines.set(machineLines(machine).join('\n'), machine)
  return [...machines.values()]
}

function lineOf(
  { command, startedAt, rounds, scale, machine }: RunDescription,
  isMixed: boolean,
): string {
  // The directory of the report says nothing about the figures.
  const withoutReport = command.replace(/ --report \S+/, '')
  const day = startedAt.slice(0, 10)
  const where = isMixed ? `, ${machine.cpu}` : ''
  return `- \`${withoutReport}\`, ${day}${where}: ${roundsText(rounds)}, scale ${scale}, ${loadText(machine)}`
}

function sectionOf(
  { name, title, text, unit, floor, valueSizes }: WorkloadDefinition,
  figures: readonly Figures[],
  chartPath: (workload: string) => string,
): string[] {
  const direction = unit === 'ms' ? 'Less is better.' : 'More is better.'
  const ofThis = ofWorkload(figures, name)
  const tables = valueSizes.flatMap((valueBytes) => {
    const rows = ofSize(ofThis, valueBytes)
    return tablesOf(rows, figures, `Values of ${sizeName(valueBytes)}`).flat()
  })
  const absent = PEERS.filter(({ name: log }) => !log.startsWith('varve-')).flatMap(
    ({ name: log, cannot }) => {
      const reason = cannot[name]
      return reason === undefined ? [] : [`${log} (${reason})`]
    },
  )
  return [
    `## ${name}: ${title}`,
    `${text} ${direction} The floor is ${floor}.${againOf(ofThis).length > 0 ? REPEATED : ''}`,
    `![${name}: ${title}](${chartPath(name)})`,
    ...tables,
    ...(absent.length === 0 ? [] : [`Not included: ${absent.join('; ')}.`]),
  ]
}

function comparisonOf(name: string, figures: readonly Figures[]): string[] {
  const tables = byQuestion(ofWorkload(figures, name)).flatMap(([question, rows]) => [
    ...(question === '' ? [] : [`${question}:`]),
    tableOf(rows, figures),
  ])
  return [`## ${name}`, COMPARISONS[name] ?? '', ...tables]
}

function usageOf(figures: readonly Figures[]): string {
  const logs = new Set(figures.map(({ benchCase }) => benchCase.log))
  return PEERS.filter(({ name }) => logs.has(name))
    .map(({ name, usage }) => `- ${name}: ${usage}.`)
    .join('\n')
}
