import { PEERS, WORKLOADS } from '../cases.ts'
import type { WorkloadDefinition } from '../workloads/definition.ts'
import type { Figures } from './figures.ts'
import { loadText, machineLines, type Machine } from './machine.ts'
import { nodeVersionsOf, type VersionSamples } from './node-versions.ts'
import { tableOf } from './table.ts'

/** Where the samples are that a page is made of, beside it. */
export const SAMPLES = 'bench/samples'

/** How the figures were made. */
export interface RunDescription {
  readonly command: string
  readonly startedAt: string
  readonly rounds: number
  readonly scale: number
  readonly machine: Machine
}

/** Cases that compare logs with themselves, mostly Varve alone, by the name of their workload. */
export const COMPARISONS: Readonly<Record<string, string>> = {
  growth:
    'Logs of the usual size, of ten times and of a hundred times that, a plain file, and the fastest of ' +
    'the others up to ten times. × floor is the ratio to the usual size.',
  open:
    'A new process opens a broker that was closed cleanly, as in W7: of ten times the records, of a ' +
    'hundred times the segments, of a hundred times the partitions. × floor is the ratio to the ' +
    'smaller one.',
  partitions:
    'Records sent to, and polled from, one partition and a thousand, with keys unless it says otherwise, ' +
    'by calls of a thousand records of which eight are in flight. Whole calls go to one partition after ' +
    'the other, by Partition.append: batches are as large then for a thousand as for one. All others go ' +
    'through a producer, which has eight records at a time for each of a thousand where they have keys, ' +
    'and 64 with 64 calls in flight. × floor is the ratio to one partition.',
  consumers:
    'A topic of eight partitions polled by a group of one member and of four, in one process. ' +
    '× floor is the ratio to one member.',
  load:
    'The 99th percentile of what acknowledgements take, each after its sync, when records come for six ' +
    'seconds, times the scale, at half of the rate that 256 writers have reached who await each. A ' +
    'sample begins when its record is due; those of the first sixth count in “from the start” alone, ' +
    'while code is compiled and a reader begins. × floor is the ratio to the same without a reader ' +
    'that replays the log meanwhile, a loop over Partition.read or a consumer that polls.',
  compression:
    'Events in JSON appended in batches of a thousand to a topic of each codec, and read from its ' +
    'beginning. × floor is the ratio to no codec.',
  compaction:
    'One pass of compaction over a log with ten records of each key, and over one with a single record ' +
    'of each, of which nothing can be removed. MB/s are of what was gone through.',
}

/**
 * The page with all figures.
 *
 * @param runs all that the figures are of.
 * @param chartPath where the chart of a workload is, from the page.
 * @param versions the samples of each version of Node.js, where there are several.
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

/** The figures of logs that were asked the same. */
export function ofSize(figures: readonly Figures[], valueBytes: number): Figures[] {
  return figures.filter(({ benchCase }) => benchCase.valueBytes === valueBytes)
}

/** What logs were asked, and the figures of those that were. */
export function byQuestion(figures: readonly Figures[]): [string, Figures[]][] {
  const questions = new Map<string, Figures[]>()
  for (const row of figures) {
    const { question = '' } = row.benchCase
    questions.set(question, [...(questions.get(question) ?? []), row])
  }
  return [...questions]
}

/** `100 B` or `1 KiB`. */
export function sizeName(valueBytes: number): string {
  return valueBytes < 1024 ? `${valueBytes} B` : `${valueBytes / 1024} KiB`
}

/** A machine of the cloud is not equally fast on two days, nor always the same one. */
const ACROSS_RUNS =
  'Each line below is a run of its own, and a machine like this one is a third slower on some days ' +
  'than on others. So logs of different runs compare by their ratios to the floor, which is in every ' +
  'run, and not by their rates.'

const ACROSS_MACHINES =
  'They were not all made on one machine: each line names the processor of its own.'

function introductionOf(runs: readonly RunDescription[]): string {
  const machines = machinesOf(runs)
  const isMixed = new Set(machines.map(({ cpu }) => cpu)).size > 1
  return [
    'This page is written by the benchmark itself. Every run of every case is a process of its own ' +
      'in a directory of its own, and checks that what it wrote or read is what it should be. The ' +
      'cases take turns, round by round, so that a slow minute of the machine hits all alike; ' +
      'figures are medians of the rounds, ratios medians of the ratios of each round. Differences ' +
      'below 20 % are ties. Keys have 16 bytes.',
    'A ratio is the figure divided by the other one, so a rate is better above 1× and a time is ' +
      'better below. The best peer is the fastest log that is neither Varve nor raw, by its median. ' +
      'The floor is what the same bytes cost with nothing but the file system.',
    'The samples are beside this page, in `samples` where its charts are; `--only-report --add` makes ' +
      'the page of them again.',
    ...(runs.length > 1 ? [ACROSS_RUNS] : []),
    ...(isMixed ? [ACROSS_MACHINES] : []),
    [
      ...runs.map((run) => lineOf(run, isMixed)),
      ...new Set(machines.flatMap(machineLines).map((line) => `- ${line}`)),
    ].join('\n'),
  ].join('\n\n')
}

/** Each machine once, as far as the page tells of it. */
function machinesOf(runs: readonly RunDescription[]): Machine[] {
  const machines = new Map<string, Machine>()
  for (const { machine } of runs) machines.set(machineLines(machine).join('\n'), machine)
  return [...machines.values()]
}

function lineOf(
  { command, startedAt, rounds, scale, machine }: RunDescription,
  isMixed: boolean,
): string {
  const count = rounds === 1 ? '1 round' : `${rounds} rounds`
  // Where the report went says nothing of the figures.
  const withoutReport = command.replace(/ --report \S+/, '')
  const day = startedAt.slice(0, 10)
  const where = isMixed ? `, ${machine.cpu}` : ''
  return `- \`${withoutReport}\`, ${day}${where}: ${count}, scale ${scale}, ${loadText(machine)}`
}

function sectionOf(
  { name, title, text, unit, floor, valueSizes }: WorkloadDefinition,
  figures: readonly Figures[],
  chartPath: (workload: string) => string,
): string[] {
  const direction = unit === 'ms' ? 'Less is better.' : 'More is better.'
  const tables = valueSizes.flatMap((valueBytes) => {
    const rows = ofSize(ofWorkload(figures, name), valueBytes)
    if (rows.length === 0) return []
    return [`Values of ${sizeName(valueBytes)}:`, tableOf(rows, figures)]
  })
  const absent = PEERS.filter(({ name: log }) => !log.startsWith('varve-')).flatMap(
    ({ name: log, cannot }) => {
      const reason = cannot[name]
      return reason === undefined ? [] : [`${log} (${reason})`]
    },
  )
  return [
    `## ${name}: ${title}`,
    `${text} ${direction} The floor is ${floor}.`,
    `![${name}: ${title}](${chartPath(name)})`,
    ...tables,
    ...(absent.length === 0 ? [] : [`Not in it: ${absent.join('; ')}.`]),
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
