import { deepStrictEqual, strictEqual } from 'node:assert/strict'
import type { StoredRecord } from '../index.ts'
import { callback, objectWith, type Check } from '../checks.ts'
import { checkPublished, checkSink, checkTaskResult } from './arguments.ts'
import type { LoadTask } from './load-task.ts'
import { byStart } from './offset-ranges.ts'
import type { Sink, TaskResult } from './sink.ts'

/** A sink to be tested, and access to its contents. */
export interface SinkUnderTest {
  /** Empty at first. */
  readonly sink: Sink
  /** Another sink on the same destination, as a process opens it after the first has crashed. */
  readonly reopen: () => Sink | Promise<Sink>
  /** Offsets of a partition that a reader sees, in any order, each as often as it occurs. */
  readonly offsets: (partition: {
    readonly topic: string
    readonly partition: number
  }) => Promise<readonly number[]>
  /** Called at the end of the case. */
  readonly dispose?: (() => Promise<void> | void) | undefined
}

/** One requirement for a sink. */
export interface SinkCase {
  /** What the sink does, as a sentence. */
  readonly name: string
  /** Rejects if the sink does not. */
  readonly run: () => Promise<void>
}

const isSubject: Check = objectWith('reopen', 'offsets')

const PLACE = { topic: 'orders', partition: 0 }

/**
 * The requirements that every {@link Sink} must meet for a load to be exactly once, as cases for
 * any test runner:
 *
 * ```ts
 * for (const { name, run } of sinkConformance(makeSink)) test(name, run)
 * ```
 *
 * Values are JSON objects, so that sinks that split values into columns can be tested.
 *
 * @param makeSink creates a sink with a destination of its own for each case.
 */
export function sinkConformance(
  makeSink: () => SinkUnderTest | Promise<SinkUnderTest>,
): readonly SinkCase[] {
  callback('makeSink', makeSink)
  return CASES.map(([name, check]) => ({
    name,
    run: async () => {
      const subject = checkSubject(await makeSink())
      try {
        await check(subject)
      } finally {
        await subject.dispose?.()
      }
    },
  }))
}

/** @throws TypeError if no case can test `subject`, instead of a failure within the first case */
function checkSubject(subject: SinkUnderTest): SinkUnderTest {
  isSubject('the result of makeSink()', subject)
  checkSink('sink in the result of makeSink()', subject.sink)
  return {
    sink: subject.sink,
    reopen: async () => {
      const again = await subject.reopen()
      checkSink('the result of reopen()', again)
      return again
    },
    offsets: (partition) => subject.offsets(partition),
    dispose: () => subject.dispose?.(),
  }
}

