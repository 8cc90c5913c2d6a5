import { CorruptRecordError } from '../../lib/errors.ts'
import type { StoredRecord } from '../../lib/record/decode.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { buildEndTransactionMarker } from '../record/end-transaction-marker.ts'
import { bytesOf, NOW, openLog } from './log-fixtures.ts'
import { batchBounds, type Rot } from './rot.ts'

/** Three segments, with a few entries in each index. */
const CONFIG = { segmentBytes: 1700, indexIntervalBytes: 400 }
/** The records below are deleted; it is in the middle of the first segment. */
const LOG_START = 3
const PRODUCER = { producerId: 7, producerEpoch: 0 }

/** What a log returns to a reader. */
interface Answers {
  readonly records: ReadonlyMap<number, string>
  /** Offsets at which a read ends with a `CorruptRecordError`. */
  readonly refused: ReadonlySet<number>
  readonly searches: readonly unknown[]
  readonly ends: string
}

/** A directory whose files are damaged one by one, and a reader's results without damage. */
export interface RottenLog {
  readonly fs: SimulatedFileSystem
  readonly answers: Answers
  readonly endOffset: number
  /** Everything below this offset is covered by the recovery point or the record of segments. */
  readonly vouchedOffset: number
  /** The first offset of the last commit group. */
  readonly lastGroupOffset: number
}

/**
 * Batches of one and of several records, with headers, without values, compressed and not, of a
 * producer with an id, and the markers that end its transactions.
 *
 * @param end how the log ended: with all of it vouched for, or killed a few appends after a
 * checkpoint.
 */
export async function rottenLog(end: 'closed' | 'killed'): Promise<RottenLog> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  let log = await openLog(fs, { config: CONFIG })
  await appendSome(log, 0, 10)
  await log.close()
  log = await openLog(fs, { config: { ...CONFIG, compressionType: 'gzip' } })
  await appendSome(log, 22, 2)
  await log.close()
  log = await openLog(fs, { config: CONFIG })
  await log.advanceLogStartOffset(LOG_START)
  await appendSome(log, 40, 10)
  if (log.segments.length !== 3) throw new Error(`the log has ${log.segments.length} segments`)
  await log.checkpoint()
  const vouchedOffset = log.logEndOffset
  if (end === 'killed') {
    for (const value of ['after', 'the', 'checkpoint']) {
      await log.append([{ key: 'k', value: value.repeat(6), timestamp: NOW + 90 }])
    }
  } else {
    await log.close()
  }
  const endOffset = log.logEndOffset
  const stopped = fs.restart('process')
  const answers = await answersOf(await openLog(stopped.fork(), { config: CONFIG }), endOffset)
  return { fs: stopped, answers, endOffset, vouchedOffset, lastGroupOffset: endOffset - 1 }
}

/** What is wrong with a copy of `log` in which one file has rotted; `null` if nothing is. */
export function judgeRotten(
  log: RottenLog,
): (fs: SimulatedFileSystem, path: string, rot: Rot) => Promise<string | null> {
  return (fs, path, rot) =>
    path.endsWith('.log') ? judgeLog(log, fs, path, rot) : judgeHelper(log, fs)
}

/** Judges a file without which the log can be read: its content must never matter. */
async function judgeHelper(log: RottenLog, fs: SimulatedFileSystem): Promise<string | null> {
  const opened = await openLog(fs, { config: CONFIG })
  const { damage } = opened
  if (damage !== null) return `is taken for damage: ${damage.message}`
  if (opened.recovery.truncations.length > 0) return 'makes the log end early'
  const found = await answersOf(opened, log.endOffset)
  const problem = differenceOf(log.answers, found)
  if (problem !== null) return problem
  const { baseOffset } = await opened.append([{ key: 'k', value: 'more', timestamp: NOW + 99 }])
  if (baseOffset !== log.endOffset) return `the next record gets offset ${baseOffset}`
  const read = await opened.read(baseOffset)
  return String(read[0]?.value) === 'more' ? null : 'what is appended behind it is not read'
}

