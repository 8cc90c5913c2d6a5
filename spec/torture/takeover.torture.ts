import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import { isFull, report, runs, seed } from './size.ts'

/**
 * As in production, but a lock becomes stale sooner than after half a minute. proper-lockfile does
 * not accept shorter times.
 */
const TIMES = { staleAfterMs: 2_000, heartbeatMs: 1_000, graceMs: 2_000 }

/** How often an owner is suspended or blocked for longer than a lock takes to become stale. */
const PAUSE_SHARE = isFull ? 0.004 : 0.02

/** No owner is silent for longer than this, so nobody waits longer, however busy the machine is. */
const MAX_WAIT_MS = 60_000

/**
 * Takes the lock again and again, and marks in a ledger when it enters, each time it has checked
 * and found itself the owner, and when it leaves. A line is one call during which nothing else
 * runs, so the order of the lines is the order of events.
 */
const contender = (): string => `
  import { openSync, writeSync } from 'node:fs'
  import { setTimeout } from 'node:timers'
  import { setTimeout as sleep } from 'node:timers/promises'
  import { isMainThread, workerData } from 'node:worker_threads'
  import { lockDirectory } from '${compiledUrl('platform/directory-lock.ts')}'
  const { directory, ledgerPath, name, seed, times, pauseShare } =
    isMainThread ? JSON.parse(process.argv.at(-1)) : workerData
  let state = seed
  const random = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const ledger = openSync(ledgerPath, 'a')
  for (let turn = 0; ; turn += 1) {
    let lock = null
    // Mostly in the time in which who has taken a stale lock waits for its owner: all else is quick.
    const isDoomed = isMainThread && random() < 0.1
    const death = isDoomed
      ? setTimeout(() => process.kill(process.pid, 'SIGKILL'), random() * 2 * times.graceMs)
      : undefined
    while (lock === null) {
      try {
        lock = await lockDirectory(directory, { times })
      } catch (error) {
        if (error.code !== 'LOCKED') throw error
        await sleep(1 + random() * 15)
      }
    }
    clearTimeout(death)
    const mark = (what) => writeSync(ledger, what + ' ' + name + '-' + turn + ' ' + Date.now() + '\\n')
    const write = () => { if (lock.held) mark('write') }
    mark('enter')
    for (let each = 0; each < 3; each += 1) {
      write()
      if (random() < 0.5) await sleep(random() * 3)
    }
    if (random() < pauseShare) {
      mark('pause')
      const isStopped = isMainThread && random() < 0.5
      if (isStopped) process.kill(process.pid, 'SIGSTOP')
      else for (const end = performance.now() + 2 * times.staleAfterMs; performance.now() < end; );
      for (let each = 0; each < 20; each += 1) {
        write()
        await sleep(random() * 100)
      }
    }
    const ending = random()
    if (ending < 0.15) process.exit(0)
    if (ending < 0.3 && isMainThread) process.kill(process.pid, 'SIGKILL')
    // What is marked behind a look is still in the order of owners: nobody enters before the release.
    if (lock.held) mark('leave')
    await lock.release()
    if (random() < 0.5) await sleep(random() * 10)
  }
`

/** Two worker threads, restarted when they end. */
const threads = (): string => `
  import { Worker } from 'node:worker_threads'
  const { names, seed, ...data } = JSON.parse(process.argv.at(-1))
  const source = ${JSON.stringify(contender())}
  const url = new URL('data:text/javascript,' + encodeURIComponent(source))
  const start = (name, life) => {
    const workerData = { ...data, name: name + '.' + life, seed: seed + 7919 * life + name.charCodeAt(1) }
    const worker = new Worker(url, { workerData })
    worker.on('error', (error) => { console.error(error); process.exit(1) })
    worker.on('exit', () => start(name, life + 1))
  }
  for (const name of names) start(name, 0)
`

interface Line {
  readonly what: string
  readonly owner: string
  readonly at: number
}

/** Checks that every line is from the owner that entered last, and that nobody enters twice. */
function judge(lines: readonly Line[]): { takeovers: number; longestWaitMs: number } {
  const seen = new Set<string>()
  let owner: string | null = null
  let takeovers = 0
  let longestWaitMs = 0
  for (const [index, line] of lines.entries()) {
    const context = (): string =>
      lines
        .slice(Math.max(0, index - 5), index + 3)
        .map((each) => `${each.what} ${each.owner} ${each.at}`)
        .join('\n')
    if (line.what === 'enter') {
      expect(seen.has(line.owner), context()).toBe(false)
      seen.add(line.owner)
      owner = line.owner
      takeovers += 1
      longestWaitMs = Math.max(longestWaitMs, line.at - (lines[index - 1]?.at ?? line.at))
    } else {
      expect(line.owner, `two owners, seed ${seed}:\n${context()}`).toBe(owner)
      if (line.what === 'leave') owner = null
    }
  }
  return { takeovers, longestWaitMs }
}

