import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Broker } from '../broker.ts'
import {
  MissingModuleError,
  ndjsonSink,
  parquetSink,
  planLoad,
  runLoad,
  LoadFailedError,
  type Fields,
  type LoadProgress,
  type LoadResult,
  type Sink,
} from '../offline/index.ts'
import { readArguments, UsageError } from './command-arguments.ts'
import type { CommandStreams } from './command.ts'
import { INTERRUPTED } from './interruptible.ts'
import { countOrders, ORDERS_TOPIC, sendOrders } from './load-orders.ts'
import { counted, inBytes, printable, Progress, table, thousands } from './report.ts'

export const LOAD_EXAMPLE_HELP: string = `npm run example:load -- [options]

Creates orders, some of them bad, and loads them into NDJSON and Parquet files. Run it again, even
after Ctrl-C or kill -9, and it continues where it stopped.

  --records N  orders to create at first (default: 200000)
  --add N      orders to add before this load (default: 0)
  --data DIR   directory of the log and the files (default: varve-data/load)
  --help       show this text

Exit codes: 0 done; 1 some tasks failed; 2 the command line is invalid; 130 stopped by Ctrl-C.
`

/** File with the number of orders that the log should contain. */
const WANTED_FILE = 'orders-wanted'
const DEFAULT_RECORDS = 200_000
const TASK_RECORDS = 10_000
const BAR_WIDTH = 24
const SHOWN_BAD_ROWS = 5
const MAX_SHOWN_VALUE = 60

const FIELDS: Fields = { id: 'int', customer: 'string', total: 'double', at: 'timestamp' }

/** Options of the example. */
export interface LoadExampleOptions {
  readonly records: number
  readonly add: number
  readonly dir: string
}

/** @returns `null` if help is requested. @throws UsageError */
export function parseLoadExample(args: readonly string[]): LoadExampleOptions | null {
  const { values, positionals } = readArguments('npm run example:load --', args, {
    records: { type: 'string' },
    add: { type: 'string' },
    data: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  })
  if (positionals[0] !== undefined) {
    throw new UsageError(`Unexpected argument '${positionals[0]}'; --help lists the options`)
  }
  if (values.help === true) return null
  const count = (name: 'records' | 'add', otherwise: number): number => {
    const text = values[name]
    if (text === undefined) return otherwise
    if (/^\d{1,9}$/.test(text)) return Number(text)
    throw new UsageError(`--${name} must be a whole number of at most 9 digits, got '${text}'`)
  }
  if (values.data === '') throw new UsageError('--data is empty')
  return {
    records: count('records', DEFAULT_RECORDS),
    add: count('add', 0),
    dir: resolve(values.data ?? 'varve-data/load'),
  }
}

/** Runs the example. @returns the exit code of the process. */
export async function loadExample(
  options: LoadExampleOptions,
  streams: CommandStreams,
  signal: AbortSignal,
): Promise<number> {
  const say = (line: string): void => {
    streams.stdout.write(`${line}\n`)
  }
  const broker = await Broker.open(join(options.dir, 'log'))
  try {
    const there = countOrders(broker)
    const isNew = !broker.topics().some(({ name }) => name === ORDERS_TOPIC)
    const missing = (await wantedOrders(options, there, isNew)) - there
    if (missing > 0) say(`creating ${counted(missing, 'order')} in ${join(options.dir, 'log')}`)
    await sendOrders(broker, missing)
    say(`the log holds ${counted(countOrders(broker), 'order')}`)
    const rows: (string | number)[][] = []
    let code = 0
    for (const format of ['ndjson', 'parquet'] as const) {
      const out = join(options.dir, format)
      try {
        const result = await load(broker, { format, out }, streams, signal)
        rows.push(await rowOf(format, out, result))
      } catch (error) {
        if (error instanceof MissingModuleError) {
          say(`${format}: skipped. ${error.message}`)
        } else if (signal.aborted) {
          say(
            `${format}: stopped. Run it again to continue: orders that are in the files are not loaded again`,
          )
          return INTERRUPTED
        } else if (error instanceof LoadFailedError) {
          const missingModule = error.failures.find(
            (each) => each.error instanceof MissingModuleError,
          )
          say(
            `${format}: ${missingModule === undefined ? error.message : `skipped. ${(missingModule.error as Error).message}`}`,
          )
          if (missingModule === undefined) code = 1
        } else throw error
      }
    }
    say('')
    say(table(['format', 'loaded now', 'bad now', 'orders/s', 'files', 'rows are in'], rows))
    await tellBadRows(join(options.dir, 'ndjson'), say)
    say('')
    say('next: run it again, and nothing is loaded twice; --add 1000 adds new orders')
    say('query the files with DuckDB:')
    const files = join(options.dir, 'parquet', 'topic=*', 'partition=*', '*.parquet')
    say(`  select customer, count(*), sum(total) from read_parquet('${files}') group by customer`)
    return code
  } finally {
    await broker.close()
  }
}

