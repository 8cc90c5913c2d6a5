import type { Partition } from '../broker/partition.ts'
import type { Command, CommandStreams } from './command.ts'
import { DUMP_HELP, parseDumpOptions, type DumpOptions, type DumpStart } from './dump-options.ts'
import { INTERRUPTED, interruptible } from './interruptible.ts'
import { LineWriter } from './line-writer.ts'
import { openForReading } from './open-for-reading.ts'
import { recordLine } from './record-line.ts'

/** Writes records as lines of JSON. */
export const dumpCommand: Command = {
  usage: 'DIR TOPIC',
  summary: 'the records of a topic, a line of JSON each',
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
    const output = new DumpOutput(new LineWriter(streams.stdout), options.limit, stop)
    return await interruptible(stop, async () => {
      await dumpAll(partitions, options, output)
      return output.isStopped && !output.isDone ? INTERRUPTED : 0
    })
  } finally {
    await broker.close()
  }
}

/** Takes records until nobody wants more. */
class DumpOutput {
  readonly #writer: LineWriter
  readonly #stop: AbortController
  #restCount: number

  constructor(writer: LineWriter, limit: number, stop: AbortController) {
    this.#writer = writer
    this.#restCount = limit
    this.#stop = stop
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Also by {@link DumpOutput.isDone}. */
  get isStopped(): boolean {
    return this.#stop.signal.aborted
  }

  /** Whether as many were written as are wanted, or nobody reads them any more. */
  get isDone(): boolean {
    return this.#restCount <= 0 || this.#writer.isAbandoned
  }

  async write(line: string): Promise<void> {
    if (this.isStopped || this.#restCount <= 0) return
    this.#restCount -= 1
    await this.#writer.write(line)
    if (this.isDone) this.#stop.abort()
  }
}

/** Who has stopped it is told nothing of what ends by that. */
async function dumpAll(
  partitions: readonly Partition[],
  options: DumpOptions,
  output: DumpOutput,
): Promise<void> {
  try {
    const ends: number[] = []
    for (const partition of partitions) {
      const end = partition.highWatermark
      ends.push(end)
      const from = await startIn(partition, options.from, end)
      if (from !== null) await write(partition, { from, until: end }, output)
      if (output.isStopped) return
    }
    if (options.follow) await follow(partitions, ends, options.from, output)
  } catch (error) {
    if (!output.isStopped) throw error
  }
}

/** Writes what comes behind `ends`, until it is stopped. */
async function follow(
  partitions: readonly Partition[],
  ends: readonly number[],
  start: DumpStart,
  output: DumpOutput,
): Promise<void> {
  const lowestOffset = 'offset' in start ? start.offset : 0
  await Promise.all(
    partitions.map((partition, slot) => {
      return write(partition, { from: ends[slot] ?? 0, lowestOffset }, output)
    }),
  )
}

async function write(
  partition: Partition,
  range: { readonly from: number; readonly until?: number; readonly lowestOffset?: number },
  output: DumpOutput,
): Promise<void> {
  const { signal } = output
  const { lowestOffset = 0, ...records } = range
  for await (const record of partition.records({ ...records, signal })) {
    if (record.offset >= lowestOffset) await output.write(recordLine(partition.index, record))
    if (output.isStopped) return
  }
}

/** The offset at which a dump begins; `null` where it has nothing before `end`. */
async function startIn(
  partition: Partition,
  start: DumpStart,
  end: number,
): Promise<number | null> {
  const { logStartOffset } = partition
  let from: number | null
  if ('offset' in start) from = Math.max(start.offset, logStartOffset)
  else if ('timestamp' in start) from = await partition.offsetForTimestamp(start.timestamp)
  else from = await startOfLast(partition, start.last, end)
  return from === null || from >= end ? null : from
}

/** Where the last `count` records before `end` begin: offsets may have no record any more. */
async function startOfLast(
  partition: Partition,
  count: number,
  end: number,
): Promise<number | null> {
  let first: number | null = null
  let found = 0
  for await (const { offset } of partition.records({ reverse: true, until: end })) {
    first = offset
    found += 1
    if (found === count) break
  }
  return first
}
