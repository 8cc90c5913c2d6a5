import { execFile } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { BenchCase, Measurement } from './bench-case.ts'
import { WORKLOADS } from './cases.ts'
import { ensurePeersInstalled } from './install-peers.ts'
import type { Figures } from './report/figures.ts'
import { describeMachine, loadText, machineLines } from './report/machine.ts'
import {
  byQuestion,
  COMPARISONS,
  ofSize,
  ofWorkload,
  sizeName,
  tablesOf,
} from './report/markdown.ts'
import { tableOf } from './report/table.ts'
import { ensureDistinct, reportOf, writeReport } from './report/write-report.ts'
import { readOptions, type RunOptions } from './run-options.ts'
import { readSamples, SampleFile, sampleFileName, sampleFilesOf } from './sample-file.ts'
import { sizeOnDisk } from './store.ts'

const CHILD = fileURLToPath(new URL('child.js', import.meta.url))
const BENCH = fileURLToPath(new URL('../', import.meta.url))
const RESULTS = join(BENCH, 'results')
const MAX_RUN_MS = 600_000
const MAX_LONG_RUN_MS = 1_800_000

const execute = promisify(execFile)

async function main(): Promise<void> {
  const options = readOptions(join(RESULTS, 'report'))
  if (options === null) return
  // Checked before the cases are run, which may take hours.
  const runs = options.added.flatMap(sampleFilesOf).map(readSamples)
  ensureDistinct(runs)
  let failures: readonly string[] = []
  if (!options.onlyReport) {
    ensurePeersInstalled(BENCH)
    const run = await runInFreshRoot(options)
    failures = run.failures
    runs.push(readSamples(run.path))
  }
  if (runs.length === 0) throw new Error('--only-report needs --add')
  const report = reportOf(runs)
  print(report.figures)
  const page = writeReport(options.reportDir, report)
  for (const line of [...machineLines(report.machine), loadText(report.machine)]) console.log(line)
  console.log(`report in ${page}`)
  if (failures.length === 0) {
    const count = report.figures.reduce((sum, { samples }) => sum + samples.length, 0)
    console.log(`All ${count} runs read back what they should.`)
    return
  }
  for (const failure of failures) console.error(failure)
  process.exitCode = 1
}

function print(figures: readonly Figures[]): void {
  for (const { name, title, valueSizes } of WORKLOADS) {
    for (const valueBytes of valueSizes) {
      const rows = ofSize(ofWorkload(figures, name), valueBytes)
      const tables = tablesOf(rows, figures, `${name}: ${title}, values of ${sizeName(valueBytes)}`)
      for (const [heading, table] of tables) console.log(`${heading}\n${table}\n`)
    }
  }
  for (const name of Object.keys(COMPARISONS)) {
    for (const [question, rows] of byQuestion(ofWorkload(figures, name))) {
      console.log(`${question || name}\n${tableOf(rows, figures)}\n`)
    }
  }
}

interface RunResult {
  /** Path of the sample file. */
  readonly path: string
  readonly failures: readonly string[]
}

async function runInFreshRoot(options: RunOptions): Promise<RunResult> {
  const root = mkdtempSync(join(process.env['BENCH_DIR'] ?? tmpdir(), 'varve-bench-'))
  const removeRoot = (): void => {
    rmSync(root, { recursive: true, force: true })
  }
  process.once('exit', removeRoot)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => process.exit(1))
  }
  mkdirSync(RESULTS, { recursive: true })
  if (options.cpuProf !== null) mkdirSync(options.cpuProf, { recursive: true })
  const startedAt = new Date().toISOString()
  const { rounds, scale } = options
  const command = commandLine()
  const description = { command, startedAt, rounds, scale, machine: describeMachine(root) }
  const file = new SampleFile(join(RESULTS, sampleFileName(description)), description)
  const start = performance.now()
  const failures = await runAll(options, root, file)
  const wallSeconds = Math.round((performance.now() - start) / 1000)
  console.log(`${rounds} rounds, scale ${scale}, ${wallSeconds} s; samples in ${file.path}\n`)
  return { path: file.path, failures }
}

