import type { Partition } from '../broker/partition.ts'
import { OffsetOutOfRangeError, VarveError } from '../errors.ts'
import type { StoredRecord } from '../record/decode.ts'
import type { Command, CommandStreams } from './command.ts'
import { InputError } from './command-arguments.ts'
import { DumpOutput } from './dump-output.ts'
import { DUMP_HELP, parseDumpOptions, type DumpOptions, type DumpStart } from './dump-options.ts'
import { INTERRUPTED, interruptible } from './interruptible.ts'
import { liveRecords } from './live-records.ts'
import { openForReading } from './open-for-reading.ts'
import { recordLine } from './record-line.ts'

/** Writes records as lines of JSON. */
export const dumpCommand: Command = {
  usage: 'DIR TOPIC',
  summary: 'print the records of a topic as lines of JSON',
  help: DUMP_HELP,
  run: (args, streams) => dump(parseDumpOptions(args), streams),
}

async function dump(options: DumpOptions, streams: CommandStreams): Promise<number> {
  const broker = await openForReading(options.dir)
  try {
    const topic = broker.topic(options.topic)
    const partitions =
      options.partition === null ? topic.partitions : [topic.partition(options.partition)]
    const stop = new AbortController()
    const output = new DumpOutput(streams, options.limit, stop)
    return await interruptible(stop, async () => {
      const isWhole = await dumpAll(partitions, options, output)
      if (output.isStopped && !output.isDone) return INTERRUPTED
      return isWhole ? 0 : 1
    })
  } finally {
    await broker.close()
  }
}

/** How far a partition was written before the dump begins to follow it. */
interface Written {
  readonly partition: Partition
  readonly end: number
  /** Whether the dump begins before `end`. */
  readonly hasBegun: boolean
}

/** @returns whether none of the requested records was left out. */
async function dumpAll(
  partitions: readonly Partition[],
  { from, follow }: DumpOptions,
  output: DumpOutput,
): Promise<boolean> {
  const whole: Written[] = []
  for (const partition of partitions) {
    const written = await unlessFailed(output, () => dumpToEnd(partition, from, output))
    if (output.isStopped) return !output.hasFailed
    if (written !== null) whole.push(written)
  }
  if (follow) {
    const followed = whole.map(({ partition, end, hasBegun }) => {
      const isWanted = hasBegun ? null : wantedFrom(from)
      return unlessFailed(output, () => write(partition, { from: end }, output, isWanted))
    })
    await Promise.all(followed)
  }
  return !output.hasFailed
}

/** Reports an error of one partition and lets the others continue. Reports nothing after a stop. */
async function unlessFailed<T>(output: DumpOutput, work: () => Promise<T>): Promise<T | null> {
  try {
    return await work()
  } catch (error) {
    const isKnown = error instanceof VarveError || error instanceof InputError
    if (!isKnown && !output.isStopped) throw error
    if (!output.isStopped) output.fail(error as Error)
    return null
  }
}

async function dumpToEnd(
  partition: Partition,
  start: DumpStart,
  output: DumpOutput,
): Promise<Written> {
  const end = partition.highWatermark
  const from = await startIn(partition, start, end, output.signal)
  if (from !== null) await write(partition, { from, until: end }, output)
  // An open that finds damage ends the log there.
  const { damage } = partition.log
  if (damage !== null && !output.isStopped) throw damage
  return { partition, end, hasBegun: from !== null }
}

/** Records after the end may precede the requested start. */
function wantedFrom(start: DumpStart): (record: StoredRecord) => boolean {
  let hasBegun = 'last' in start
  return ({ offset, timestamp }) => {
    if ('offset' in start) hasBegun ||= offset >= start.offset
    else if ('timestamp' in start) hasBegun ||= timestamp >= start.timestamp
    return hasBegun
  }
}

async function write(
  partition: Partition,
  range: { readonly from: number; readonly until?: number },
  output: DumpOutput,
  isWanted: ((record: StoredRecord) => boolean) | null = null,
): Promise<void> {
  const { signal } = output
  const records = liveRecords(partition, { ...range, signal }, (first, last) => {
    const { topic } = partition.log
    output.tell(`offsets ${first} to ${last} of ${topic}-${partition.index} have been deleted`)
  })
  for await (const record of records) {
    if (isWanted?.(record) !== false) await output.write(recordLine(partition.index, record))
    if (output.isStopped) return
  }
}

/** The offset at which a dump starts; `null` if there is nothing to dump before `end`. */
async function startIn(
  partition: Partition,
  start: DumpStart,
  end: number,
  signal: AbortSignal,
): Promise<number | null> {
  const { logStartOffset } = partition
  let from: number | null
  if ('offset' in start) from = Math.max(start.offset, logStartOffset)
  else if ('timestamp' in start) from = await partition.offsetForTimestamp(start.timestamp)
  else from = await startOfLast(partition, start.last, end, signal)
  return from === null || from >= end ? null : from
}

/**
 * Where the last `count` records before `end` start. Not every offset still has a record. If the
 * owner deletes records down to which it has counted, all that are left belong to them.
 */
export async function startOfLast(
  partition: Partition,
  count: number,
  end: number,
  signal: AbortSignal,
): Promise<number | null> {
  let first: number | null = null
  let found = 0
  try {
    for await (const { offset } of partition.records({ reverse: true, until: end, signal })) {
      first = offset
      found += 1
      if (found === count) break
    }
  } catch (error) {
    const { logStartOffset } = partition
    const isGone = error instanceof OffsetOutOfRangeError && error.offset < logStartOffset
    if (!isGone) throw error
    return logStartOffset
  }
  return first
}
