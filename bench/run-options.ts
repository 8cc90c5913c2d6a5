import { parseArgs } from 'node:util'
import type { BenchCase } from './bench-case.ts'
import { selectCases } from './cases.ts'

const USAGE = `usage: npm run bench -- [options]
       npm run bench:full -- [options]

  --case TEXT      only cases with TEXT in their name, and their floors; may be given several times
  --all            also the cases of Varve alone that take minutes: growth, open (with 22 GiB on
                   disk at scale 1), partitions, consumers, load
  --rounds N       how often each case runs, in turn with the others (2; bench:full 5)
  --scale F        factor on the number of records of every case (0.05; bench:full 1); from 1 on,
                   W1, W2 and W4 are measured twice in each process
  --report DIR     where page, charts and samples go (bench/results/report; bench:full docs)
  --add PATH       also report the samples of an earlier run, or of all in a directory; may be given
                   several times; those of another version of Node.js have a table of their own
  --only-report    run nothing: report what --add gives
  --cpu-prof DIR   write a CPU profile of every measured part to DIR; the figures suffer
  --list           only name the cases

Of an option that is given twice the last one counts. Directories are made in BENCH_DIR, or the
system's temporary directory. Every run is a process of its own. Samples are appended to
bench/results/ as lines of JSON.
`

/** The options of the command line. */
export interface RunOptions {
  readonly cases: readonly BenchCase[]
  readonly rounds: number
  readonly scale: number
  readonly reportDir: string
  readonly added: readonly string[]
  readonly onlyReport: boolean
  readonly cpuProf: string | null
}

/**
 * Reads the command line.
 *
 * @returns `null` for `--help` and `--list`, whose output has then been printed.
 * @throws a RangeError or an Error for invalid options.
 */
export function readOptions(defaultReportDir: string): RunOptions | null {
  const { values } = parseArgs({
    options: {
      case: { type: 'string', multiple: true, default: [] },
      all: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '2' },
      scale: { type: 'string', default: '0.05' },
      report: { type: 'string', default: defaultReportDir },
      add: { type: 'string', multiple: true, default: [] },
      'only-report': { type: 'boolean', default: false },
      'cpu-prof': { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    return null
  }
  const cases = selectCases(values.case, values.all)
  if (values.list) {
    for (const { name } of cases) console.log(name)
    return null
  }
  const rounds = Number(values.rounds)
  const scale = Number(values.scale)
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new RangeError(`--rounds must be a whole number from 1, got ${values.rounds}`)
  }
  if (!(scale >= 0.001 && scale <= 1000)) {
    throw new RangeError(`--scale must be a number from 0.001 to 1000, got ${values.scale}`)
  }
  return {
    cases,
    rounds,
    scale,
    reportDir: values.report,
    added: values.add,
    onlyReport: values['only-report'],
    cpuProf: values['cpu-prof'] ?? null,
  }
}