/** The command that reproduces the figures. */
function commandLine(): string {
  const script = process.env['npm_lifecycle_event'] ?? 'bench'
  const given = process.argv.slice(2)
  return `npm run ${script}${given.length === 0 ? '' : ` -- ${given.join(' ')}`}`
}

/** Runs the cases in turn, round by round, so that a slow minute affects all of them alike. */
async function runAll(options: RunOptions, root: string, file: SampleFile): Promise<string[]> {
  const failures: string[] = []
  for (let round = 0; round < options.rounds; round++) {
    // In reverse order in every other round, so that no case always follows the same one.
    const order = round % 2 === 0 ? options.cases : [...options.cases].reverse()
    for (const [index, benchCase] of order.entries()) {
      const { name } = benchCase
      showProgress(`round ${round + 1}/${options.rounds}, ${index + 1}/${order.length}: ${name}`)
      try {
        file.add({ name, round, result: await runOnce(benchCase, options, root) })
      } catch (error) {
        const reason = reasonOf(error)
        failures.push(`${name}, round ${round + 1}: ${reason}`)
        file.addFailure(name, round, reason)
      }
    }
  }
  showProgress('')
  return failures
}

async function runOnce(
  benchCase: BenchCase,
  options: RunOptions,
  root: string,
): Promise<Measurement> {
  const stored = await storeOf(benchCase, options, root)
  const dir = stored ?? mkdtempSync(join(root, 'case-'))
  if (stored !== null) readThrough(stored)
  try {
    return JSON.parse(await startChild('run', benchCase, dir, options)) as Measurement
  } finally {
    if (stored === null || isLarge(dir)) rmSync(dir, { recursive: true, force: true })
  }
}

/** Whether the page cache may not hold several stores of this size: each run then fills its own. */
function isLarge(dir: string): boolean {
  return sizeOnDisk(dir) > totalmem() / 4
}

/** The directory of the case's store, which is filled on first use; `null` if it has none. */
async function storeOf(
  benchCase: BenchCase,
  options: RunOptions,
  root: string,
): Promise<string | null> {
  const { store } = benchCase
  if (store === undefined) return null
  const dir = join(root, store.name.replaceAll('/', '_'))
  if (existsSync(dir)) return dir
  const unfinished = mkdtempSync(join(root, 'fill-'))
  await startChild('fill', benchCase, unfinished, options)
  renameSync(unfinished, dir)
  return dir
}

/** Reads all files into the page cache, from which larger stores may have evicted them. */
function readThrough(dir: string): void {
  const buffer = Buffer.allocUnsafe(1024 * 1024)
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue
    const descriptor = openSync(join(entry.parentPath, entry.name), 'r')
    while (readSync(descriptor, buffer) > 0);
    closeSync(descriptor)
  }
}

async function startChild(
  phase: 'fill' | 'run',
  { name, isLong }: BenchCase,
  dir: string,
  { scale, cpuProf }: RunOptions,
): Promise<string> {
  const profile = cpuProf === null || phase === 'fill' ? [] : [join(cpuProf, profileName(name))]
  const { stdout } = await execute(
    process.execPath,
    [CHILD, phase, name, dir, String(scale), ...profile],
    { timeout: isLong === true ? MAX_LONG_RUN_MS : MAX_RUN_MS, maxBuffer: 1024 * 1024 },
  )
  return stdout
}

/** The error message of a failed process, without its stack trace. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const lines = error.message.split('\n')
  return lines.find((line) => /^\w*Error\b/.test(line)) ?? error.message
}

function profileName(name: string): string {
  return `${name.replaceAll(/[^\w=.-]+/g, '_')}-${Date.now()}.cpuprofile`
}

/** Overwrites a progress line on the terminal; prints nothing if the output is not a terminal. */
function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[2K${text}`)
}

await main()