async function judgeLog(
  log: RottenLog,
  fs: SimulatedFileSystem,
  path: string,
  rot: Rot,
): Promise<string | null> {
  const opened = await openLog(fs, { config: CONFIG })
  const found = await answersOf(opened, log.endOffset)
  for (const [offset, text] of found.records) {
    if (log.answers.records.get(offset) !== text) return `offset ${offset} is read as ${text}`
  }
  const { truncations } = opened.recovery
  const missing = [...log.answers.records.keys()].filter(
    (offset) => !found.records.has(offset) && !found.refused.has(offset),
  )
  const first = Math.min(Infinity, ...missing)
  if (first === Infinity) {
    // Bytes that were durable are left as they are, so that they can be salvaged.
    const isChanged = rot.bytes !== null && !fs.readFile(path).equals(rot.bytes)
    return isChanged && truncations.length === 0 ? 'the file was changed' : null
  }
  if (first < log.vouchedOffset) return `offset ${first} is missing without an error`
  if (opened.damage !== null) return `offset ${first} is missing besides the damage`
  // A file that ends between two batches is what a crash before the write leaves. One whose last
  // group is incomplete is what a crash during the write leaves.
  const isBoundary = rot.isCut && batchBounds(log.fs.readFile(path)).includes(rot.position)
  if (isBoundary) return null
  if (truncations.length !== 1) return `offset ${first} is missing and nothing is reported`
  // More than one batch is missing, or not where it was.
  const isWide = /zeros|batch/.test(rot.name)
  if (rot.isCut || isWide || first >= log.lastGroupOffset) return null
  return `offset ${first} was cut, and a later group says that it had been durable`
}

/** Why two logs return different results; `null` if they do not. */
function differenceOf(expected: Answers, found: Answers): string | null {
  if (found.refused.size > 0) return `offset ${String([...found.refused][0])} is refused`
  if (found.ends !== expected.ends) return `the log holds ${found.ends}, not ${expected.ends}`
  for (const [offset, text] of expected.records) {
    if (found.records.get(offset) !== text) {
      return `offset ${offset} is read as ${String(found.records.get(offset))}`
    }
  }
  const [now, then] = [JSON.stringify(found.searches), JSON.stringify(expected.searches)]
  return now === then ? null : `searches by time find ${now}, not ${then}`
}

async function appendSome(log: Log, first: number, count: number): Promise<void> {
  const headers: [string, string][] = [
    ['trace', 'a1b2'],
    ['empty', ''],
  ]
  for (let each = first; each < first + count; each += 1) {
    const [key, timestamp] = [`key ${each}`, NOW + each]
    const value = `value ${each} `.repeat(8)
    if (each % 5 === 1) await log.append([{ key, value, headers, timestamp }])
    else if (each % 5 === 2) await log.append([{ key, value: null, timestamp }])
    else if (each % 5 === 3) {
      const records = [0, 1, 2].map((slot) => ({ key, value: `${value}${slot}`, timestamp }))
      await log.append(records)
    } else await log.append([{ key, value, timestamp }])
  }
  const values = [`transaction ${first}`]
  const timestamp = NOW + first + count
  const baseSequence = Math.floor(first / 20)
  await log.appendBatches([
    bytesOf({ ...PRODUCER, values, timestamp, baseSequence, isTransactional: true }),
  ])
  const marker = { type: 'COMMIT', baseOffset: 0, partitionLeaderEpoch: 0 } as const
  await log.appendBatches([
    buildEndTransactionMarker({ ...PRODUCER, ...marker, timestamp, coordinatorEpoch: 0 }),
  ])
  await log.flush()
}

async function answersOf(log: Log, endOffset: number): Promise<Answers> {
  const records = new Map<number, string>()
  const refused = new Set<number>()
  for (let offset = log.logStartOffset; offset < endOffset;) {
    try {
      const read = await log.read(offset, 100_000)
      for (const record of read) records.set(record.offset, textOf(record))
      offset = (read.at(-1)?.offset ?? endOffset) + 1
    } catch (error) {
      if (error instanceof CorruptRecordError) refused.add(offset)
      // After an early end of the log, nothing is reported about the missing records.
      else if (offset < log.logEndOffset) throw error
      offset += 1
    }
  }
  const searches: unknown[] = []
  for (const time of [NOW + 15, NOW + 45]) {
    searches.push(await log.offsetForTimestamp(time).catch(refusal))
  }
  return { records, refused, searches, ends: `${log.logStartOffset} to ${log.logEndOffset}` }
}

function textOf(record: StoredRecord): string {
  const { offset, timestamp, key, value, headers } = record
  const texts = headers.map((header) => `${header.key}:${String(header.value)}`)
  return [offset, timestamp, String(key), String(value), ...texts].join('|')
}

function refusal(error: unknown): string {
  if (error instanceof CorruptRecordError) return 'refused'
  throw error
}
