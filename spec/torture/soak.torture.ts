import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import { report, runs, seed } from './size.ts'

const SECONDS = runs({ short: 20, full: 3600 })
/** The share of a run in which compilers, caches and buffers reach their size. */
const WARM_UP_SHARE = 0.2
const MAX_DESCRIPTORS_MORE = 2
const MAX_SHORT_DESCRIPTORS_MORE = 40
/**
 * By how much the second half may exceed the first, of live memory after a collection: the size of
 * the process also includes what the allocator keeps.
 */
const MAX_GROWTH_MIB = 1
/** In a shorter run, growth shows caches that fill rather than leaks. */
const SHORTEST_SECONDS = 600
const MAX_SHORT_GROWTH_MIB = 24

/** What the child reports about itself once a second. */
interface Sample {
  readonly second: number
  readonly descriptors: number
  readonly resources: number
  readonly rssMiB: number
  readonly heapMiB: number
  readonly diskMiB: number
  readonly delayP999Ms: number
  readonly sent: number
  readonly consumed: number
}

/**
 * Two producers; three groups, one of which has members that join and leave; paused partitions; and
 * deletions of records, all at a pace at which the log turns over many times.
 */
const child = (): string => `
  import { readdirSync, statSync } from 'node:fs'
  import { join } from 'node:path'
  import { monitorEventLoopDelay } from 'node:perf_hooks'
  import { setTimeout as sleep } from 'node:timers/promises'
  import { Broker } from '${compiledUrl('broker.ts')}'
  import { SeededRandom } from '${compiledUrl('testing/seeded-random.ts')}'
  const { directory, seconds, seed } = JSON.parse(process.argv[2])
  const random = new SeededRandom(seed)
  const complain = (what) => (error) => console.log(JSON.stringify({ complaint: what + ': ' + (error?.stack ?? error) }))
  process.on('warning', complain('warning'))
  process.on('unhandledRejection', complain('unhandled rejection'))
  const broker = await Broker.open(directory)
  const topics = ['strict', 'relaxed']
  await broker.createTopic('strict', { partitions: 4, segmentBytes: 262_144 })
  await broker.createTopic('relaxed', { partitions: 2, segmentBytes: 1_048_576, flushMessages: 100_000, flushMs: 500 })
  const partitions = topics.flatMap((topic) => broker.topic(topic).partitions)
  const end = performance.now() + seconds * 1000
  const isOver = () => performance.now() >= end
  let sent = 0
  let consumed = 0
  const check = ({ topic, partition, offset }, last) => {
    const key = topic + '-' + partition
    const before = last.get(key)
    if (before !== undefined && offset <= before) throw new Error('offset ' + offset + ' after ' + before + ' of ' + key)
    last.set(key, offset)
    consumed += 1
  }
  const produce = async (producer, topic) => {
    const value = Buffer.alloc(1000, topic)
    while (!isOver()) {
      const batch = Array.from({ length: 1 + random.integer(40) }, (_, i) => producer.send({ topic, key: 'k' + random.integer(100), value: value.subarray(random.integer(900)) }))
      await Promise.all(batch)
      sent += batch.length
      if (random.integer(100) === 0) await sleep(random.integer(100))
      await sleep(1)
    }
    await producer.close()
  }
  /** Iterates for as long as it lives, and then leaves the group. */
  const iterate = async (groupId, lifeMs) => {
    while (!isOver()) {
      const consumer = broker.consumer({ groupId, autoCommitIntervalMs: 200 })
      consumer.subscribe(topics)
      const until = Math.min(end, performance.now() + lifeMs())
      const timer = setTimeout(() => consumer.wakeup(), until - performance.now())
      const last = new Map()
      try {
        for await (const record of consumer) {
          check(record, last)
          if (performance.now() >= until) break
        }
      } catch (error) {
        if (error.code !== 'WAKEUP') throw error
      }
      clearTimeout(timer)
      await consumer.close()
    }
  }
  const poll = async () => {
    const consumer = broker.consumer({ groupId: 'polls', enableAutoCommit: false, fetchMaxWaitMs: 50 })
    consumer.assign(partitions.map(({ topic, index }) => ({ topic, partition: index })))
    const last = new Map()
    while (!isOver()) {
      const records = await consumer.poll()
      for (const record of records) check(record, last)
      if (records.length > 0) await consumer.commit()
      const any = random.pick(consumer.assignment())
      if (random.integer(50) === 0) consumer.pause([any])
      if (random.integer(5) === 0) consumer.resume(consumer.assignment())
    }
    await consumer.close()
  }
  const deleteOld = async () => {
    while (!isOver()) {
      await sleep(250)
      for (const partition of partitions) {
        const kept = partition.topic === 'strict' ? 4000 : 8000
        const before = partition.highWatermark - kept
        if (before > partition.logStartOffset) await partition.deleteRecords(before)
      }
    }
  }
  const diskBytes = () => readdirSync(directory, { recursive: true }).reduce((sum, name) => sum + (statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0), 0)
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const watch = async () => {
    const start = performance.now()
    while (!isOver()) {
      delay.reset()
      delay.enable()
      await sleep(1000)
      delay.disable()
      globalThis.gc()
      const { rss, heapUsed, external } = process.memoryUsage()
      console.log(JSON.stringify({
        second: (performance.now() - start) / 1000, sent, consumed,
        descriptors: readdirSync('/proc/self/fd').length,
        resources: process.getActiveResourcesInfo().length,
        rssMiB: rss / 2 ** 20,
        heapMiB: (heapUsed + external) / 2 ** 20,
        diskMiB: diskBytes() / 2 ** 20,
        delayP999Ms: delay.percentile(99.9) / 1e6,
      }))
    }
  }
  await Promise.all([
    produce(broker.producer(), 'strict'),
    produce(broker.producer({ lingerMs: 5 }), 'relaxed'),
    iterate('iterates', () => Infinity),
    iterate('shares', () => 1000 + random.integer(5000)),
    iterate('shares', () => 500 + random.integer(3000)),
    poll(),
    deleteOld(),
    watch(),
  ])
  await broker.close()
  console.log(JSON.stringify({ left: readdirSync('/proc/self/fd').length, resources: process.getActiveResourcesInfo() }))
`