function linesOf(ledgerPath: string): Line[] {
  const text = readFileSync(ledgerPath, 'utf8')
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [what = '', owner = '', at = ''] = line.split(' ')
      return { what, owner, at: Number(at) }
    })
}

/** Keeps processes running until {@link Contest.end}. */
class Contest {
  readonly #children = new Set<ChildProcess>()
  readonly #complaints: string[] = []
  #isOver = false

  /** @param prefix a program that runs the following one, such as `unshare`. */
  start(prefix: readonly string[], source: string, data: (life: number) => object, life = 0): void {
    const argument = JSON.stringify(data(life))
    const script = ['--input-type=module', '--eval', source, '--', argument]
    const command = [...prefix, process.execPath, ...script]
    const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#children.add(child)
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#complaints.push(text))
    child.once('close', () => {
      this.#children.delete(child)
      if (!this.#isOver) this.start(prefix, source, data, life + 1)
    })
  }

  /** Wakes all processes that have stopped themselves. */
  wake(): void {
    for (const child of this.#children) child.kill('SIGCONT')
  }

  complaints(): string {
    return this.#complaints.join('')
  }

  end(): void {
    this.#isOver = true
    for (const child of this.#children) child.kill('SIGKILL')
  }
}

/**
 * A prefix that runs a program in another network namespace, where guards do not see each other, so
 * that only the lock file is left; empty if the system refuses.
 */
function otherNetwork(): readonly string[] {
  if (process.platform !== 'linux') return []
  return spawnSync('unshare', ['-n', 'true']).status === 0 ? ['unshare', '-n'] : []
}

it('T14: never has two owners of a directory among four processes and two worker threads', async () => {
  const wanted = runs({ short: 300, full: 10_000 })
  const root = mkdtempSync(join(tmpdir(), 'varve-takeover-'))
  const directory = join(root, 'data')
  const ledgerPath = join(root, 'ledger')
  mkdirSync(directory)
  writeFileSync(ledgerPath, '')
  const contest = new Contest()
  onTestFinished(() => {
    contest.end()
    rmSync(root, { recursive: true, force: true })
  })
  const elsewhere = otherNetwork()
  if (elsewhere.length === 0)
    console.log('takeover: no second network namespace (needs root on Linux)')
  const common = { directory, ledgerPath, times: TIMES, pauseShare: PAUSE_SHARE }
  for (const [index, prefix] of [[], [], elsewhere, elsewhere].entries()) {
    contest.start(prefix, contender(), (life) => ({
      ...common,
      name: `p${index}.${life}`,
      seed: seed + 104_729 * index + 31 * life,
    }))
  }
  contest.start([], threads(), (life) => ({
    ...common,
    names: [`t0.${life}`, `t1.${life}`],
    seed: seed + 1_299_709 + 17 * life,
  }))

  const startedAt = performance.now()
  let lines: Line[] = []
  let lastCount = 0
  let progressAt = performance.now()
  let wokenAt = performance.now()
  while (judge(lines).takeovers < wanted) {
    await sleep(isFull ? 2_000 : 200)
    expect(contest.complaints()).toBe('')
    lines = linesOf(ledgerPath)
    if (lines.length > lastCount) progressAt = performance.now()
    lastCount = lines.length
    const waitedMs = performance.now() - progressAt
    expect(waitedMs, `nobody gets the lock, seed ${seed}`).toBeLessThan(MAX_WAIT_MS)
    // Long enough for a stopped owner's lock to become stale and be taken over.
    if (performance.now() - wokenAt > 4 * TIMES.staleAfterMs) {
      contest.wake()
      wokenAt = performance.now()
    }
  }
  const { takeovers, longestWaitMs } = judge(lines)
  expect(longestWaitMs).toBeLessThan(MAX_WAIT_MS)
  const pauses = lines.filter(({ what }) => what === 'pause').length
  const leaves = lines.filter(({ what }) => what === 'leave').length
  report('takeover', {
    takeovers,
    'without release': takeovers - leaves,
    'pauses beyond the stale time': pauses,
    'longest wait ms': longestWaitMs,
    seconds: Math.round((performance.now() - startedAt) / 1000),
  })
})
