import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import type { Partition } from '../../lib/broker/partition.ts'
import { Broker } from '../../lib/broker.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import { LifeLedger } from './life-ledger.ts'
import { report, runs, seed } from './size.ts'

/** `VARVE_MINUTES` overrides the size. */
const SECONDS =
  process.env['VARVE_MINUTES'] === undefined
    ? runs({ short: 20, full: 1800 })
    : Number(process.env['VARVE_MINUTES']) * 60
const GROUPS = ['fast', 'slow'] as const
const PARTITIONS = 2
/** By how much live memory after a collection may grow; a run of minutes also shows caches. */
const MAX_GROWTH_MIB = 4
const MAX_SHORT_GROWTH_MIB = 24
const MAX_DESCRIPTORS_MORE = 8
const SHORTEST_SECONDS = 600

/**
 * Writes, consumes, deletes and reads back until it is killed. Prints in capitals what it is about
 * to do, if that matters, and in small letters what was acknowledged.
 */
const child = (): string => `
  import { readdirSync, writeSync } from 'node:fs'
  import { setTimeout as sleep } from 'node:timers/promises'
  import { Broker } from '${compiledUrl('broker.ts')}'
  import { SeededRandom } from '${compiledUrl('testing/seeded-random.ts')}'
  const { directory, seed, round, groups } = JSON.parse(process.argv[2])
  const say = (...words) => writeSync(1, words.join(' ') + '\\n')
  const fail = (error) => { say('!', JSON.stringify(String(error?.stack ?? error))); process.exit(1) }
  process.on('unhandledRejection', fail)
  const random = new SeededRandom(seed)
  const broker = await Broker.open(directory, { cleanerBackoffMs: 200, retentionCheckIntervalMs: 300 })
  say('ready')
  const events = broker.topic('events').partitions
  const table = broker.topic('table').partition(0)
  let seq = round * 10_000_000
  const produce = async (slot) => {
    for (;;) {
      const first = seq
      const count = 1 + random.integer(20)
      seq += count
      // Timestamps go back and forth by a second.
      const records = Array.from({ length: count }, (_, each) => ({
        value: (first + each) + ':' + 'x'.repeat(random.integer(400)),
        timestamp: Date.now() - random.integer(1000),
      }))
      const { baseOffset } = await events[slot].append(records)
      say('e', slot, baseOffset, first, count)
      await sleep(random.integer(3))
    }
  }
  const write = async () => {
    for (;;) {
      const key = 'k' + random.integer(200)
      const isTombstone = random.integer(5) === 0
      const each = seq++
      say('T', key, isTombstone ? -1 : each)
      await table.append({ key, value: isTombstone ? null : String(each) })
      say('t', key)
      await sleep(random.integer(2))
    }
  }
  const consume = async (groupId) => {
    const consumer = broker.consumer({ groupId, enableAutoCommit: false })
    consumer.subscribe(['events'])
    const last = new Map()
    for await (const { topic, partition, offset } of consumer) {
      if (offset <= (last.get(partition) ?? -1)) throw new Error(offset + ' comes again to ' + groupId)
      last.set(partition, offset)
      if (random.integer(groupId === 'slow' ? 100 : 400) !== 0) continue
      await consumer.commit([{ topic, partition, offset: offset + 1 }])
      say('c', groupId, partition, offset + 1)
    }
  }
  const lookBack = async () => {
    for (;;) {
      const partition = random.pick(events)
      const count = 1 + random.integer(300)
      const found = await partition.readLast(count)
      if (found.some(({ offset }, at) => at > 0 && offset <= found[at - 1].offset)) throw new Error('readLast is out of order')
      let next = Infinity
      try {
        for await (const { offset } of partition.records({ reverse: true })) {
          if (offset >= next) throw new Error(offset + ' comes behind ' + next + ' backwards')
          next = offset
          if (random.integer(500) === 0) break
        }
      } catch (error) {
        if (error.code !== 'OFFSET_OUT_OF_RANGE') throw error
      }
      const time = Date.now() - random.integer(5000)
      const offset = await partition.offsetForTimestamp(time)
      if (offset !== null) {
        const [record] = await partition.read(offset, { maxRecords: 1 }).catch(() => [])
        if (record?.offset === offset && record.timestamp < time) throw new Error('offset ' + offset + ' is older than ' + time)
      }
      await sleep(random.integer(50))
    }
  }
  const deleteOld = async () => {
    for (;;) {
      await sleep(200)
      const partition = random.pick(events)
      const before = partition.highWatermark - 4000
      if (before > partition.logStartOffset) await partition.deleteRecords(before)
    }
  }
  const watch = async () => {
    for (;;) {
      await sleep(300)
      globalThis.gc()
      const { heapUsed, external } = process.memoryUsage()
      say('m', ((heapUsed + external) / 2 ** 20).toFixed(2), readdirSync('/proc/self/fd').length)
    }
  }
  Promise.all([produce(0), produce(1), write(), ...groups.map(consume), lookBack(), deleteOld(), watch()]).catch(fail)
`

