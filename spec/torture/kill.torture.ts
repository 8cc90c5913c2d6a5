import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { compiledUrl } from '../helpers/compiled-lib.ts'
import { Killer, quantile } from './killer.ts'
import { report, runs, seed } from './size.ts'

/** A log that cannot be appended to for this long after a kill is a defect on any machine. */
const MAX_REOPEN_MS = 60_000
const RECOVERY_KILL_EVERY = 20
/**
 * Commits, deletions and changes of topics take longer than the first appends: some live longer.
 */
const LONG_LIFE_EVERY = 5
/** How often all records ever kept are read again; otherwise only those of the last rounds are. */
const WHOLE_CHECK_EVERY = 25

/** The partitions that are written all the time. The second topic rarely syncs. */
const PARTITIONS = [
  { topic: 'strict', partition: 0 },
  { topic: 'strict', partition: 1 },
  { topic: 'relaxed', partition: 0 },
] as const

/** The content of a record, which identifies it, so that each can be told from all others. */
const textOf = (slot: number, seq: number): string =>
  `${slot}:${seq}:${String(seq * 2654435761).repeat(1 + ((seq * 7 + slot) % 90))}`

/**
 * Waits for its orders, opens the broker and does everything at once until it is killed. Prints in
 * capitals what it is about to do, and in small letters what was acknowledged.
 */
const producer = (): string => `
  import { writeSync } from 'node:fs'
  import { createInterface } from 'node:readline'
  import { Broker } from '${compiledUrl('broker.ts')}'
  import { SeededRandom } from '${compiledUrl('testing/seeded-random.ts')}'
  const say = (...words) => writeSync(1, words.join(' ') + '\\n')
  const textOf = ${textOf.toString()}
  say('loaded')
  const order = await new Promise((resolve) => {
    createInterface({ input: process.stdin }).once('line', resolve)
  })
  const { directory, seed, round, partitions, nextSeqs, opensOnly } = JSON.parse(order)
  const random = new SeededRandom(seed)
  say('opening')
  const broker = await Broker.open(directory)
  say('ready')
  const consumer = broker.consumer({ groupId: 'g' })
  const handles = partitions.map(({ topic, partition }) => broker.topic(topic).partition(partition))
  const acked = partitions.map(() => -1)
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  const produce = async (slot) => {
    let seq = nextSeqs[slot]
    for (;;) {
      const count = 1 + random.integer(4)
      const records = Array.from({ length: count }, (_, each) => ({ value: textOf(slot, seq + each) }))
      const acks = [0, 1, 'all'][random.integer(3)]
      const first = seq
      seq += count
      const appended = handles[slot].append(records, { acks }).then(({ baseOffset }) => {
        if (acks === 0) return
        say('a', slot, first, count, baseOffset)
        acked[slot] = Math.max(acked[slot], baseOffset + count - 1)
      })
      if (random.integer(8) === 0) await appended
      else await turn()
    }
  }
  const commit = async () => {
    for (;;) {
      const slot = random.integer(partitions.length)
      if (acked[slot] >= 0) {
        const offset = acked[slot] + 1
        say('C', slot, offset)
        await consumer.commit([{ ...partitions[slot], offset }])
        say('c', slot, offset)
      }
      await turn()
    }
  }
  const truncate = async () => {
    for (;;) {
      const slot = random.integer(partitions.length)
      const handle = handles[slot]
      if (random.integer(6) === 0 && handle.highWatermark - handle.logStartOffset > 400) {
        const offset = handle.highWatermark - 200
        say('D', slot, offset)
        await handle.deleteRecords(offset)
        say('d', slot, offset)
      }
      await turn()
    }
  }
  const topics = async () => {
    for (const { name } of broker.topics()) {
      if (!name.startsWith('x')) continue
      say('R', name)
      await broker.deleteTopic(name)
      say('r', name)
    }
    for (let each = 0; ; each += 1) {
      const name = 'x' + round + '-' + each
      say('T', name)
      const topic = await broker.createTopic(name, { partitions: 2 })
      say('t', name)
      await topic.partition(1).append({ value: name })
      say('v', name)
      if (each % 2 === 1) {
        say('R', name)
        await broker.deleteTopic(name)
        say('r', name)
      }
    }
  }
  const failed = (error) => { console.error(error); process.exit(1) }
  if (!opensOnly) {
    for (const slot of partitions.keys()) produce(slot).catch(failed)
    for (const work of [commit, truncate, topics]) work().catch(failed)
  }
`

