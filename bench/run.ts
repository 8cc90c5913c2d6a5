import { execFile } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import type { BenchCase, Measurement } from './bench-case.ts'
import { selectCases } from './cases.ts'
import { describeMachine } from './machine.ts'
import { machineLines, tableOf, type Sample } from './report.ts'

const USAGE = `usage: npm run bench -- [options]

  --case TEXT      only cases with TEXT in their name, and their floors
  --rounds N       how often each case runs, in turn with the others (3)
  --scale F        factor on the number of records of every case (1)
  --cpu-prof DIR   write a CPU profile of every measured part to DIR; the figures suffer
  --list           only name the cases

Directories are made in BENCH_DIR, or the system's temporary directory. Every run is a process of
its own in a fresh directory. Samples are appended to bench/results/ as lines of JSON.
`

interface RunOptions {
  readonly cases: readonly BenchCase[]
  readonly rounds: number
  readonly scale: number
  readonly cpuProf: string | null
}

const CHILD = fileURLToPath(new URL('child.js', import.meta.url))
const RESULTS = fileURLToPath(new URL('../../results/', import.meta.url))
const MAX_RUN_MS = 300_000

const execute = promisify(execFile)

async function main(): Promise<void> {
  const options = readOptions()
  if (options === null) return
  const root = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'varve-bench-'))
  const removeRoot = (): void => {
    rmSync(root, { recursive: true, force: true })
  }
  process.once('exit', removeRoot)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => process.exit(1))
  }
  const start = performance.now()
  const machine = describeMachine(root)
  const startedAt = new Date().toISOString()
  mkdirSync(RESULTS, { recursive: true })
  if (options.cpuProf !== null) mkdirSync(options.cpuProf, { recursive: true })
  const resultPath = join(RESULTS, `${startedAt.replaceAll(/[:.]/g, '-')}.jsonl`)
  const { rounds, scale } = options
  writeLine(resultPath, { startedAt, rounds, scale, machine })
  const { samples, failures } = await runAll(options, root, resultPath)
  const wallSeconds = Math.round((performance.now() - start) / 1000)
  for (const line of machineLines(machine)) console.log(line)
  console.log(`${rounds} rounds, scale ${scale}, ${wallSeconds} s; samples in ${resultPath}\n`)
  console.log(tableOf(options.cases, samples))
  if (failures.length === 0) {
    console.log(`\nAll ${samples.length} runs read back what they should.`)
    return
  }
  for (const failure of failures) console.error(failure)
  process.exitCode = 1
}

function readOptions(): RunOptions | null {
  const { values } = parseArgs({
    options: {
      case: { type: 'string', default: '' },
      rounds: { type: 'string', default: '3' },
      scale: { type: 'string', default: '1' },
      'cpu-prof': { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    return null
  }
  const cases = selectCases(values.case)
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
  return { cases, rounds, scale, cpuProf: values['cpu-prof'] ?? null }
}

/** Runs the cases in turn, round by round, so that a slow minute of the machine hits all alike. */
async function runAll(
  options: RunOptions,
  root: string,
  resultPath: string,
): Promise<{ samples: Sample[]; failures: string[] }> {
  const samples: Sample[] = []
  const failures: string[] = []
  for (let round = 0; round < options.rounds; round++) {
    // The way back in every other round, so that no case always comes behind the same one.
    const order = round % 2 === 0 ? options.cases : [...options.cases].reverse()
    for (const [index, benchCase] of order.entries()) {
      const { name } = benchCase
      showProgress(`round ${round + 1}/${options.rounds}, ${index + 1}/${order.length}: ${name}`)
      try {
        const sample = { name, round, result: await runOnce(benchCase, options, root) }
        samples.push(sample)
        writeLine(resultPath, sample)
      } catch (error) {
        const reason = reasonOf(error)
        failures.push(`${name}, round ${round + 1}: ${reason}`)
        writeLine(resultPath, { name, round, error: reason })
      }
    }
  }
  showProgress('')
  return { samples, failures }
}

async function runOnce(
  benchCase: BenchCase,
  options: RunOptions,
  root: string,
): Promise<Measurement> {
  const stored = await storeOf(benchCase, options, root)
  const dir = mkdtempSync(join(root, 'case-'))
  try {
    if (stored !== null) cpSync(stored, dir, { recursive: true })
    return JSON.parse(await startChild('run', benchCase.name, dir, options)) as Measurement
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** The directory of the case's store, filled when it is asked for the first time. */
async function storeOf(
  { name, store }: BenchCase,
  options: RunOptions,
  root: string,
): Promise<string | null> {
  if (store === undefined) return null
  const dir = join(root, store.name.replaceAll('/', '_'))
  if (existsSync(dir)) return dir
  const unfinished = mkdtempSync(join(root, 'fill-'))
  await startChild('fill', name, unfinished, options)
  renameSync(unfinished, dir)
  return dir
}

async function startChild(
  phase: 'fill' | 'run',
  name: string,
  dir: string,
  { scale, cpuProf }: RunOptions,
): Promise<string> {
  const profile = cpuProf === null || phase === 'fill' ? [] : [join(cpuProf, profileName(name))]
  const { stdout } = await execute(
    process.execPath,
    [CHILD, phase, name, dir, String(scale), ...profile],
    { timeout: MAX_RUN_MS, maxBuffer: 1024 * 1024 },
  )
  return stdout
}

/** What the process said when it failed, without the stack of where it said it. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const lines = error.message.split('\n')
  return lines.find((line) => /^\w*Error\b/.test(line)) ?? error.message
}

function profileName(name: string): string {
  return `${name.replaceAll(/[^\w=.-]+/g, '_')}-${Date.now()}.cpuprofile`
}

function writeLine(path: string, value: unknown): void {
  appendFileSync(path, `${JSON.stringify(value)}\n`)
}

/** One line that is written over, for people; nothing where the output is a file. */
function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[2K${text}`)
}

await main()
