import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { compiledUrl, startScript } from '../helpers/compiled-lib.ts'
import { isFull, report, runs, seed } from './size.ts'

const PARTITIONS = 4
const KILLS = runs({ short: 3, full: 20 })
const RECORDS = isFull ? 5_000_000 : 120_000
const PER_PARTITION = RECORDS / PARTITIONS
const SEGMENT_BYTES = 128 * 1024
/** Less than is appended during a load's plan and run, so some records are deleted meanwhile. */
const RETENTION_BYTES = 3 * SEGMENT_BYTES
const TASK_RECORDS = isFull ? 5000 : 500
const APPEND_RECORDS = 200
const RETENTION_CHECK_MS = 20

interface Gone {
  readonly partition: number
  readonly start: number
  readonly end: number
}

/** Appends, deletes and loads at the same time, and prints what was loaded and what was lost. */
const life = (): string => `
  import { writeSync } from 'node:fs'
  import { Broker } from '${compiledUrl('broker.ts')}'
  import { LoadFailedError, RecordsGoneError, ndjsonSink, planLoad, runLoad } from '${compiledUrl('offline/index.ts')}'
  const [dir, out, perPartition, taskRecords, segmentBytes, retentionBytes] = process.argv.slice(1)
  const say = (...words) => writeSync(1, words.join(' ') + '\\n')
  const broker = await Broker.open(dir, { retentionCheckIntervalMs: ${RETENTION_CHECK_MS} })
  const { partitions } = await broker.createTopic('orders', {
    partitions: ${PARTITIONS}, ifNotExists: true, flushMessages: 10_000,
    segmentBytes: Number(segmentBytes), retentionBytes: Number(retentionBytes),
  })
  // What is deleted before the first commit of a load was never its own.
  const consumer = broker.consumer({ groupId: 'life', enableAutoCommit: false })
  for (const { topic, index: partition } of partitions) {
    if ((await consumer.committed({ topic, partition })) === null) await consumer.commit([{ topic, partition, offset: 0 }])
  }
  await consumer.close()
  let appending = true
  const append = async (partition) => {
    for (let at = partition.log.logEndOffset; at < perPartition;) {
      const count = Math.min(${APPEND_RECORDS}, perPartition - at)
      await partition.append(Array.from({ length: count }, (_, each) => ({
        value: JSON.stringify({ id: at + each, note: 'n'.repeat(60) }),
      })))
      at += count
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const appended = Promise.all(partitions.map(append)).then(() => { appending = false })
  const sink = ndjsonSink(out, { fields: { id: 'int' } })
  const options = { topics: ['orders'], name: 'life', splitBy: { maxRecords: Number(taskRecords) } }
  const tell = (error) => {
    if (!(error instanceof RecordsGoneError)) throw error
    const { partition, startOffset, endOffset } = error
    if (endOffset > partitions[partition].logStartOffset) throw new Error('what is told as gone is there')
    say('gone', partition, startOffset, endOffset)
  }
  const load = async () => {
    const plan = await planLoad(broker, options).catch(async (error) => {
      tell(error)
      const rest = await planLoad(broker, { ...options, whenGone: 'skip' })
      // The error names one partition, and the plan leaves out what is gone of all of them.
      const consumer = broker.consumer({ groupId: 'life', enableAutoCommit: false })
      for (const { topic, index: partition, logStartOffset } of partitions) {
        const { offset } = await consumer.committed({ topic, partition })
        const first = rest.tasks.find((task) => task.partition === partition)
        say('gone', partition, offset, first?.startOffset ?? logStartOffset)
      }
      await consumer.close()
      return rest
    })
    try {
      const { records } = await runLoad(plan, sink, { onProgress: ({ records }) => say('at', records) })
      say('loaded', records)
      return true
    } catch (error) {
      if (!(error instanceof LoadFailedError)) throw error
      for (const failure of error.failures) tell(failure.error)
      say('loaded', error.result.records)
      return false
    }
  }
  while (appending) {
    await load()
    await new Promise((resolve) => setImmediate(resolve))
  }
  await appended
  // Of a task whose first records are gone the others are still there, for the next load.
  while (!(await load()));
  await broker.close()
  say('done', Math.round(process.resourceUsage().maxRSS / 1024))
`