/** What is known of a partition: the record at each offset. */
interface Known {
  /** `seqs[offset]`; deleted records included. */
  readonly seqs: number[]
  nextSeq: number
  logStartOffset: number
  committed: number | null
}

/** What a victim reported about one partition. */
interface Said {
  readonly acks: { seq: number; count: number; offset: number }[]
  readonly commitAttempts: number[]
  lastCommit: number | null
  lastDeletion: number
  lastDeletionAttempt: number
}

function saidOf(lines: readonly string[], slot: number, known: Known): Said {
  const { committed: lastCommit, logStartOffset } = known
  const said: Said = {
    acks: [],
    commitAttempts: [],
    lastCommit,
    lastDeletion: logStartOffset,
    lastDeletionAttempt: logStartOffset,
  }
  for (const line of lines) {
    const [what, ofSlot, first = 0, count = 0, offset = 0] = line
      .split(' ')
      .map((word, index) => (index === 0 ? word : Number(word))) as [string, ...number[]]
    if (ofSlot !== slot) continue
    if (what === 'a') said.acks.push({ seq: first, count, offset })
    if (what === 'C') said.commitAttempts.push(first)
    if (what === 'c') said.lastCommit = first
    if (what === 'D') said.lastDeletionAttempt = first
    if (what === 'd') said.lastDeletion = first
  }
  return said
}

/**
 * Compares one partition with what was known about it and what was reported since.
 *
 * @returns how many records were acknowledged.
 */
async function judgePartition(
  broker: Broker,
  slot: number,
  known: Known,
  options: { lines: readonly string[]; whole: boolean; context: string },
): Promise<number> {
  const { topic, partition } = PARTITIONS[slot] ?? PARTITIONS[0]
  const handle = broker.topic(topic).partition(partition)
  const said = saidOf(options.lines, slot, known)
  const name = `${topic}-${partition}, ${options.context}`
  const { logStartOffset, highWatermark } = handle
  expect(logStartOffset, name).toBeGreaterThanOrEqual(said.lastDeletion)
  expect(logStartOffset, name).toBeLessThanOrEqual(said.lastDeletionAttempt)
  expect(highWatermark, name).toBeGreaterThanOrEqual(known.seqs.length)
  expect(handle.logEndOffset, name).toBe(highWatermark)
  const { seqs } = known
  let offset = Math.max(logStartOffset, options.whole ? 0 : seqs.length - 50)
  // Records that were deleted before they could be read are known by their order.
  while (seqs.length < offset) seqs.push(known.nextSeq++)
  while (offset < highWatermark) {
    for (const record of await handle.read(offset)) {
      // An earlier record must still be there; a new one must be the next that was sent.
      if (offset === seqs.length) seqs.push(known.nextSeq++)
      const expected = textOf(slot, seqs[offset] ?? -1)
      if (record.offset !== offset || record.value?.toString() !== expected) {
        const found = `${record.offset}: ${String(record.value).slice(0, 40)}`
        expect.fail(`${name}: ${found} instead of ${offset}: ${expected.slice(0, 40)}`)
      }
      offset += 1
    }
  }
  let acknowledged = 0
  for (const { seq, count, offset: baseOffset } of said.acks) {
    const kept = seqs.slice(baseOffset, baseOffset + count)
    expect(kept, `${name}, acknowledged`).toEqual(Array.from(kept, (_, each) => seq + each))
    expect(kept, `${name}, acknowledged`).toHaveLength(count)
    acknowledged += count
  }
  known.logStartOffset = logStartOffset
  return acknowledged
}

async function judgeCommit(
  broker: Broker,
  slot: number,
  known: Known,
  { lines, context }: { lines: readonly string[]; context: string },
): Promise<void> {
  const { topic, partition } = PARTITIONS[slot] ?? PARTITIONS[0]
  const { lastCommit, commitAttempts } = saidOf(lines, slot, known)
  const consumer = broker.consumer({ groupId: 'g' })
  const committed = (await consumer.committed({ topic, partition }))?.offset ?? null
  await consumer.close()
  const { log } = broker.topic(topic).partition(partition)
  expect([known.committed, ...commitAttempts], context).toContain(committed)
  expect(committed ?? -1, context).toBeGreaterThanOrEqual(lastCommit ?? -1)
  expect(committed ?? 0, context).toBeLessThanOrEqual(log.durableEndOffset)
  known.committed = committed
}

