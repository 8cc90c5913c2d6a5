import { spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import { scratchDirectory } from './disks.ts'
import { nativeLibrary } from './native.ts'
import { PartitionLedger, type FoundRecord, type SentRecord } from './partition-ledger.ts'
import { whatIsMissing } from './requirements.ts'
import { report, runs, seed } from './size.ts'

const missing = whatIsMissing('linux', 'gcc')
/** In the short size, how many calls of each mode are hit; otherwise all are. */
const SAMPLES = runs({ short: 4, full: 100_000 })

/** As the shim numbers them. */
const MODES = [
  { name: 'kill before', mode: 1, isLasting: false },
  { name: 'kill after', mode: 2, isLasting: false },
  { name: 'kill in the middle', mode: 3, isLasting: false },
  { name: 'short write', mode: 4, isLasting: false },
  { name: 'short writes from there on', mode: 4, isLasting: true },
  { name: 'EIO', mode: 5, isLasting: false },
  { name: 'EIO from there on', mode: 5, isLasting: true },
  { name: 'ENOSPC', mode: 6, isLasting: false },
  { name: 'ENOSPC from there on', mode: 6, isLasting: true },
] as const
const KILLS = 3

/**
 * Opens a directory that was closed cleanly, does a little of everything in it, and closes it,
 * while the n-th call fails. Prints line by line what it does and what it is told. If it survives,
 * it goes on without the fault, and then with the next n in another directory.
 */
function childSource(): string {
  return `
  import { openSync, readSync, writeSync } from 'node:fs'
  import { Broker } from ${JSON.stringify(compiledUrl('index.ts'))}
  const [root, controlPath, mode, isLasting, ...numbers] = process.argv.slice(2)
  const control = openSync(controlPath, 'r+')
  const say = (...words) => writeSync(1, words.join(' ') + '\\n')
  const arm = (mode, n) => {
    writeSync(control, new BigUint64Array([BigInt(mode), BigInt(n), BigInt(isLasting), 0n]), 0, 32, 0)
  }
  const callCount = () => {
    const words = new BigUint64Array(4)
    readSync(control, words, 0, 32, 0)
    return words[3]
  }
  const openBroker = async (dir) => {
    const broker = await Broker.open(dir)
    try {
      await broker.createTopic('orders', { partitions: 2, segmentBytes: 400, indexIntervalBytes: 64, ifNotExists: true })
      return broker
    } catch (error) {
      await broker.close().catch(() => undefined)
      throw error
    }
  }
  // Misuse and bugs have no code, and must not pass for a failing disk.
  const failed = (what, error) => {
    if (typeof error.code !== 'string') throw error
    say('F', what, error.code)
  }
  let count = 0
  const append = async (partition, index, padding = 0) => {
    const value = 'v' + (count += 1) + '.'.repeat(padding)
    say('S', index, value)
    try {
      const { baseOffset } = await partition.append({ value })
      say('A', value, baseOffset)
      return true
    } catch (error) {
      failed('append', error)
      say('O', value, error.outcome)
      return false
    }
  }
  const work = async (broker) => {
    const [first, second] = broker.topic('orders').partitions
    const consumer = broker.consumer({ groupId: 'billing', enableAutoCommit: false })
    const commit = async (offset) => {
      say('C', offset)
      await consumer.commit([{ topic: 'orders', partition: 0, offset }]).then(() => say('K', offset), (error) => failed('commit', error))
    }
    await append(first, 0)
    await append(second, 1, 30)
    for (let i = 0; i < 6; i += 1) await append(first, 0, 40)
    await commit(2)
    await Promise.all([1, 2, 3, 4].map(() => append(second, 1, 60)))
    await first.log.checkpoint().catch((error) => failed('checkpoint', error))
    say('D', 3)
    await first.deleteRecords(3).then(() => say('G', 3), (error) => failed('delete', error))
    await commit(first.highWatermark)
    for (let i = 0; i < 4; i += 1) await append(first, 0, 50)
  }
  for (const n of numbers) {
    const dir = root + '/' + n
    count = 0
    say('BEGIN', n)
    arm(0, 0)
    const before = await openBroker(dir)
    await append(before.topic('orders').partition(0), 0)
    await append(before.topic('orders').partition(1), 1)
    await before.close()
    arm(mode, n)
    let broker = null
    try {
      broker = await openBroker(dir)
      await work(broker)
    } catch (error) {
      failed('open', error)
    }
    // While the fault lasts, closing may fail, and must come to an end.
    if (Number(n) % 2 === 0) {
      await broker?.close().catch((error) => failed('close', error))
      broker = null
    }
    say('CALLS', callCount())
    arm(0, 0)
    let isWorking = broker !== null
    for (const index of [0, 1]) {
      isWorking = isWorking && await append(broker.topic('orders').partition(index), index)
    }
    if (!isWorking) {
      await broker?.close().catch((error) => failed('close', error))
      broker = await openBroker(dir)
      for (const index of [0, 1]) {
        if (!await append(broker.topic('orders').partition(index), index)) throw new Error('no append after opening again')
      }
    }
    await broker.close().catch((error) => failed('close', error))
    say('END', n)
  }
  `
}

/** What one run of the workload printed. */
interface Story {
  readonly n: number
  readonly lines: string[]
  calls: number
  isComplete: boolean
}

async function runChild(
  root: string,
  fault: { mode: number; isLasting: boolean; numbers: readonly number[]; poolSize: number },
): Promise<{ stories: Story[]; signal: NodeJS.Signals | null }> {
  const control = join(root, 'control')
  writeFileSync(control, Buffer.alloc(32))
  const script = join(root, 'child.mjs')
  writeFileSync(script, childSource())
  const disk = join(root, 'disk')
  mkdirSync(disk, { recursive: true })
  const env = {
    ...process.env,
    LD_PRELOAD: nativeLibrary('fault-shim'),
    FAULT_ROOT: `${disk}/`,
    FAULT_CONTROL: control,
    UV_THREADPOOL_SIZE: String(fault.poolSize),
    UV_USE_IO_URING: '0',
  }
  const args = [disk, control, fault.mode, Number(fault.isLasting), ...fault.numbers].map(String)
  // A promise that never settles ends the process early, and a process that hangs is killed.
  const child = spawn(process.execPath, [script, ...args], { env, timeout: 600_000 })
  let output = ''
  let complaints = ''
  child.stdout.on('data', (text: Buffer) => (output += text.toString()))
  child.stderr.on('data', (text: Buffer) => (complaints += text.toString()))
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once('close', (...end) => {
      resolve(end)
    })
  })
  const trace = `mode ${fault.mode}, lasting ${fault.isLasting}, calls ${fault.numbers.join()}, pool ${fault.poolSize}`
  expect(complaints, trace).toBe('')
  if (signal === null) expect(code, `${trace}\n${output.slice(-600)}`).toBe(0)
  return { stories: storiesIn(output), signal }
}