/**
 * How many orders the log should contain. The number is written to a file before the first order is
 * created. If the run is killed, the next one creates the rest.
 *
 * @param isNew whether the log is new; a number in the file then belongs to a deleted log.
 */
async function wantedOrders(
  { records, add, dir }: LoadExampleOptions,
  there: number,
  isNew: boolean,
): Promise<number> {
  const path = join(dir, WANTED_FILE)
  const before = isNew ? 0 : Number(await readFile(path, 'utf8').catch(() => '0'))
  if (before > there) return before
  const wanted = (isNew ? records : there) + add
  await writeFile(path, `${wanted}\n`)
  return wanted
}

async function load(
  broker: Broker,
  { format, out }: { format: 'ndjson' | 'parquet'; out: string },
  { stdout }: CommandStreams,
  signal: AbortSignal,
): Promise<LoadResult> {
  const sink: Sink =
    format === 'ndjson' ? ndjsonSink(out, { fields: FIELDS }) : parquetSink(out, { fields: FIELDS })
  const splitBy = { maxRecords: TASK_RECORDS }
  const plan = await planLoad(broker, {
    topics: [ORDERS_TOPIC],
    name: `example-${format}`,
    splitBy,
  })
  const offsets = plan.tasks.reduce(
    (sum, { startOffset, endOffset }) => sum + endOffset - startOffset,
    0,
  )
  stdout.write(
    offsets === 0
      ? `${format}: nothing new, everything is loaded\n`
      : `${format}: ${counted(offsets, 'order')} to load, in ${counted(plan.tasks.length, 'task')}\n`,
  )
  let last: LoadProgress | null = null
  const progress = new Progress(stdout, () => {
    return `${format}: ${last === null ? 'starting' : describeProgress(last, stdout.isTTY === true)}`
  })
  try {
    return await runLoad(plan, sink, { signal, onProgress: (each) => (last = each) })
  } finally {
    progress.stop()
  }
}

/** `[######------] 50% of 200,000 orders, 10 of 20 tasks`; the bar only on a terminal. */
export function describeProgress(
  { offsets, totalOffsets, tasks, totalTasks }: LoadProgress,
  withBar: boolean,
): string {
  const share = totalOffsets === 0 ? 1 : offsets / totalOffsets
  const full = Math.floor(share * BAR_WIDTH)
  const bar = withBar ? `[${'#'.repeat(full)}${'-'.repeat(BAR_WIDTH - full)}] ` : ''
  return (
    `${bar}${Math.floor(share * 100)}% of ${counted(totalOffsets, 'order')}, ` +
    `${thousands(tasks)} of ${counted(totalTasks, 'task')}`
  )
}

async function rowOf(
  format: string,
  out: string,
  result: LoadResult,
): Promise<(string | number)[]> {
  const { records, rejected, durationMs, bytes } = result
  const names = await filesBelow(out)
  const files = names.filter((name) => /\d\.(ndjson|parquet)$/.test(name)).length
  const perSecond = records === 0 ? '-' : thousands((records / Math.max(1, durationMs)) * 1000)
  return [format, records, rejected, perSecond, files, `${out} (+${inBytes(bytes)})`]
}

interface Reject {
  readonly offset: number
  readonly reason: string
  readonly value?: string | null
  readonly valueBase64?: string
}

/** Shows the bad rows of all loads so far. */
async function tellBadRows(out: string, say: (line: string) => void): Promise<void> {
  const files = (await filesBelow(join(out, '_rejects'))).filter((name) => name.endsWith('.jsonl'))
  const shown: string[] = []
  let count = 0
  for (const file of files) {
    const partition = /partition=(\d+)/.exec(file)?.[1] ?? '?'
    const text = await readFile(join(out, '_rejects', file), 'utf8')
    for (const line of text.split('\n').slice(0, -1)) {
      count += 1
      if (shown.length >= SHOWN_BAD_ROWS) continue
      const { offset, reason, value, valueBase64 } = JSON.parse(line) as Reject
      const what = valueBase64 === undefined ? (value ?? 'null') : `base64 ${valueBase64}`
      shown.push(
        `  ${ORDERS_TOPIC}-${partition} offset ${thousands(offset)}: ${printable(reason)}\n` +
          `    ${printable(what.slice(0, MAX_SHOWN_VALUE))}`,
      )
    }
  }
  if (count === 0) return
  say('')
  say(`${counted(count, 'bad row')} written to ${join(out, '_rejects')}:`)
  for (const line of shown) say(line)
  if (count > shown.length) say(`  and ${thousands(count - shown.length)} more`)
}

async function filesBelow(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir, { recursive: true, encoding: 'utf8' })).sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
