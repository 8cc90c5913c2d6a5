import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { Partition } from '../../lib/broker/partition.ts'
import { Broker } from '../../lib/broker.ts'
import type { TopicConfig } from '../../lib/config.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import { Killer, quantile } from './killer.ts'
import { LifeLedger } from './life-ledger.ts'
import { report, runs, seed } from './size.ts'

const RECOVERY_KILL_EVERY = 20
/** Lines that a life prints before it is killed, and how long after that at most. */
const ENDS = [
  ['e ', 50],
  ['P', 10],
  ['p', 20],
  ['s ', 200],
] as const
const RETENTION_MS = 300
const RETENTION_BYTES = 30_000

/** Each topic stores its records in a different codec, and deletes them for a different reason. */
const TOPICS: readonly (TopicConfig & { readonly name: string })[] = [
  { name: 'by-size', compressionType: 'gzip', retentionBytes: RETENTION_BYTES },
  { name: 'by-time', compressionType: 'snappy', retentionMs: RETENTION_MS },
  { name: 'consumed', compressionType: 'lz4', retention: 'consumed' },
  { name: 'on-call', compressionType: 'zstd' },
]
const [BY_SIZE, BY_TIME, CONSUMED, ON_CALL] = [0, 1, 2, 3]

/**
 * Waits for its orders, opens the broker and does everything at once until it is killed. Prints in
 * capitals what it is about to do, and in small letters what was acknowledged.
 */
const child = (): string => `
  import { subscribe } from 'node:diagnostics_channel'
  import { writeSync } from 'node:fs'
  import { createInterface } from 'node:readline'
  import { Broker } from '${compiledUrl('broker.ts')}'
  import { SeededRandom } from '${compiledUrl('testing/seeded-random.ts')}'
  const say = (...words) => writeSync(1, words.join(' ') + '\\n')
  const failed = (error) => { console.error(error); process.exit(1) }
  process.on('unhandledRejection', failed)
  say('loaded')
  const order = await new Promise((resolve) => {
    createInterface({ input: process.stdin }).once('line', resolve)
  })
  const { directory, seed, round, topics, opensOnly } = JSON.parse(order)
  const random = new SeededRandom(seed)
  say('opening')
  const broker = await Broker.open(directory, { cleanerBackoffMs: 10, retentionCheckIntervalMs: 15 })
  say('ready')
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  const partitions = topics.map((name) => broker.topic(name).partition(0))
  const table = broker.topic('table').partition(0)
  const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false })
  let seq = round * 1_000_000
  const produce = async (slot) => {
    for (;;) {
      const first = seq
      const count = 1 + random.integer(20)
      seq += count
      const now = Date.now()
      const records = Array.from({ length: count }, (_, each) => ({
        value: first + each + ':' + String(first * 2654435761).repeat(random.integer(60)),
        timestamp: now,
      }))
      const { baseOffset } = await partitions[slot].append(records)
      say('e', slot, baseOffset, first, count)
      say('n', slot, baseOffset, now)
      await turn()
    }
  }
  const write = async () => {
    for (;;) {
      const records = Array.from({ length: 1 + random.integer(20) }, () => {
        const value = random.integer(4) === 0 ? null : String(seq++)
        return { key: 'k' + random.integer(100), value }
      })
      for (const { key, value } of records) say('T', key, value ?? -1)
      await table.append(records)
      for (const key of new Set(records.map(({ key }) => key))) say('t', key)
      await turn()
    }
  }
  const consume = async () => {
    for (;;) {
      const { highWatermark, logStartOffset } = partitions[${CONSUMED}]
      const offset = logStartOffset + random.integer(highWatermark - logStartOffset + 1)
      say('C', offset)
      await consumer.commit([{ topic: topics[${CONSUMED}], partition: 0, offset }])
      say('c', 'g', ${CONSUMED}, offset)
      for (let each = random.integer(20); each >= 0; each -= 1) await turn()
    }
  }
  const remove = async () => {
    for (;;) {
      const { highWatermark, logStartOffset } = partitions[${ON_CALL}]
      const offset = logStartOffset + random.integer(highWatermark - logStartOffset + 1)
      say('D', offset)
      await partitions[${ON_CALL}].deleteRecords(offset)
      say('s', ${ON_CALL}, offset)
      for (let each = random.integer(60); each >= 0; each -= 1) await turn()
    }
  }
  subscribe('varve:compaction', ({ type, error }) => {
    if (type === 'start') say('P')
    if (type === 'end') say('p')
    if (type === 'failure') failed(error)
  })
  const watch = async () => {
    for (;;) {
      for (const [slot, { logStartOffset }] of partitions.entries()) say('s', slot, logStartOffset)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  if (!opensOnly) {
    for (const slot of partitions.keys()) produce(slot).catch(failed)
    for (const work of [write, consume, remove, watch]) work().catch(failed)
  }
`

/** What a life reported besides what the ledger notes. */
class Heard {
  /** By topic, the highest start that was seen. */
  readonly starts: number[] = TOPICS.map(() => 0)
  /** The highest offsets that were about to be committed, and deleted. */
  committing = 0
  deleting = 0
  passes = 0
  /** Of the topic with retention by time: when each batch was created, by its first offset. */
  madeMs: { readonly offset: number; readonly ms: number }[] = []