function storiesIn(output: string): Story[] {
  const stories: Story[] = []
  for (const line of output.split('\n')) {
    const [verb, argument] = line.split(' ')
    if (verb === 'BEGIN') {
      stories.push({ n: Number(argument), lines: [], calls: 0, isComplete: false })
    }
    const story = stories.at(-1)
    if (story === undefined) continue
    story.lines.push(line)
    if (verb === 'CALLS') story.calls = Number(argument)
    if (verb === 'END') story.isComplete = true
  }
  return stories
}

/** @returns what is wrong in the directory that a story left. */
async function problemsOf(root: string, story: Story): Promise<string[]> {
  const problems: string[] = []
  const ledgers = [0, 1].map((index) => new PartitionLedger(`orders-${index}`, true))
  const sent = new Map<string, SentRecord>()
  const owners = new Map<string, PartitionLedger>()
  // The last acknowledged commit, and those requested after it.
  let committed = [-1]
  for (const line of story.lines) {
    const [verb, first = '', second = ''] = line.split(' ')
    const record = sent.get(first)
    const ledger = ledgers[0]
    if (verb === 'S') {
      const owner = ledgers[Number(first)] as PartitionLedger
      sent.set(second, owner.send(second))
      owners.set(second, owner)
    }
    if (verb === 'A' && record)
      Object.assign(record, { outcome: 'acknowledged', offset: Number(second) })
    if (verb === 'O') {
      if (second !== 'not-written' && second !== 'unknown') problems.push(`no outcome: ${line}`)
      if (record && second === 'unknown') owners.get(first)?.doubt(record)
      else Object.assign(record ?? {}, { outcome: second })
    }
    if (verb === 'C') committed.push(Number(first))
    if (verb === 'K') committed = [Number(first)]
    if (verb === 'D' && ledger) ledger.deletingBelow = Number(first)
    if (verb === 'G' && ledger) ledger.deletedBelow = Number(first)
  }
  const broker = await Broker.open(join(root, 'disk', String(story.n)))
  try {
    problems.push(...broker.recovery.damaged.map(({ error }) => error.message))
    for (const [index, ledger] of ledgers.entries()) {
      const partition = broker.topic('orders').partition(index)
      const found: FoundRecord[] = []
      for await (const { offset, value } of partition.records({ until: 'end' })) {
        found.push({ offset, value: value?.toString() ?? '' })
      }
      problems.push(...ledger.look(found, partition.logStartOffset))
      await partition.append({ value: 'afterwards' })
    }
    const consumer = broker.consumer({ groupId: 'billing' })
    const offset = (await consumer.committed({ topic: 'orders', partition: 0 }))?.offset ?? -1
    if (!committed.includes(offset)) {
      problems.push(`committed ${offset}, expected one of ${committed.join()}`)
    }
  } finally {
    await broker.close()
  }
  return problems
}