/** Opens the directory and checks every invariant of the ledger. */
async function check(directory: string, ledger: LifeLedger): Promise<void> {
  const broker = await Broker.open(directory)
  try {
    expect(broker.recovery.damaged).toEqual([])
    expect(broker.recovery.clampedOffsets).toEqual([])
    for (const partition of broker.topic('events').partitions) await checkEvents(partition, ledger)
    await ledger.checkTable(broker.topic('table').partition(0))
    for (const groupId of GROUPS) {
      const consumer = broker.consumer({ groupId, enableAutoCommit: false })
      for (let slot = 0; slot < PARTITIONS; slot += 1) {
        const found = await consumer.committed({ topic: 'events', partition: slot })
        ledger.checkCommit(groupId, slot, found?.offset ?? 0)
      }
      await consumer.close()
    }
  } finally {
    await broker.close()
  }
}

/** Checks that reads forwards, backwards and by time agree, and return everything acknowledged. */
async function checkEvents(partition: Partition, ledger: LifeLedger): Promise<void> {
  const found: { offset: number; timestamp: number }[] = []
  for await (const { offset, timestamp, value } of partition.records({ until: 'end' })) {
    ledger.checkEvent(partition.index, offset, parseInt(String(value), 10))
    found.push({ offset, timestamp })
  }
  ledger.checkAllSeen(partition.index, partition)
  let slot = found.length
  for await (const { offset } of partition.records({ reverse: true })) {
    slot -= 1
    expect(offset).toBe(found[slot]?.offset)
  }
  expect(slot).toBe(0)
  const last = await partition.readLast(100)
  expect(last.map(({ offset }) => offset)).toEqual(found.slice(-100).map(({ offset }) => offset))
  for (const share of [0, 0.3, 0.7, 1]) {
    const time = found[Math.floor(share * (found.length - 1))]?.timestamp ?? 0
    const expected = found.find(({ timestamp }) => timestamp >= time)?.offset ?? null
    expect(await partition.offsetForTimestamp(time)).toBe(expected)
  }
}

const half = (values: readonly number[], isLater: boolean): number => {
  const middle = values.length >>> 1
  const sorted = (isLater ? values.slice(middle) : values.slice(0, middle)).sort((a, b) => a - b)
  return sorted[sorted.length >>> 1] ?? 0
}

it.skipIf(process.platform !== 'linux')(
  'keeps all promises, without growth in memory or descriptors, over a long life with many kills',
  async () => {
    const root = mkdtempSync(join(tmpdir(), 'varve-life-'))
    onTestFinished(() => {
      rmSync(root, { recursive: true, force: true })
    })
    const directory = join(root, 'data')
    const script = join(root, 'life.mjs')
    writeFileSync(script, child())
    const broker = await Broker.open(directory)
    const retention = { retentionMs: 15_000, retentionBytes: 4 * 2 ** 20, segmentBytes: 262_144 }
    await broker.createTopic('events', { partitions: PARTITIONS, ...retention })
    const compaction = { cleanupPolicy: 'compact', minCleanableDirtyRatio: 0.3 } as const
    await broker.createTopic('table', {
      ...compaction,
      segmentBytes: 65_536,
      deleteRetentionMs: 2_000,
    })
    await broker.close()
    const random = new SeededRandom(seed)
    const ledger = new LifeLedger(PARTITIONS)
    const until = performance.now() + SECONDS * 1000
    const memory: number[] = []
    const descriptors: number[] = []
    let round = 0
    for (; performance.now() < until || round < 3; round += 1) {
      const order = { directory, seed: seed + round, round: round + 1, groups: GROUPS }
      const process_ = spawn(process.execPath, ['--expose-gc', script, JSON.stringify(order)])
      let complaint = ''
      process_.stderr.on('data', (text: Buffer) => (complaint += text.toString()))
      const lines = createInterface({ input: process_.stdout })
      const isReady = new Promise((resolve) => lines.once('line', resolve))
      const sampled: [number, number][] = []
      lines.on('line', (line) => {
        const [kind, ...words] = line.split(' ')
        if (kind === 'm') sampled.push([Number(words[0]), Number(words[1])])
        else if (kind === '!') complaint += line
        else ledger.note(String(kind), words)
      })
      const closed = once(process_, 'close')
      await Promise.race([isReady, closed])
      await Promise.race([sleep(500 + random.integer(3500)), closed])
      process_.kill('SIGKILL')
      await closed
      expect(complaint, `seed ${seed}, round ${round}`).toBe('')
      const [alive, open] = sampled.at(-1) ?? []
      if (alive !== undefined && open !== undefined) {
        memory.push(alive)
        descriptors.push(open)
      }
      await check(directory, ledger)
    }
    const text = (values: readonly number[]): string =>
      `${half(values, false).toFixed(1)} then ${half(values, true).toFixed(1)}`
    report('life', {
      ...{ seconds: SECONDS, lives: round },
      ...ledger.figures,
      'alive MiB': text(memory),
      descriptors: text(descriptors),
    })
    const isShort = SECONDS < SHORTEST_SECONDS
    const grown = half(memory, true) - half(memory, false)
    expect(grown, `seed ${seed}`).toBeLessThan(isShort ? MAX_SHORT_GROWTH_MIB : MAX_GROWTH_MIB)
    const opened = half(descriptors, true) - half(descriptors, false)
    expect(opened, `seed ${seed}`).toBeLessThanOrEqual(MAX_DESCRIPTORS_MORE)
  },
)