/** @returns the topics that exist besides those of {@link PARTITIONS}. */
async function judgeTopics(
  broker: Broker,
  lines: readonly string[],
  before: readonly string[],
): Promise<string[]> {
  const said = new Set(lines)
  const named = lines.filter((line) => line.startsWith('T ')).map((line) => line.slice(2))
  const there = broker.topics().flatMap(({ name }) => (name.startsWith('x') ? [name] : []))
  for (const name of there) {
    expect([...before, ...named]).toContain(name)
    expect(said.has(`r ${name}`), `${name} was deleted`).toBe(false)
    const texts = (await broker.topic(name).partition(1).read(0)).map(({ value }) => String(value))
    if (said.has(`v ${name}`)) expect(texts).toEqual([name])
    else expect([[], [name]]).toContainEqual(texts)
  }
  for (const name of [...before, ...named]) {
    const wasThere = before.includes(name) || said.has(`t ${name}`)
    if (wasThere && !said.has(`R ${name}`)) expect(there, `${name} was created`).toContain(name)
  }
  return there
}

it('T6: loses nothing that was acknowledged if the process is killed at any time', async () => {
  const wanted = runs({ short: 200, full: 10_000 })
  const root = mkdtempSync(join(tmpdir(), 'varve-kill-'))
  const directory = join(root, 'data')
  const killer = new Killer(producer(), new SeededRandom(seed))
  onTestFinished(async () => {
    await killer.end()
    rmSync(root, { recursive: true, force: true })
  })
  const founder = await Broker.open(directory)
  await founder.createTopic('strict', { partitions: 2, segmentBytes: 65_536 })
  await founder.createTopic('relaxed', {
    segmentBytes: 65_536,
    flushMessages: 10_000,
    flushMs: 1_000,
  })
  await founder.createTopic('probe')
  await founder.close()
  const known = PARTITIONS.map((): Known => {
    return { seqs: [], nextSeq: 0, logStartOffset: 0, committed: null }
  })
  const reopenMs: number[] = []
  let acknowledged = 0
  let killsInRecovery = 0
  let topics: string[] = []
  const done = { 'c ': 0, 'd ': 0, 't ': 0, 'r ': 0 } as Record<string, number>
  const segments = new Set<string>()
  for (let round = 0; killer.kills < wanted; round += 1) {
    const nextSeqs = known.map(({ nextSeq }) => nextSeq)
    const order = { directory, round, partitions: PARTITIONS, nextSeqs, opensOnly: false }
    const lines = await killer.strike(order, 'a ', round % LONG_LIFE_EVERY === 0 ? 500 : 50)
    if (killer.kills % RECOVERY_KILL_EVERY === RECOVERY_KILL_EVERY - 1) {
      const opened = await killer.strike({ ...order, opensOnly: true }, 'opening', 10)
      if (!opened.includes('ready')) killsInRecovery += 1
    }
    for (const what of Object.keys(done))
      done[what] = (done[what] ?? 0) + lines.filter((line) => line.startsWith(what)).length
    const context = `round ${round}, seed ${seed}`
    const startMs = performance.now()
    const broker = await Broker.open(directory)
    const probe = await broker.topic('probe').partition(0).append({ value: 'x' })
    reopenMs.push(performance.now() - startMs)
    expect(reopenMs.at(-1), context).toBeLessThan(MAX_REOPEN_MS)
    expect(probe.baseOffset, context).toBe(round)
    expect(broker.recovery.damaged, context).toEqual([])
    for (const [slot, each] of known.entries()) {
      const whole = round % WHOLE_CHECK_EVERY === 0
      acknowledged += await judgePartition(broker, slot, each, { lines, whole, context })
      await judgeCommit(broker, slot, each, { lines, context })
    }
    for (const { topic, partition } of PARTITIONS) {
      const names = readdirSync(join(directory, `${topic}-${partition}`))
      for (const name of names)
        if (name.endsWith('.log')) segments.add(`${topic}-${partition}/${name}`)
    }
    topics = await judgeTopics(broker, lines, topics)
    await broker.close()
  }
  report('kill', {
    kills: killer.kills,
    'during recovery': killsInRecovery,
    'acknowledged records': acknowledged,
    'kept records': known.reduce((sum, { seqs }) => sum + seqs.length, 0),
    'segments rolled': segments.size - PARTITIONS.length,
    commits: done['c '] ?? 0,
    'deletions of records': done['d '] ?? 0,
    'topics created': done['t '] ?? 0,
    'topics deleted': done['r '] ?? 0,
    'writable again p50 ms': quantile(reopenMs, 0.5),
    'p99 ms': quantile(reopenMs, 0.99),
    'max ms': quantile(reopenMs, 1),
  })
})