/** By how much `values` rise in an hour, by least squares. */
function slopePerHour(samples: readonly Sample[], valueOf: (sample: Sample) => number): number {
  const mean = (numbers: readonly number[]): number =>
    numbers.reduce((sum, each) => sum + each, 0) / numbers.length
  const meanSecond = mean(samples.map(({ second }) => second))
  const meanValue = mean(samples.map(valueOf))
  const over = samples.reduce(
    (sum, each) => sum + (each.second - meanSecond) * (valueOf(each) - meanValue),
    0,
  )
  const under = samples.reduce((sum, { second }) => sum + (second - meanSecond) ** 2, 0)
  return (over / under) * 3600
}

const most = (samples: readonly Sample[], valueOf: (sample: Sample) => number): number =>
  Math.max(...samples.map(valueOf))

function median(samples: readonly Sample[], valueOf: (sample: Sample) => number): number {
  const sorted = samples.map(valueOf).sort((left, right) => left - right)
  return sorted[sorted.length >>> 1] ?? NaN
}

const isLinux = process.platform === 'linux'

it.skipIf(!isLinux)(
  'T15: does not need more memory or descriptors the longer a process runs (needs Linux)',
  async () => {
    const root = mkdtempSync(join(tmpdir(), 'varve-soak-'))
    onTestFinished(() => {
      rmSync(root, { recursive: true, force: true })
    })
    const script = join(root, 'soak.mjs')
    writeFileSync(script, child())
    const orders = { directory: join(root, 'data'), seconds: SECONDS, seed }
    const started = spawn(process.execPath, ['--expose-gc', script, JSON.stringify(orders)])
    let output = ''
    let complaints = ''
    started.stdout.on('data', (text: Buffer) => (output += text.toString()))
    started.stderr.on('data', (text: Buffer) => (complaints += text.toString()))
    const code = await new Promise((resolve) => started.once('close', resolve))
    expect(complaints, `seed ${seed}`).toBe('')
    expect(code, output.slice(-2000)).toBe(0)
    const lines = output
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Partial<Sample> & { complaint?: string })
    expect(lines.filter(({ complaint }) => complaint !== undefined)).toEqual([])
    const samples = lines.filter((line): line is Sample => line.second !== undefined)
    const warm = samples.slice(Math.ceil(samples.length * WARM_UP_SHARE))
    const [earlier, later] = [warm.slice(0, warm.length / 2), warm.slice(warm.length / 2)]
    const last = samples.at(-1)
    const heapSlope = slopePerHour(warm, ({ heapMiB }) => heapMiB)
    report('soak', {
      seconds: SECONDS,
      sent: last?.sent ?? 0,
      consumed: last?.consumed ?? 0,
      descriptors: `${most(earlier, (each) => each.descriptors)} then ${most(later, (each) => each.descriptors)}`,
      'resident MiB': `${most(earlier, (each) => each.rssMiB).toFixed(1)} then ${most(later, (each) => each.rssMiB).toFixed(1)}`,
      'resident MiB an hour': slopePerHour(warm, ({ rssMiB }) => rssMiB).toFixed(2),
      'alive MiB': `${median(earlier, (each) => each.heapMiB).toFixed(1)} then ${median(later, (each) => each.heapMiB).toFixed(1)}`,
      'alive MiB an hour': heapSlope.toFixed(2),
      'disk MiB at most': most(warm, (each) => each.diskMiB).toFixed(1),
      'loop delay p99.9 ms at most': most(warm, (each) => each.delayP999Ms).toFixed(1),
    })
    const trace = `seed ${seed}\n${output.slice(-4000)}`
    expect(last?.consumed, trace).toBeGreaterThan(last?.sent ?? Infinity)
    const descriptorsMore =
      most(later, (each) => each.descriptors) - most(earlier, (each) => each.descriptors)
    const isShort = SECONDS < SHORTEST_SECONDS
    const mayOpen = isShort ? MAX_SHORT_DESCRIPTORS_MORE : MAX_DESCRIPTORS_MORE
    expect(descriptorsMore, trace).toBeLessThanOrEqual(mayOpen)
    const grown = median(later, (each) => each.heapMiB) - median(earlier, (each) => each.heapMiB)
    const mayGrow = isShort ? MAX_SHORT_GROWTH_MIB : MAX_GROWTH_MIB
    expect(grown, trace).toBeLessThan(mayGrow)
  },
)