const CASES: readonly (readonly [string, (subject: SinkUnderTest) => Promise<void>])[] = [
  [
    'knows of nothing where nothing was loaded',
    async ({ sink, offsets }) => {
      deepStrictEqual(await sink.published(PLACE, 0), [])
      deepStrictEqual(await offsets(PLACE), [])
    },
  ],
  [
    'shows a task as a whole, and its range, once it is committed',
    async ({ sink, offsets }) => {
      const result = await load(sink, task(0, 10))
      strictEqual(result.records + result.rejected, 10)
      await expectOffsets(offsets, [[0, 10]])
      await expectPublished(sink, [[0, 10]])
    },
  ],
  [
    'shows nothing of a task before that',
    async ({ sink, offsets }) => {
      const writer = await sink.open(task(0, 10))
      await writer.write(recordsOf(task(0, 10)))
      await expectOffsets(offsets, [])
      await expectPublished(sink, [])
      await writer.commit()
      await expectOffsets(offsets, [[0, 10]])
    },
  ],
  [
    'takes the records of a task in several writes',
    async ({ sink, offsets }) => {
      const writer = await sink.open(task(0, 30))
      for (const at of [0, 10, 20]) await writer.write(recordsOf(task(at, at + 10)))
      const { records } = await writer.commit()
      strictEqual(records, 30)
      await expectOffsets(offsets, [[0, 30]])
    },
  ],
  [
    'keeps what is committed, and its range, when it is opened again',
    async ({ sink, offsets, reopen }) => {
      await load(sink, task(5, 15))
      await expectPublished(await reopen(), [[5, 15]])
      await expectOffsets(offsets, [[5, 15]])
    },
  ],
  [
    'names only ranges that end above the offset it is asked for',
    async ({ sink }) => {
      await load(sink, task(0, 10))
      await load(sink, task(10, 20))
      await expectPublished(sink, [[10, 20]], 10)
      await expectPublished(sink, [[10, 20]], 19)
      await expectPublished(sink, [], 20)
    },
  ],
  [
    'leaves nothing of a task that is aborted, which can be loaded again',
    async ({ sink, offsets }) => {
      const writer = await sink.open(task(0, 10))
      await writer.write(recordsOf(task(0, 5)))
      await writer.abort()
      await expectOffsets(offsets, [])
      await expectPublished(sink, [])
      await load(sink, task(0, 10))
      await expectOffsets(offsets, [[0, 10]])
    },
  ],
  [
    'can abort a task of which nothing was written',
    async ({ sink, offsets }) => {
      const writer = await sink.open(task(0, 10))
      await writer.abort()
      await expectOffsets(offsets, [])
      await expectPublished(sink, [])
    },
  ],
  [
    'leaves nothing of a task that a crash has cut off, which can be loaded again',
    async ({ sink, offsets, reopen }) => {
      const writer = await sink.open(task(0, 10))
      await writer.write(recordsOf(task(0, 10)))
      const again = await reopen()
      await expectOffsets(offsets, [])
      await expectPublished(again, [])
      await load(again, task(0, 10))
      await expectOffsets(offsets, [[0, 10]])
    },
  ],
  [
    'lets tasks be written side by side, and committed in any order',
    async ({ sink, offsets }) => {
      const first = await sink.open(task(0, 10))
      const second = await sink.open(task(10, 20))
      await Promise.all([first.write(recordsOf(task(0, 5))), second.write(recordsOf(task(10, 15)))])
      await Promise.all([
        first.write(recordsOf(task(5, 10))),
        second.write(recordsOf(task(15, 20))),
      ])
      await second.commit()
      await expectOffsets(offsets, [[10, 20]])
      await expectPublished(sink, [[10, 20]])
      await first.commit()
      await expectOffsets(offsets, [[0, 20]])
    },
  ],
  [
    'has each record once when two load one task, one after the other',
    async ({ sink, offsets, reopen }) => {
      await load(sink, task(0, 10))
      await load(await reopen(), task(0, 10)).catch(() => undefined)
      await expectOffsets(offsets, [[0, 10]])
      await expectPublished(sink, [[0, 10]])
    },
  ],
  [
    'has each record once when two load one task at the same time',
    async ({ sink, offsets, reopen }) => {
      const sinks = [sink, await reopen()]
      const outcomes = await Promise.allSettled(sinks.map((each) => load(each, task(0, 10))))
      strictEqual(
        outcomes.some(({ status }) => status === 'fulfilled'),
        true,
      )
      await expectOffsets(offsets, [[0, 10]])
      await expectPublished(sink, [[0, 10]])
    },
  ],
  [
    'keeps what is committed when another that has begun the same task aborts',
    async ({ sink, offsets, reopen }) => {
      const first = await sink.open(task(0, 10))
      await first.write(recordsOf(task(0, 10)))
      // The sink may refuse this, at any of the calls.
      const second = await (await reopen()).open(task(0, 10)).catch(() => null)
      await second?.write(recordsOf(task(0, 10))).catch(() => undefined)
      await first.commit()
      await second?.abort().catch(() => undefined)
      await expectOffsets(offsets, [[0, 10]])
      await expectPublished(await reopen(), [[0, 10]])
    },
  ],
  [
    'counts a task without records as loaded',
    async ({ sink, offsets, reopen }) => {
      const writer = await sink.open(task(0, 10))
      const { records, rejected } = await writer.commit()
      deepStrictEqual({ records, rejected }, { records: 0, rejected: 0 })
      await expectPublished(await reopen(), [[0, 10]])
      await expectOffsets(offsets, [])
    },
  ],
  [
    'takes a task with gaps in its offsets',
    async ({ sink, offsets }) => {
      const writer = await sink.open(task(0, 100))
      await writer.write([...recordsOf(task(3, 5)), ...recordsOf(task(90, 92))])
      await writer.commit()
      await expectOffsets(offsets, [
        [3, 5],
        [90, 92],
      ])
      await expectPublished(sink, [[0, 100]])
    },
  ],
  [
    'keeps partitions, and topics, apart',
    async ({ sink, offsets }) => {
      const others = [
        { topic: 'orders', partition: 1 },
        { topic: 'orders-1', partition: 0 },
        { topic: 'orders.v2', partition: 0 },
      ]
      await load(sink, task(0, 10))
      for (const place of others) {
        deepStrictEqual(await sink.published(place, 0), [])
        await load(sink, { ...place, startOffset: 7, endOffset: 9 })
        deepStrictEqual([...(await offsets(place))].sort(ascending), [7, 8])
      }
      await expectOffsets(offsets, [[0, 10]])
      await expectPublished(sink, [[0, 10]])
    },
  ],
  [
    'takes keys and values that are null, and headers',
    async ({ sink, offsets }) => {
      const [first, second, third] = recordsOf(task(0, 3))
      if (first === undefined || second === undefined || third === undefined) return
      const headers = [{ key: 'from', value: Buffer.from('web') }]
      const writer = await sink.open(task(0, 3))
      await writer.write([
        { ...first, key: null },
        { ...second, value: null },
        { ...third, headers, timestamp: -1 },
      ])
      const { records } = await writer.commit()
      strictEqual(records, 3)
      await expectOffsets(offsets, [[0, 3]])
    },
  ],
]

function task(startOffset: number, endOffset: number): LoadTask {
  return { ...PLACE, startOffset, endOffset }
}

function recordsOf({ topic, partition, startOffset, endOffset }: LoadTask): StoredRecord[] {
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

async function load(sink: Sink, each: LoadTask): Promise<TaskResult> {
  const writer = await sink.open(each)
  try {
    await writer.write(recordsOf(each))
    return checkTaskResult(await writer.commit())
  } catch (error) {
    await writer.abort()
    throw error
  }
}

async function expectOffsets(
  offsets: SinkUnderTest['offsets'],
  ranges: readonly (readonly [number, number])[],
): Promise<void> {
  const expected = ranges.flatMap(([start, end]) =>
    Array.from({ length: end - start }, (_, index) => start + index),
  )
  deepStrictEqual([...(await offsets(PLACE))].sort(ascending), expected)
}

async function expectPublished(
  sink: Sink,
  ranges: readonly (readonly [number, number])[],
  fromOffset = 0,
): Promise<void> {
  const published = checkPublished(await sink.published(PLACE, fromOffset))
  deepStrictEqual(
    [...published].sort(byStart).map(({ startOffset, endOffset }) => [startOffset, endOffset]),
    ranges,
  )
}

function ascending(left: number, right: number): number {
  return left - right
}