it(`loads each offset once or reports it as gone, beside a producer and retention, killed ${KILLS} times`, async () => {
  const root = mkdtempSync(join(tmpdir(), 'varve-load-life-'))
  onTestFinished(() => {
    rmSync(root, { recursive: true, force: true })
  })
  const [dir, out] = [join(root, 'log'), join(root, 'out')]
  const random = new SeededRandom(seed)
  const sizes = [PER_PARTITION, TASK_RECORDS, SEGMENT_BYTES, RETENTION_BYTES].map(String)
  const gone: Gone[] = []
  let maxRssMb = 0
  let kills = 0
  for (let isDone = false; !isDone;) {
    const child = startScript(life(), [dir, out, ...sizes])
    const until =
      kills < KILLS ? 1 + random.integer(Math.floor(RECORDS / TASK_RECORDS / 2 / KILLS)) : Infinity
    for (let lines = 1; !isDone; lines += 1) {
      // What it reported before it was killed counts, however late it is read.
      const line = await child.nextLine().catch((error: unknown) => {
        if (lines <= until) throw error
        return null
      })
      if (line === null) break
      const [word, ...numbers] = line.split(' ')
      const [partition = 0, start = 0, end = 0] = numbers.map(Number)
      if (word === 'gone') gone.push({ partition, start, end })
      isDone = word === 'done'
      if (isDone) maxRssMb = partition
      if (lines === until) child.process.kill('SIGKILL')
    }
    if (!isDone) kills += 1
    const { code, signal } = await child.ended
    expect([code, signal], `life ${kills}, seed ${seed}`).toEqual(
      isDone ? [0, null] : [null, 'SIGKILL'],
    )
  }
  const { rows, wrong, gaps } = await readBack(out)
  expect(wrong, `rows twice, or with the value of another, seed ${seed}`).toBe(0)
  for (const { partition, start, end } of gaps) {
    expect(
      isTold(gone, { partition, start, end }),
      `${partition}: ${start} to ${end} are in no file and were not told, seed ${seed}`,
    ).toBe(true)
  }
  report('load beside producer and retention', {
    records: RECORDS,
    kills,
    loaded: rows,
    'told as gone': gone.length,
    'ranges gone': gaps.length,
    'max RSS MB': maxRssMb,
  })
  expect(kills).toBe(KILLS)
  expect(gone, 'what retention took away from loads').not.toEqual([])
  expect(rows).toBeGreaterThan(RECORDS / 100)
})

/** Whether a whole range lies in the ranges that a load reported as lost. */
function isTold(gone: readonly Gone[], { partition, start, end }: Gone): boolean {
  let at = start
  for (const each of gone
    .filter((told) => told.partition === partition)
    .sort((a, b) => a.start - b.start)) {
    if (each.start <= at) at = Math.max(at, each.end)
  }
  return at >= end
}

/** What DuckDB finds in the files: the rows, how many are wrong, and which ranges are missing. */
async function readBack(out: string): Promise<{ rows: number; wrong: number; gaps: Gone[] }> {
  const { DuckDBInstance } = await import('@duckdb/node-api')
  const connection = await (await DuckDBInstance.create(':memory:')).connect()
  const columns = `columns = {"offset": 'BIGINT', id: 'BIGINT'}, hive_partitioning = true`
  await connection.run(
    `create table rows as select partition::int p, "offset" o, id from read_ndjson('${out}/*/*/*.ndjson', ${columns})`,
  )
  const all = async (query: string): Promise<Record<string, unknown>[]> =>
    (await connection.runAndReadAll(query)).getRowObjects()
  const [counts] = await all(
    'select count(*)::int n, (count(*) - count(distinct (p, o)) + count_if(o <> id))::int wrong from rows',
  )
  const ends = Array.from(
    { length: PARTITIONS },
    (_, p) => `(${p}, -1), (${p}, ${PER_PARTITION})`,
  ).join(', ')
  const gaps = await all(
    `select p, (o + 1)::int s, n::int e from (select p, o, lead(o) over (partition by p order by o) n
     from (select p, o from rows union all select * from (values ${ends}) borders(p, o))) where n > o + 1`,
  )
  connection.closeSync()
  return {
    rows: Number(counts?.['n']),
    wrong: Number(counts?.['wrong']),
    gaps: gaps.map(({ p, s, e }) => ({ partition: Number(p), start: Number(s), end: Number(e) })),
  }
}
