// Plants the bugs of spec/sabotage/*.patch one by one in a copy of the repository, and demands that
// the test that a patch names notices: green without the bug, red with it, and red by an assertion.
//
//   npm run test:sabotage                    all planted bugs
//   npm run test:sabotage -- epoch lock      those whose names hold one of the words
//   npm run test:sabotage -- --syncs         leaves out each sync of the library in turn
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PATCHES = fileURLToPath(new URL('.', import.meta.url))
const COPIED = ['lib', 'spec', 'docs', 'package.json', 'tsconfig.json', 'vitest.config.ts']
/** Tests with random numbers draw the same ones each time. */
const ENVIRONMENT = { ...process.env, VARVE_SEED: '1' }
/** How a failure that an assertion reported begins. */
const ASSERTION = /^(AssertionError|Error: (promise (resolved|rejected)|expected) )/
/** A test that a bug makes wait forever does not notice the bug. */
const RUN_TIMEOUT_MS = 600_000

const words = process.argv.slice(2)
process.exitCode = words.includes('--syncs') ? leaveOutSyncs() : plantAll(words)

function leaveOutSyncs() {
  const config = join(PATCHES, 'vitest.config.ts')
  const args = ['vitest', 'run', '--config', config, ...words.filter((word) => word !== '--syncs')]
  return spawnSync('npx', args, { cwd: ROOT, stdio: 'inherit' }).status ?? 1
}

function plantAll(wanted) {
  const bugs = readdirSync(PATCHES)
    .filter((name) => name.endsWith('.patch'))
    .filter((name) => wanted.length === 0 || wanted.some((word) => name.includes(word)))
    .sort()
    .map(readBug)
  const copy = mkdtempSync(join(tmpdir(), 'varve-sabotage-'))
  try {
    for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
    const verdicts = bugs.map((bug) => {
      const verdict = plant(copy, bug)
      console.log(`${verdict === 'caught' ? 'caught' : 'NOT CAUGHT'} | ${bug.name} | ${bug.breaks}`)
      console.log(`  by ${bug.spec} › ${bug.title}${verdict === 'caught' ? '' : `: ${verdict}`}`)
      return verdict
    })
    const missed = verdicts.filter((verdict) => verdict !== 'caught').length
    console.log(`${bugs.length - missed} of ${bugs.length} planted bugs are caught`)
    return missed === 0 && bugs.length > 0 ? 0 : 1
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

/** The head of a patch says what it breaks, and which test has to notice. */
function readBug(name) {
  const path = join(PATCHES, name)
  const head = readFileSync(path, 'utf8').split(/^diff --git/m)[0] ?? ''
  const field = (label) => {
    const value = new RegExp(`^${label}: (.+)$`, 'm').exec(head)?.[1]
    if (value === undefined) throw new Error(`${name} does not say '${label}:'`)
    return value
  }
  return { name, path, breaks: field('Breaks'), spec: field('Spec'), title: field('Test') }
}

function plant(copy, bug) {
  const before = run(copy, bug)
  if (before.passed === 0 || before.failures.length > 0)
    return `it is not green before: ${told(before)}`
  const applied = spawnSync('git', ['apply', '-C1', bug.path], { cwd: copy, encoding: 'utf8' })
  if (applied.status !== 0) return `the patch does not apply: ${applied.stderr.trim()}`
  const verdict = verdictOn(run(copy, bug))
  const reverted = spawnSync('git', ['apply', '-R', '-C1', bug.path], { cwd: copy })
  if (reverted.status !== 0) throw new Error(`${bug.name} cannot be taken back`)
  return verdict
}

function verdictOn(after) {
  if (after.failures.length === 0) return `it is green with the bug: ${told(after)}`
  const isNoticed = after.failures.some((failure) => ASSERTION.test(failure))
  return isNoticed ? 'caught' : `it fails by no assertion: ${told(after)}`
}

/** Runs only the named test. */
function run(copy, { spec, title }) {
  const pattern = title.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  const result = spawnSync(
    'npx',
    ['vitest', 'run', spec, '-t', pattern, '--reporter=json', '--maxWorkers=1'],
    { cwd: copy, encoding: 'utf8', env: ENVIRONMENT, timeout: RUN_TIMEOUT_MS, maxBuffer: 2 ** 28 },
  )
  const start = result.stdout.indexOf('{"numTotalTestSuites"')
  if (start < 0) return { passed: 0, failures: [], output: result.stdout + result.stderr }
  const { testResults } = JSON.parse(result.stdout.slice(start))
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults)
  return {
    passed: tests.filter(({ status }) => status === 'passed').length,
    failures: tests.flatMap(({ failureMessages }) => failureMessages),
    output: testResults.map(({ message }) => message).join('\n'),
  }
}

function told({ passed, failures, output }) {
  const [first = output.slice(-500)] = failures
  return `${passed} passed, ${failures.length} failed. ${first.split('\n')[0]}`
}