  note(kind: string, [first = 0, second = 0, third = 0]: readonly number[]): void {
    if (kind === 's') this.starts[first] = Math.max(this.starts[first] ?? 0, second)
    if (kind === 'C') this.committing = Math.max(this.committing, first)
    if (kind === 'D') this.deleting = Math.max(this.deleting, first)
    if (kind === 'p') this.passes += 1
    if (kind === 'n' && first === BY_TIME) this.madeMs.push({ offset: second, ms: third })
  }
}

/** Checks that what is present was acknowledged, and that what is missing could be deleted. */
async function check(broker: Broker, ledger: LifeLedger, heard: Heard): Promise<void> {
  const nowMs = Date.now()
  for (const [slot, { name }] of TOPICS.entries()) {
    const partition = broker.topic(name).partition(0)
    for await (const { offset, value } of partition.records({ until: 'end' })) {
      ledger.checkEvent(slot, offset, parseInt(String(value), 10))
    }
    ledger.checkAllSeen(slot, partition)
    expect(partition.logStartOffset, name).toBeGreaterThanOrEqual(heard.starts[slot] ?? 0)
    heard.starts[slot] = partition.logStartOffset
    expect(await partition.log.verify(), name).toEqual([])
  }
  checkStarts(
    TOPICS.map(({ name }) => broker.topic(name).partition(0)),
    heard,
    nowMs,
  )
  await ledger.checkTable(broker.topic('table').partition(0))
  expect(broker.topic('table').partition(0).logStartOffset).toBe(0)
}

/** Checks that no log starts later than its limit allows. */
function checkStarts(partitions: readonly Partition[], heard: Heard, nowMs: number): void {
  const startOf = (slot: number): number => partitions[slot]?.logStartOffset ?? 0
  if (startOf(BY_SIZE) > 0) {
    expect(partitions[BY_SIZE]?.log.size).toBeGreaterThanOrEqual(RETENTION_BYTES)
  }
  expect(startOf(CONSUMED)).toBeLessThanOrEqual(heard.committing)
  expect(startOf(ON_CALL)).toBeLessThanOrEqual(heard.deleting)
  const gone = heard.madeMs.filter(({ offset }) => offset < startOf(BY_TIME))
  for (const { offset, ms } of gone) {
    expect(nowMs - ms, `age of offset ${offset}`).toBeGreaterThan(RETENTION_MS)
  }
  heard.madeMs = heard.madeMs.slice(gone.length)
}

it('T6: loses no record that must stay if the process is killed during compaction and deletion', async () => {
  const wanted = runs({ short: 20, full: 5_000 })
  const root = mkdtempSync(join(tmpdir(), 'varve-kill-life-'))
  const directory = join(root, 'data')
  const killer = new Killer(child(), new SeededRandom(seed))
  onTestFinished(async () => {
    await killer.end()
    rmSync(root, { recursive: true, force: true })
  })
  const founder = await Broker.open(directory)
  for (const { name, ...config } of TOPICS) {
    await founder.createTopic(name, { segmentBytes: 4_096, ...config })
  }
  await founder.createTopic('table', {
    ...{ cleanupPolicy: 'compact', compressionType: 'lz4', segmentBytes: 512 },
    ...{ minCleanableDirtyRatio: 0.3, deleteRetentionMs: 50 },
  })
  await founder.close()
  const ledger = new LifeLedger(TOPICS.length)
  const heard = new Heard()
  const reopenMs: number[] = []
  let killsInRecovery = 0
  for (let round = 0; killer.kills < wanted; round += 1) {
    const order = { directory, round, topics: TOPICS.map(({ name }) => name), opensOnly: false }
    const [word, maxMs] = ENDS[round % ENDS.length] ?? ENDS[0]
    const lines = await killer.strike(order, word, maxMs)
    for (const line of lines) {
      const [kind = '', ...words] = line.split(' ')
      ledger.note(kind, words)
      heard.note(kind, words.map(Number))
    }
    if (killer.kills % RECOVERY_KILL_EVERY === RECOVERY_KILL_EVERY - 1) {
      const opened = await killer.strike({ ...order, opensOnly: true }, 'opening', 10)
      if (!opened.includes('ready')) killsInRecovery += 1
    }
    const context = `round ${round}, seed ${seed}`
    const startMs = performance.now()
    const broker = await Broker.open(directory)
    reopenMs.push(performance.now() - startMs)
    expect(broker.recovery.damaged, context).toEqual([])
    await check(broker, ledger, heard).catch((error: unknown) => {
      throw new Error(context, { cause: error })
    })
    await broker.close()
  }
  report('kill in lives', {
    kills: killer.kills,
    'during recovery': killsInRecovery,
    ...ledger.figures,
    passes: heard.passes,
    'log starts': heard.starts.join(' '),
    'open p50 ms': quantile(reopenMs, 0.5),
    'p99 ms': quantile(reopenMs, 0.99),
  })
})
