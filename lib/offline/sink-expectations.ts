import { AssertionError } from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import type { StoredRecord } from '../index.ts'
import { checkPublished, checkTaskResult, checkWriter } from './arguments.ts'
import type { LoadTask } from './load-task.ts'
import { byStart } from './offset-ranges.ts'
import type { SinkUnderTest } from './sink-conformance.ts'
import type { Sink, TaskResult, TaskWriter } from './sink.ts'

/** A range: its start, and its end, exclusive. */
type Range = readonly [number, number]

interface Place {
  readonly topic: string
  readonly partition: number
}

/** The partition that most cases use. */
export const PLACE: Place = { topic: 'orders', partition: 0 }

const NAMED_OFFSETS = 20

/** A task of {@link PLACE}. */
export function task(startOffset: number, endOffset: number): LoadTask {
  return { ...PLACE, startOffset, endOffset }
}

/** One record for each offset of a task. */
export function recordsOf({ topic, partition, startOffset, endOffset }: LoadTask): StoredRecord[] {
  return Array.from({ length: endOffset - startOffset }, (_, index) => {
    const offset = startOffset + index
    return {
      topic,
      partition,
      offset,
      timestamp: 1_700_000_000_000 + offset,
      key: Buffer.from(`key-${offset}`),
      value: Buffer.from(JSON.stringify({ id: offset, name: `order ${offset}` })),
      headers: [],
    }
  })
}

/** Begins a task, as a load does. */
export async function open(sink: Sink, each: LoadTask): Promise<TaskWriter> {
  const writer = await sink.open({ ...each }, { signal: new AbortController().signal })
  checkWriter('the result of open() of a sink', writer)
  return writer
}

/** Commits a task. @throws TypeError or RangeError if the result is not one */
export async function commit(writer: TaskWriter): Promise<TaskResult> {
  return checkTaskResult(await writer.commit())
}

/** Loads all records of a task. */
export async function load(sink: Sink, each: LoadTask): Promise<TaskResult> {
  const writer = await open(sink, each)
  try {
    await writer.write(recordsOf(each))
    return await commit(writer)
  } catch (error) {
    await writer.abort()
    throw error
  }
}

/** @throws AssertionError unless a task has committed these numbers of records. */
export function expectCounts(
  { records, rejected }: TaskResult,
  wanted: Pick<TaskResult, 'records' | 'rejected'>,
): void {
  const text = (counts: typeof wanted): string =>
    `records: ${counts.records}, rejected: ${counts.rejected}`
  expectEqual({ records, rejected }, wanted, text, 'commit() must return')
}

/** @throws AssertionError unless a reader sees exactly the offsets in these ranges, each once. */
export async function expectOffsets(
  offsets: SinkUnderTest['offsets'],
  ranges: readonly Range[],
  place: Place = PLACE,
): Promise<void> {
  const wanted = ranges.flatMap(([start, end]) =>
    Array.from({ length: end - start }, (_, index) => start + index),
  )
  const found = [...(await offsets(place))].sort((left, right) => left - right)
  const what = `a reader of ${place.topic}-${place.partition} must see`
  expectEqual(found, wanted, offsetList, wanted.length === 0 ? what : `${what} the offsets`)
}

/** @throws AssertionError unless the sink names exactly these ranges. */
export async function expectPublished(
  sink: Sink,
  wanted: readonly Range[],
  { fromOffset = 0, place = PLACE }: { fromOffset?: number; place?: Place } = {},
): Promise<void> {
  const { signal } = new AbortController()
  const published = checkPublished(await sink.published(place, fromOffset, { signal }))
  const found = [...published]
    .sort(byStart)
    .map(({ startOffset, endOffset }): Range => [startOffset, endOffset])
  const what = `published() of ${place.topic}-${place.partition} from offset ${fromOffset} must return`
  expectEqual(found, wanted, rangeList, what)
}

function expectEqual<T>(found: T, wanted: T, describe: (each: T) => string, what: string): void {
  if (isDeepStrictEqual(found, wanted)) return
  throw new AssertionError({
    message: `${what} ${describe(wanted)}, got ${describe(found)}`,
    actual: found,
    expected: wanted,
  })
}

function offsetList(offsets: readonly number[]): string {
  if (offsets.length === 0) return 'none'
  const named = offsets.slice(0, NAMED_OFFSETS).join(', ')
  return offsets.length > NAMED_OFFSETS ? `${named}, … (${offsets.length} in total)` : named
}

function rangeList(ranges: readonly Range[]): string {
  if (ranges.length === 0) return 'no ranges'
  return ranges.map(([start, end]) => `[${start}, ${end})`).join(', ')
}
