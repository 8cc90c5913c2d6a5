import { ok } from 'node:assert/strict'
import { callback, objectWith, reasonOf, type Check } from '../checks.ts'
import { pause } from '../platform/pause.ts'
import { systemClock } from '../platform/system-clock.ts'
import { checkSink } from './arguments.ts'
import type { Sink, TaskWriter } from './sink.ts'
import {
  commit,
  expectCounts,
  expectOffsets,
  expectPublished,
  load,
  open,
  recordsOf,
  task,
} from './sink-expectations.ts'

/** A sink to be tested, and access to its contents. */
export interface SinkUnderTest {
  /** Empty at first. */
  readonly sink: Sink
  /**
   * Another sink on the same destination, as another process opens it. With `hasCrashed` the process
   * of the first sink has crashed, and its writers are not used any more: if they hold something
   * open for which another writer waits, such as a transaction, it has to be ended here, as the
   * crash would. Otherwise the first sink goes on.
   */
  readonly reopen: (after: { readonly hasCrashed: boolean }) => Sink | Promise<Sink>
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

const STILL_RUNNING = { hasCrashed: false } as const
/** How long a writer may take before it counts as one that waits for another writer to end. */
const SETTLE_MS = 500

const isSubject: Check = objectWith('reopen', 'offsets')

/**
 * The requirements that every {@link Sink} must meet for a load to be exactly once, as cases for
 * any test runner:
 *
 * ```ts
 * for (const { name, run } of sinkConformance(makeSink)) test(name, run)
 * ```
 *
 * Values are JSON objects, so that sinks that split values into columns can be tested. Some records
 * have no value. The sink must reject none of the records.
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
    reopen: async (after) => {
      const again = await subject.reopen(after)
      checkSink('the result of reopen()', again)
      return again
    },
    offsets: (partition) => subject.offsets(partition),
    dispose: () => subject.dispose?.(),
  }
}

/** Begins a task. @returns the writer, `null` if the sink refuses it */
async function begin(sink: Sink): Promise<TaskWriter | null> {
  const writer = await open(sink, task(0, 10)).catch(() => null)
  await writer?.write(recordsOf(task(0, 10))).catch(() => undefined)
  return writer
}

const CASES: readonly (readonly [string, (subject: SinkUnderTest) => Promise<void>])[] = [
  [
    'knows of nothing where nothing was loaded',
    async ({ sink, offsets }) => {
      await expectPublished(sink, [])
      await expectOffsets(offsets, [])
    },
  ],
  [
    'shows a task as a whole, and its range, once it is committed',
    async ({ sink, offsets }) => {
      const { records, rejected } = await load(sink, task(0, 10))
      const count = records + rejected
      ok(count === 10, `commit() must return 10 records and rejected together, got ${count}`)
      await expectOffsets(offsets, [[0, 10]])
      await expectPublished(sink, [[0, 10]])
    },
  ],
  [
    'shows nothing of a task before that',
    async ({ sink, offsets }) => {
      const writer = await open(sink, task(0, 10))
      await writer.write(recordsOf(task(0, 10)))
      await expectOffsets(offsets, [])
      await expectPublished(sink, [])
      await commit(writer)
      await expectOffsets(offsets, [[0, 10]])
    },
  ],
  [
    'takes the records of a task in several writes',
    async ({ sink, offsets }) => {
      const writer = await open(sink, task(0, 30))
      for (const at of [0, 10, 20]) await writer.write(recordsOf(task(at, at + 10)))
      expectCounts(await commit(writer), { records: 30, rejected: 0 })
      await expectOffsets(offsets, [[0, 30]])
    },
  ],
  [
    'keeps what is committed, and its range, when it is opened again',
    async ({ sink, offsets, reopen }) => {
      await load(sink, task(5, 15))
      await expectPublished(await reopen(STILL_RUNNING), [[5, 15]])
      await expectOffsets(offsets, [[5, 15]])
    },
  ],
  [
    'names only ranges that end above the offset it is asked for',
    async ({ sink }) => {
      await load(sink, task(0, 10))
      // A sink may join adjacent ranges.
      await load(sink, task(20, 30))
      await expectPublished(sink, [[20, 30]], { fromOffset: 10 })
      await expectPublished(sink, [[20, 30]], { fromOffset: 29 })
      await expectPublished(sink, [], { fromOffset: 30 })
    },
  ],
  [
    'leaves nothing of a task that is aborted, which can be loaded again',
    async ({ sink, offsets }) => {
      const writer = await open(sink, task(0, 10))
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
      const writer = await open(sink, task(0, 10))
      await writer.abort()
      await expectOffsets(offsets, [])
      await expectPublished(sink, [])
    },
  ],
  [
    'leaves nothing of a task that a crash has cut off, which can be loaded again',
    async ({ sink, offsets, reopen }) => {
      const writer = await open(sink, task(0, 10))
      await writer.write(recordsOf(task(0, 10)))
      const again = await reopen({ hasCrashed: true })
      await expectOffsets(offsets, [])
      await expectPublished(again, [])
      await load(again, task(0, 10))
      await expectOffsets(offsets, [[0, 10]])
    },
  ],
  [
    'lets tasks be written side by side, and committed in any order',
    async ({ sink, offsets }) => {
      const first = await open(sink, task(0, 10))
      const second = await open(sink, task(10, 20))
      await Promise.all([first.write(recordsOf(task(0, 5))), second.write(recordsOf(task(10, 15)))])
      await Promise.all([
        first.write(recordsOf(task(5, 10))),
        second.write(recordsOf(task(15, 20))),
      ])
      await commit(second)
      await expectOffsets(offsets, [[10, 20]])
      await expectPublished(sink, [[10, 20]])
      await commit(first)
      await expectOffsets(offsets, [[0, 20]])
    },
  ],
  [
    'has each record once when two load one task, one after the other',
    async ({ sink, offsets, reopen }) => {
      await load(sink, task(0, 10))
      await load(await reopen(STILL_RUNNING), task(0, 10)).catch(() => undefined)
      await expectOffsets(offsets, [[0, 10]])
      await expectPublished(sink, [[0, 10]])
    },
  ],
  [
    'has each record once when two load one task at the same time',
    async ({ sink, offsets, reopen }) => {
      const sinks = [sink, await reopen(STILL_RUNNING)]
      const outcomes = await Promise.allSettled(sinks.map((each) => load(each, task(0, 10))))
      const failures = outcomes.flatMap((each) =>
        each.status === 'rejected' ? [reasonOf(each.reason)] : [],
      )
      const reasons = failures.join('; ')
      ok(failures.length < 2, `one of two commits of a task must succeed, got ${reasons}`)
      await expectOffsets(offsets, [[0, 10]])
      await expectPublished(sink, [[0, 10]])
    },
  ],
  [
    'keeps what is committed when another that has begun the same task aborts',
    async ({ sink, offsets, reopen }) => {
      const first = await open(sink, task(0, 10))
      await first.write(recordsOf(task(0, 10)))
      const again = await reopen(STILL_RUNNING)
      const settled = new AbortController()
      // The sink may refuse this, at any of the calls, or have it wait until the first has ended.
      const beginning = begin(again).finally(() => {
        settled.abort()
      })
      await pause(systemClock, SETTLE_MS, settled.signal).catch(() => undefined)
      try {
        await commit(first)
      } finally {
        const second = await beginning
        await second?.abort().catch(() => undefined)
      }
      await expectOffsets(offsets, [[0, 10]])
      await expectPublished(await reopen(STILL_RUNNING), [[0, 10]])
    },
  ],
  [
    'counts a task without records as loaded',
    async ({ sink, offsets, reopen }) => {
      const writer = await open(sink, task(0, 10))
      expectCounts(await commit(writer), { records: 0, rejected: 0 })
      await expectPublished(await reopen(STILL_RUNNING), [[0, 10]])
      await expectOffsets(offsets, [])
    },
  ],
  [
    'takes a task with gaps in its offsets',
    async ({ sink, offsets }) => {
      const writer = await open(sink, task(0, 100))
      await writer.write([...recordsOf(task(3, 5)), ...recordsOf(task(90, 92))])
      await commit(writer)
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
        await expectPublished(sink, [], { place })
        await load(sink, { ...place, startOffset: 7, endOffset: 9 })
        await expectOffsets(offsets, [[7, 9]], place)
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
      const writer = await open(sink, task(0, 3))
      await writer.write([
        { ...first, key: null },
        { ...second, value: null },
        { ...third, headers, timestamp: -1 },
      ])
      expectCounts(await commit(writer), { records: 3, rejected: 0 })
      await expectOffsets(offsets, [[0, 3]])
    },
  ],
]