/** The calls to hit: all of them, or a sample spread over all. */
function sample(count: number): number[] {
  const all = Array.from({ length: count }, (_, index) => index + 1)
  if (count <= SAMPLES) return all
  return Array.from({ length: SAMPLES }, (_, i) => {
    return 1 + ((Math.floor((i * count) / SAMPLES) + seed) % count)
  })
}

describe('a fault in a real system call', () => {
  if (missing !== null) console.log(`faults of system calls: skipped, needs ${missing}`)

  for (const poolSize of [1, 4]) {
    for (const { name, mode, isLasting } of MODES) {
      const title = `${name}, ${poolSize} threads: no promise is broken (needs Linux and gcc)`
      it.skipIf(missing !== null)(title, async () => {
        const root = scratchDirectory()
        onTestFinished(() => {
          rmSync(root, { recursive: true, force: true })
        })
        // A short write that never happens: the workload without a fault.
        const quiet = { mode: 4, isLasting: false, numbers: [1_000_000], poolSize }
        const { stories: whole } = await runChild(root, quiet)
        const calls = whole[0]?.calls ?? 0
        expect(calls).toBeGreaterThan(100)
        const numbers = sample(calls)
        const batches = mode <= KILLS ? numbers.map((n) => [n]) : [numbers]
        let tried = 0
        let stopped = 0
        for (const batch of batches) {
          rmSync(join(root, 'disk'), { recursive: true, force: true })
          const fault = { mode, isLasting, numbers: batch, poolSize }
          const { stories, signal } = await runChild(root, fault)
          for (const story of stories) {
            const trace = `${name} at call ${story.n}, ${poolSize} threads, seed ${seed}`
            if (mode > KILLS) expect(story.isComplete, `${trace} ends`).toBe(true)
            expect(await problemsOf(root, story), trace).toEqual([])
            tried += 1
          }
          if (signal === 'SIGKILL') stopped += 1
        }
        expect(tried).toBe(numbers.length)
        // Which call is the n-th depends a little on threads: the last ones may never happen.
        if (mode <= KILLS) expect(stopped).toBeGreaterThan(numbers.length / 2)
        report(`${name}, ${poolSize} threads`, { calls, tried, killed: stopped })
      })
    }
  }
})
