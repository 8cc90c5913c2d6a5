import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { compiledUrl, startScript } from '../helpers/compiled-lib.ts'
import { isFull, report, runs, seed } from './size.ts'

const PARTITIONS = 4
const KILLS = runs({ short: 5, full: 50 })
const RECORDS = isFull ? 5_000_000 : 100_000
const PER_PARTITION = RECORDS / PARTITIONS
const SEGMENT_BYTES = isFull ? 32 * 1024 * 1024 : 512 * 1024
const TASK_RECORDS = isFull ? 5000 : 1000
const APPEND_RECORDS = 1000
/** One in this many lives is killed in the first moments, while the process opens and plans. */
const EARLY_KILL_EVERY = 10
const MAX_EARLY_MS = 400
const MAX_RSS_MB = 256

/** Loads everything, and prints how many offsets are done as it proceeds. */
const loader = (): string => `
  import { writeSync } from 'node:fs'
  import { Broker } from '${compiledUrl('broker.ts')}'
  import { ndjsonSink, parquetSink, planLoad, runLoad } from '${compiledUrl('offline/index.ts')}'
  const [dir, out, kind, maxRecords] = process.argv.slice(1)
  const say = (...words) => writeSync(1, words.join(' ') + '\\n')
  say('loaded')
  const broker = await Broker.open(dir)
  const fields = { id: 'int', name: 'string', total: 'double' }
  const sink = kind === 'parquet' ? parquetSink(out, { fields }) : ndjsonSink(out, { fields })
  const splitBy = { maxRecords: Number(maxRecords) }
  const plan = await planLoad(broker, { topics: ['orders'], name: kind, splitBy })
  const { records, rejected, durationMs } = await runLoad(plan, sink, {
    onProgress: ({ offsets }) => say('at', offsets),
  })
  await broker.close()
  say('done', records, rejected, Math.round(durationMs), Math.round(process.resourceUsage().maxRSS / 1024))
`

it.each(['parquet', 'ndjson'] as const)(
  `loads every offset into %s exactly once if it is killed at ${KILLS} random points`,
  async (kind) => {
    const root = mkdtempSync(join(tmpdir(), 'varve-load-'))
    onTestFinished(() => {
      rmSync(root, { recursive: true, force: true })
    })
    const [dir, out] = [join(root, 'log'), join(root, 'out')]
    const segments = await fill(dir)
    const random = new SeededRandom(seed)
    const start = (): ReturnType<typeof startScript> =>
      startScript(loader(), [dir, out, kind, String(TASK_RECORDS)])
    // So that the last kill comes before the load is done, and most of it happens between kills.
    const stride = Math.floor((1.4 * RECORDS) / KILLS)
    for (let kill = 0; kill < KILLS; kill += 1) {
      const life = start()
      expect(await life.nextLine()).toBe('loaded')
      if (kill % EARLY_KILL_EVERY === 0) {
        const waitMs = random.integer(MAX_EARLY_MS)
        await new Promise((resolve) => setTimeout(resolve, waitMs))
      } else {
        const until = random.integer(stride)
        for (let at = 0; at < until;) {
          const [word, count] = (await life.nextLine()).split(' ')
          if (word === 'done')
            throw new Error(`the load was done before kill ${kill} (seed ${seed})`)
          at = Number(count)
        }
      }
      life.process.kill('SIGKILL')
      expect((await life.ended).signal, `kill ${kill}, seed ${seed}`).toBe('SIGKILL')
    }
    const last = start()
    let line: string
    do line = await last.nextLine()
    while (!line.startsWith('done'))
    expect(await last.ended).toEqual({ code: 0, signal: null })
    const [records = 0, rejected, ms = 0, maxRssMb = 0] = line.split(' ').slice(1).map(Number)
    const rows = await readBack(out, kind)
    expect(rows, `seed ${seed}`).toEqual(
      Array.from({ length: PARTITIONS }, (_, p) => ({
        p,
        count: PER_PARTITION,
        distinct: PER_PARTITION,
        min: 0,
        max: PER_PARTITION - 1,
        ids: PER_PARTITION,
      })),
    )
    const left = readdirSync(out, { recursive: true, encoding: 'utf8' })
    expect(left.filter((path) => path.endsWith('.tmp') || path.includes('_rejects'))).toEqual([])
    expect(rejected).toBe(0)
    expect(maxRssMb).toBeLessThan(MAX_RSS_MB)
    report(`load into ${kind}`, {
      records: RECORDS,
      segments,
      kills: KILLS,
      'records of the last life': records,
      'records per second': Math.round((records / ms) * 1000),
      'max RSS MB': maxRssMb,
    })
  },
)

/** @returns the number of segments of all partitions. */
async function fill(dir: string): Promise<number> {
  const broker = await Broker.open(dir)
  const config = { flushMessages: Number.MAX_SAFE_INTEGER, segmentBytes: SEGMENT_BYTES }
  const { partitions } = await broker.createTopic('orders', { partitions: PARTITIONS, ...config })
  for (let from = 0; from < PER_PARTITION; from += APPEND_RECORDS) {
    for (const partition of partitions) {
      await partition.append(
        Array.from({ length: Math.min(APPEND_RECORDS, PER_PARTITION - from) }, (_, each) => ({
          key: `user-${(from + each) % 1000}`,
          value: JSON.stringify({
            id: from + each,
            name: `order ${from + each}`,
            total: (from + each) / 8,
          }),
        })),
      )
    }
  }
  const count = partitions.reduce((sum, { log }) => sum + log.segments.length, 0)
  expect(count).toBeGreaterThan(2 * PARTITIONS)
  await broker.close()
  return count
}

/** What DuckDB finds in the files. */
async function readBack(out: string, kind: 'parquet' | 'ndjson'): Promise<unknown[]> {
  const { DuckDBInstance } = await import('@duckdb/node-api')
  const connection = await (await DuckDBInstance.create(':memory:')).connect()
  const source =
    kind === 'parquet'
      ? `read_parquet('${out}/*/*/*.parquet', hive_partitioning = true)`
      : `read_ndjson('${out}/*/*/*.ndjson', hive_partitioning = true, columns = {"offset": 'BIGINT', id: 'BIGINT'})`
  const reader = await connection.runAndReadAll(
    `select partition::int p, count(*)::int "count", count(distinct "offset")::int "distinct", ` +
      `min("offset")::int "min", max("offset")::int "max", count(distinct id)::int ids from ${source} group by all order by p`,
  )
  const rows = reader.getRowObjects()
  connection.closeSync()
  return rows
}
