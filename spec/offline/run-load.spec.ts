import { describe, expect, it, vi } from 'vitest'
import { Broker, ClosedError } from '../../lib/index.ts'
import {
  LoadPlan,
  MissingModuleError,
  planLoad,
  runLoad,
  runTask,
  type Sink,
  type LoadFailedError,
  type LoadProgress,
  type LoadTask,
} from '../../lib/offline/index.ts'
import { ManualClock, SimulatedFileSystem } from '../../lib/testing/index.ts'
import { brokerFor, committed, fill, MemorySink, task, upTo } from './loads.ts'

const disk = new Error('the disk is full')

async function failure(run: Promise<unknown>): Promise<LoadFailedError> {
  const error: unknown = await run.then(
    () => null,
    (each: unknown) => each,
  )
  expect(error).toMatchObject({ code: 'LOAD_FAILED' })
  return error as LoadFailedError
}

/** Advances the clock until `work` is done. */
async function passing<T>(clock: ManualClock, work: Promise<T>): Promise<T> {
  const state = { isOver: false }
  const over = work.finally(() => (state.isOver = true))
  over.catch(() => undefined)
  for (let step = 0; step < 200 && !state.isOver; step += 1) await clock.advance(100)
  return over
}

describe('a load', () => {
  it.each([0, 3, 120])(
    'begins at the first record of a topic that was created again since its plan found nothing: %d records',
    async (count) => {
      const broker = await brokerFor()
      await fill(broker)
      await broker.topic('orders').partition(0).deleteRecords(100)
      const plan = await planLoad(broker, { topics: ['orders'] })
      expect([...plan]).toEqual([])
      await broker.deleteTopic('orders')
      await fill(broker, 'orders', [count])
      await runLoad(plan, new MemorySink())
      expect(await committed(broker)).toBe(0)
      const sink = new MemorySink()
      await runLoad(await planLoad(broker, { topics: ['orders'] }), sink)
      expect(sink.offsets(0)).toEqual(upTo(count))
    },
  )

  it('writes every record to the sink once, and commits its progress', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [100, 40, 0])
    const sink = new MemorySink()
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 30 } })
    const result = await runLoad(plan, sink)
    expect(result).toMatchObject({ tasks: 6, records: 140, rejected: 0, skipped: 0 })
    expect(sink.offsets(0)).toEqual(upTo(100))
    expect(sink.offsets(1)).toEqual(upTo(40))
    expect([
      await committed(broker, 0),
      await committed(broker, 1),
      await committed(broker, 2),
    ]).toEqual([100, 40, 0])
  })

  it('writes all records of a task to a sink that modifies the task and the records it receives', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [10])
    const sink = new MemorySink()
    const changing: Sink = {
      published: (place, fromOffset) => sink.published(place, fromOffset),
      open: async (each) => {
        const writer = await sink.open({ ...each })
        const changed = each as { startOffset: number }
        changed.startOffset = 4
        return {
          write: async (records) => {
            await writer.write(records.map((record) => ({ ...record })))
            for (const record of records as unknown as { offset: number }[]) record.offset += 100
          },
          commit: () => writer.commit(),
          abort: () => writer.abort(),
        }
      },
    }
    await runLoad(await planLoad(broker, { topics: ['orders'] }), changing)
    expect(sink.offsets(0)).toEqual(upTo(10))
    expect(await committed(broker, 0)).toBe(10)
  })

  it('commits its start even if the partition is empty, so that records deleted later are reported as gone', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [0, 0])
    const plan = await planLoad(broker, { topics: ['orders'] })
    expect(plan.tasks).toEqual([])
    await runLoad(LoadPlan.restore(broker, JSON.stringify(plan)), new MemorySink())
    const partition = broker.topic('orders').partition(1)
    for (const value of ['1', '2']) await partition.append({ value })
    await partition.deleteRecords(1)
    await expect(planLoad(broker, { topics: ['orders'] })).rejects.toMatchObject({
      ...{ code: 'RECORDS_GONE', partition: 1, startOffset: 0, endOffset: 1 },
    })
    await broker.deleteTopic('orders')
    expect(await runLoad(plan, new MemorySink())).toMatchObject({ tasks: 0 })
  })

  it('commits no further start of an empty partition once it is aborted', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker, 'orders', [0, 0])
    const plan = await planLoad(broker, { topics: ['orders'] })
    const stop = new AbortController()
    const reason = new Error('that is enough')
    fileSystem.observe(() => {
      stop.abort(reason)
    })
    const { signal } = stop
    await expect(runLoad(plan, new MemorySink(), { signal })).rejects.toBe(reason)
    expect([await committed(broker, 0), await committed(broker, 1)]).toEqual([0, null])
  })

  it('commits its start before its first task, so that records deleted meanwhile are reported as gone', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const plan = await planLoad(broker, { topics: ['orders'] })
    const sink = new MemorySink()
    sink.open = () => Promise.reject(new Error('the process has ended'))
    await failure(runLoad(plan, sink))
    expect(await committed(broker, 0)).toBe(0)
    await broker.topic('orders').partition(0).deleteRecords(10)
    await expect(planLoad(broker, { topics: ['orders'] })).rejects.toMatchObject({
      ...{ code: 'RECORDS_GONE', startOffset: 0, endOffset: 10 },
    })
  })

  it('loads only the records that were appended since the last load', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    await runLoad(await planLoad(broker, { topics: ['orders'] }), sink)
    await broker.topic('orders').partition(0).append({ value: '{}' })
    const next = await planLoad(broker, { topics: ['orders'] })
    expect([...next]).toEqual([task(100, 101)])
    expect(await runLoad(next, sink)).toMatchObject({ tasks: 1, records: 1 })
    expect(sink.offsets()).toEqual(upTo(101))
  })

  it('loads nothing if its plan is done or has no tasks', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 50 } })
    await runLoad(plan, sink)
    expect(await runLoad(plan, sink)).toMatchObject({ tasks: 2, records: 0, skipped: 2 })
    expect(await runLoad(LoadPlan.restore(broker, plan.toJSON()), new MemorySink())).toMatchObject({
      skipped: 2,
    })
    const empty = await planLoad(broker, { topics: ['orders'] })
    expect(await runLoad(empty, sink)).toMatchObject({ tasks: 0, records: 0 })
    expect(sink.offsets()).toEqual(upTo(100))
  })

  it('loads only what the sink does not have, whatever the ranges of earlier tasks were', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    for (const [start, end] of [
      [13, 20],
      [35, 77],
      [95, 100],
    ] as const) {
      sink.tasks.push({ task: task(start, end), offsets: upTo(end, start) })
    }
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 40 } })
    expect(await runLoad(plan, sink, { concurrency: 1 })).toMatchObject({
      tasks: 3,
      records: 100 - 7 - 42 - 5,
    })
    expect(sink.offsets()).toEqual(upTo(100))
    expect(await committed(broker)).toBe(100)
  })

  it('asks the sink once per partition if it already has all tasks, however many there are', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [100, 100])
    const sink = new MemorySink()
    await runLoad(await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 7 } }), sink)
    const asked = vi.spyOn(sink, 'published')
    const splitBy = { maxRecords: 5 }
    const plan = await planLoad(broker, { topics: ['orders'], from: 'earliest', splitBy })
    expect(await runLoad(plan, sink, { concurrency: 1 })).toMatchObject({ tasks: 40, skipped: 40 })
    expect(asked.mock.calls.map(([place]) => place.partition)).toEqual([0, 1])
  })

  it('asks the sink again before it loads a task that others may have loaded in the meantime', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    sink.tasks.push({ task: task(0, 30), offsets: upTo(30) })
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 10 } })
    sink.before = async (what, { startOffset }) => {
      if (what !== 'committed' || startOffset !== 30) return
      await runTask(broker, task(45, 75), sink)
    }
    expect(await runLoad(plan, sink, { concurrency: 1, retries: 0 })).toMatchObject({
      ...{ tasks: 10, skipped: 5, records: 100 - 30 - 30 },
    })
    expect(sink.offsets()).toEqual(upTo(100))
  })

  it('fails the remaining tasks once the sink holds more than the log', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    sink.tasks.push({ task: task(0, 50), offsets: upTo(50) })
    sink.tasks.push({ task: task(90, 100), offsets: upTo(100, 90) })
    const splitBy = { maxRecords: 10 }
    const plan = await planLoad(broker, { topics: ['orders'], until: 50, splitBy })
    const partition = broker.topic('orders').partition(0)
    const onProgress = ({ tasks }: LoadProgress): void => {
      // As after a truncation that takes a while.
      if (tasks === 2) vi.spyOn(partition, 'logEndOffset', 'get').mockReturnValue(80)
    }
    const { failures, result } = await failure(runLoad(plan, sink, { concurrency: 1, onProgress }))
    expect(result).toMatchObject({ tasks: 2, skipped: 2 })
    expect(failures.map(({ error }) => (error as { code: string }).code)).toEqual(
      Array.from({ length: 3 }, () => 'OFFSET_OUT_OF_RANGE'),
    )
  })

  it('loads an explicit range again into a sink that has lost it', async () => {
    const broker = await brokerFor()
    await fill(broker)
    await runLoad(await planLoad(broker, { topics: ['orders'] }), new MemorySink())
    const sink = new MemorySink()
    await runLoad(await planLoad(broker, { topics: ['orders'], from: 20, until: 60 }), sink)
    expect(sink.offsets()).toEqual(upTo(60, 20))
    expect(await committed(broker)).toBe(100)
  })

  it('commits only up to a failed task but runs those after it, and the next load adds what is missing', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    const seen: (number | null)[] = []
    sink.before = async (what, { startOffset }) => {
      if (what === 'open') seen.push(await committed(broker))
      if (what === 'write' && startOffset === 25) throw disk
    }
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 25 } })
    const { failures, result } = await failure(runLoad(plan, sink, { concurrency: 1, retries: 0 }))
    expect(failures).toEqual([{ task: task(25, 50), error: disk }])
    expect(result).toMatchObject({ tasks: 3, records: 75 })
    expect(seen).toEqual([0, 25, 25, 25])
    expect(sink.aborted).toBe(1)
    sink.before = () => undefined
    await runLoad(await planLoad(broker, { topics: ['orders'] }), sink)
    expect(sink.offsets()).toEqual(upTo(100))
    expect(await committed(broker)).toBe(100)
  })

  it('commits nothing beyond a task that its plan lacks, and the next load adds what is missing', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 25 } })
    const partOf = (...starts: readonly number[]): LoadPlan =>
      LoadPlan.restore(broker, {
        ...plan.toJSON(),
        tasks: plan.tasks.filter(({ startOffset }) => starts.includes(startOffset)),
      })
    await runLoad(partOf(50), sink)
    expect(await committed(broker)).toBe(0)
    await runLoad(partOf(0, 75), sink)
    expect(await committed(broker)).toBe(25)
    expect(sink.offsets()).toEqual([...upTo(25), ...upTo(100, 50)])
    expect(await runLoad(plan, sink)).toMatchObject({ tasks: 4, records: 25, skipped: 3 })
    expect(sink.offsets()).toEqual(upTo(100))
    expect(await committed(broker)).toBe(100)
  })

  it('commits the tasks behind deleted records that its plan skips', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    await runLoad(await planLoad(broker, { topics: ['orders'], until: 10 }), sink)
    await broker.topic('orders').partition(0).deleteRecords(35)
    const splitBy = { maxRecords: 25 }
    await runLoad(await planLoad(broker, { topics: ['orders'], whenGone: 'skip', splitBy }), sink)
    expect(await committed(broker)).toBe(100)
  })

  it('retries a task after delays that double', async () => {
    const clock = new ManualClock()
    const broker = await brokerFor(new SimulatedFileSystem(), clock)
    await fill(broker)
    const timers = clock.pendingTimers
    const sink = new MemorySink()
    const triedMs: number[] = []
    sink.before = (what) => {
      if (what !== 'commit') return
      triedMs.push(clock.monotonic())
      if (triedMs.length < 4) throw disk
    }
    const plan = await planLoad(broker, { topics: ['orders'] })
    await passing(clock, runLoad(plan, sink, { retries: 3, clock }))
    const [first = 0] = triedMs
    expect(triedMs.map((ms) => ms - first)).toEqual([0, 100, 300, 700])
    expect(sink.offsets()).toEqual(upTo(100))
    expect(sink.aborted).toBe(3)
    expect(clock.pendingTimers).toBe(timers)
  })

  it('reports which records are gone without a retry, and runs the other tasks', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [100, 20])
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 25 } })
    await broker.topic('orders').partition(0).deleteRecords(60)
    const sink = new MemorySink()
    // One after the other: which of several fails first is not specified.
    const { failures, message } = await failure(runLoad(plan, sink, { concurrency: 1 }))
    expect(failures.map(({ task: { startOffset }, error }) => [startOffset, error])).toEqual([
      [0, expect.objectContaining({ code: 'RECORDS_GONE', startOffset: 0, endOffset: 25 })],
      [25, expect.objectContaining({ code: 'RECORDS_GONE', startOffset: 25, endOffset: 50 })],
      [50, expect.objectContaining({ code: 'RECORDS_GONE', startOffset: 50, endOffset: 60 })],
    ])
    expect(message).toMatch(/3 of 5 tasks failed: orders-0 0 to 25: the records 0 to 25/)
    expect(sink.aborted).toBe(3)
    expect(sink.offsets()).toEqual(upTo(100, 75))
    expect(sink.offsets(1)).toEqual(upTo(20))
    expect([await committed(broker, 0), await committed(broker, 1)]).toEqual([0, 20])
  })

  it('does not retry a task if a package is missing', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    sink.before = (what) => {
      if (what === 'commit') throw new MissingModuleError('some-writer', 'a sink', null)
    }
    const plan = await planLoad(broker, { topics: ['orders'] })
    const { failures } = await failure(runLoad(plan, sink))
    expect(failures).toMatchObject([{ error: { code: 'MISSING_MODULE' } }])
    expect(sink.aborted).toBe(1)
  })

  it('fails a task if records are deleted between two of its reads', async () => {
    const broker = await brokerFor()
    const value = 'x'.repeat(100_000)
    const topic = await broker.createTopic('orders', { segmentBytes: 500_000 })
    for (let each = 0; each < 30; each += 1) await topic.partition(0).append({ value })
    const sink = new MemorySink()
    let writes = 0
    sink.before = async (what) => {
      if (what === 'write' && (writes += 1) === 1) await topic.partition(0).deleteRecords(25)
    }
    const { failures } = await failure(
      runLoad(await planLoad(broker, { topics: ['orders'] }), sink),
    )
    const error = failures[0]?.error as { startOffset: number; endOffset: number }
    expect(error).toMatchObject({ code: 'RECORDS_GONE', endOffset: 25 })
    expect(error.startOffset).toBeGreaterThan(5)
    expect(sink.offsets()).toEqual([])
  })

  it('fails a task whose log is truncated and refilled meanwhile, instead of mixing old and new records', async () => {
    const broker = await brokerFor()
    const value = 'x'.repeat(100_000)
    const topic = await broker.createTopic('orders')
    const { log } = topic.partition(0)
    const fillUp = async (): Promise<void> => {
      while (log.logEndOffset < 30) await topic.partition(0).append({ value })
    }
    await fillUp()
    const sink = new MemorySink()
    let writes = 0
    sink.before = async (what) => {
      if (what !== 'write' || (writes += 1) > 1) return
      await log.truncateTo(1)
      await fillUp()
    }
    const plan = await planLoad(broker, { topics: ['orders'] })
    const { failures } = await failure(runLoad(plan, sink))
    expect(failures).toMatchObject([
      { error: { code: 'OFFSET_OUT_OF_RANGE', message: /from offset 1 on were truncated while/ } },
    ])
    expect([sink.offsets(), sink.aborted]).toEqual([[], 1])
    expect(await committed(broker)).toBe(0)
    await runLoad(await planLoad(broker, { topics: ['orders'] }), sink)
    expect(sink.offsets()).toEqual(upTo(30))
  })

  it('loads exactly its plan while a producer appends', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    sink.before = async () => {
      await broker.topic('orders').partition(0).append({ value: 'more' })
    }
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 7 } })
    await runLoad(plan, sink)
    expect(sink.offsets()).toEqual(upTo(100))
  })

  it.each([1, 3])('runs %i tasks at a time', async (concurrency) => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [50, 50])
    const sink = new MemorySink()
    sink.before = () => new Promise((resolve) => setImmediate(resolve))
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 10 } })
    await runLoad(plan, sink, { concurrency })
    expect(sink.mostOpen).toBe(concurrency)
    expect(sink.offsets(1)).toEqual(upTo(50))
  })

  it('waits for each write to the sink before it reads on', async () => {
    const broker = await brokerFor()
    const topic = await broker.createTopic('orders')
    const value = 'x'.repeat(300_000)
    for (let each = 0; each < 12; each += 1) await topic.partition(0).append({ value })
    const read = vi.spyOn(topic.partition(0), 'read')
    const sink = new MemorySink()
    let writes = 0
    sink.before = async (what) => {
      if (what !== 'write') return
      writes += 1
      await new Promise((resolve) => setImmediate(resolve))
      expect(read).toHaveBeenCalledTimes(writes)
    }
    const plan = await planLoad(broker, { topics: ['orders'], from: 'earliest' })
    // The last few records of a task are requested by their number.
    await runLoad(plan, sink)
    expect(writes).toBeGreaterThan(2)
    expect(sink.offsets()).toEqual(upTo(12))
  })

  it('rejects with the abort reason once its writers are closed, and can be run again', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [50, 50])
    const abort = new AbortController()
    const sink = new MemorySink()
    const reason = new Error('shutting down')
    sink.before = (what, { startOffset }) => {
      if (what === 'write' && startOffset === 20) abort.abort(reason)
    }
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 10 } })
    await expect(runLoad(plan, sink, { concurrency: 2, signal: abort.signal })).rejects.toBe(reason)
    expect(sink.openCount).toBe(0)
    expect(sink.aborted).toBeGreaterThan(0)
    const done = sink.tasks.length
    expect(done).toBeLessThan(10)
    await expect(runLoad(plan, sink, { signal: abort.signal })).rejects.toBe(reason)
    expect(sink.tasks).toHaveLength(done)
    sink.before = () => undefined
    await runLoad(plan, sink)
    expect([sink.offsets(0), sink.offsets(1)]).toEqual([upTo(50), upTo(50)])
  })

  it.each(['runLoad', 'runTask'])(
    'ends with the abort reason once a sink that waits has listened to its signal: %s',
    async (how) => {
      const broker = await brokerFor()
      await fill(broker)
      const abort = new AbortController()
      const reason = new Error('shutting down')
      let aborts = 0
      const hanging: Sink = {
        published: () => Promise.resolve([]),
        open: (_, { signal } = { signal: AbortSignal.abort('no signal was passed') }) =>
          Promise.resolve({
            write: () =>
              new Promise((_resolve, reject) => {
                signal.addEventListener('abort', () => {
                  reject(new Error('cancelled'))
                })
                abort.abort(reason)
              }),
            commit: () => Promise.reject(new Error('not reached')),
            abort: () => Promise.resolve(void (aborts += 1)),
          }),
      }
      const { signal } = abort
      const run =
        how === 'runLoad'
          ? runLoad(await planLoad(broker, { topics: ['orders'] }), hanging, { signal })
          : runTask(broker, task(0, 100), hanging, { signal })
      await expect(run).rejects.toBe(reason)
      expect(aborts).toBe(1)
    },
  )

  it.each([
    ['runLoad', 'never settles'],
    ['runLoad', 'rejects when it is aborted'],
    ['runTask', 'never settles'],
    ['runTask', 'rejects when it is aborted'],
  ])(
    'ends with the abort reason while the sink determines what it holds: %s, %s',
    async (how, what) => {
      const broker = await brokerFor()
      await fill(broker)
      const abort = new AbortController()
      const reason = new Error('shutting down')
      const hanging: Sink = {
        published: (_place, _fromOffset, context) =>
          new Promise((_resolve, reject) => {
            if (what !== 'never settles') {
              context?.signal.addEventListener('abort', () => {
                reject(new Error('cancelled'))
              })
            }
            abort.abort(reason)
          }),
        open: () => Promise.reject(new Error('not reached')),
      }
      const { signal } = abort
      const plan = await planLoad(broker, { topics: ['orders'] })
      const run =
        how === 'runLoad'
          ? runLoad(plan, hanging, { signal })
          : runTask(broker, task(0, 100), hanging, { signal })
      await expect(run).rejects.toBe(reason)
      // No load of this name is left running.
      expect(await runLoad(plan, new MemorySink())).toMatchObject({ records: 100 })
    },
  )

  it('passes every task a signal, which any number of sinks can listen to', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    const sink = new MemorySink()
    const signals: AbortSignal[] = []
    const listening: Sink = {
      published: (place, fromOffset) => sink.published(place, fromOffset),
      open: (each, context) => {
        context?.signal.addEventListener('abort', () => undefined)
        if (context !== undefined) signals.push(context.signal)
        return sink.open(each)
      },
    }
    const splitBy = { maxRecords: 5 }
    await runLoad(await planLoad(broker, { topics: ['orders'], splitBy }), listening)
    expect(signals).toHaveLength(20)
    await runTask(broker, task(100, 101), listening, { maxWaitMs: 0 }).catch(() => undefined)
    await broker.topic('orders').partition(0).append({ value: '{}' })
    await runTask(broker, task(100, 101), listening)
    expect(signals.map(({ aborted }) => aborted)).toEqual(Array(21).fill(false))
    expect(warning).not.toHaveBeenCalled()
    warning.mockRestore()
  })

  it('says that the broker was closed if it was closed during the run', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [10, 10])
    const plan = await planLoad(broker, { topics: ['orders'] })
    const sink = new MemorySink()
    let closing: Promise<void> | null = null
    sink.before = async (what) => {
      if (what === 'commit') await (closing ??= broker.close())
    }
    const { failures } = await failure(runLoad(plan, sink))
    const error = { code: 'CLOSED', message: 'the broker was closed during the load' }
    expect(failures).toMatchObject([{ error }, { error }])
    await expect(runLoad(plan, sink)).rejects.toThrow('the broker is closed')
  })

  it('reports the ClosedError of a sink as it is while the broker is open', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [10])
    const sink = new MemorySink()
    const closed = new ClosedError('the pool is closed')
    sink.before = () => {
      throw closed
    }
    const { failures } = await failure(
      runLoad(await planLoad(broker, { topics: ['orders'] }), sink),
    )
    expect(failures[0]?.error).toBe(closed)
  })

  it('stops waiting for a retry when it is aborted', async () => {
    const clock = new ManualClock()
    const broker = await brokerFor(new SimulatedFileSystem(), clock)
    await fill(broker)
    const timers = clock.pendingTimers
    const abort = new AbortController()
    const sink = new MemorySink()
    sink.before = () => {
      setImmediate(() => {
        abort.abort('enough')
      })
      throw disk
    }
    const plan = await planLoad(broker, { topics: ['orders'] })
    await expect(runLoad(plan, sink, { signal: abort.signal, clock })).rejects.toBe('enough')
    expect(clock.pendingTimers).toBe(timers)
  })

  it('reports its progress, and rejects with what the onProgress callback throws', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [50, 50])
    const seen: LoadProgress[] = []
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 20 } })
    await runLoad(plan, new MemorySink(), { onProgress: (each) => seen.push(each) })
    expect(
      seen.every(({ totalOffsets, totalTasks }) => totalOffsets === 100 && totalTasks === 6),
    ).toBe(true)
    expect(seen.at(-1)).toMatchObject({ offsets: 100, records: 100, tasks: 6 })
    expect(seen.map(({ offsets }) => offsets)).toEqual(
      seen.map(({ offsets }) => offsets).sort((a, b) => a - b),
    )
    const onProgress = (): void => {
      throw disk
    }
    const again = await planLoad(broker, { topics: ['orders'], name: 'other' })
    await expect(runLoad(again, new MemorySink(), { onProgress })).rejects.toBe(disk)
  })

  it('subtracts from its progress what a failed attempt had written', async () => {
    const clock = new ManualClock()
    const broker = await brokerFor(new SimulatedFileSystem(), clock)
    await fill(broker)
    const sink = new MemorySink()
    let commits = 0
    sink.before = (what) => {
      if (what === 'commit' && (commits += 1) === 1) throw disk
    }
    const offsets: number[] = []
    const onProgress = (each: LoadProgress): number => offsets.push(each.offsets)
    const plan = await planLoad(broker, { topics: ['orders'] })
    await passing(clock, runLoad(plan, sink, { clock, onProgress }))
    expect(Math.max(...offsets)).toBe(100)
    expect(offsets.at(-1)).toBe(100)
  })

  it('rejects while another load of its name runs, and on a read-only broker', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker)
    const plan = await planLoad(broker, { topics: ['orders'] })
    const first = runLoad(plan, new MemorySink())
    await expect(runLoad(plan, new MemorySink())).rejects.toMatchObject({ code: 'ILLEGAL_STATE' })
    await first
    const reader = await Broker.open('/varve', { fileSystem, readOnly: true })
    const planned = await planLoad(reader, { topics: ['orders'], from: 'earliest' })
    await expect(runLoad(planned, new MemorySink())).rejects.toMatchObject({ code: 'READ_ONLY' })
    await reader.close()
  })

  it('fails if the sink holds more than the log', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    sink.tasks.push({ task: task(90, 110), offsets: upTo(110, 90) })
    const { failures } = await failure(
      runLoad(await planLoad(broker, { topics: ['orders'] }), sink),
    )
    expect(failures[0]?.error).toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      message: expect.stringMatching(/another topic of the same name/) as string,
    })
  })

  it('fails without opening a task if the sink returns invalid published ranges', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [8])
    const plan = await planLoad(broker, { topics: ['orders'] })
    expect(Object.isFrozen(plan.tasks)).toBe(true)
    const opened: LoadTask[] = []
    const open: Sink['open'] = (each) => {
      opened.push(each)
      return Promise.reject(disk)
    }
    for (const [published, message] of [
      [null, 'must return an array of { startOffset, endOffset }, got null'],
      [[null], 'a published range must be { startOffset, endOffset }, got null'],
      [[{ startOffset: -1, endOffset: 4 }], 'startOffset of a published range must be'],
      [[{ startOffset: 4, endOffset: 0 }], 'must be a whole number from 4 to'],
      [[{ startOffset: 0, endOffset: '4' }], 'must be a number, got "4"'],
    ] as const) {
      const sink = { open, published: () => Promise.resolve(published as never) }
      const { failures } = await failure(runLoad(plan, sink))
      expect(String(failures[0]?.error)).toContain(message)
    }
    expect(opened).toEqual([])
    await broker.close()
  })

  it('fails for an invalid writer or commit result, and does not abort what was committed', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [8])
    const plan = await planLoad(broker, { topics: ['orders'] })
    const published = () => Promise.resolve([])
    for (const writer of [undefined, { write: () => Promise.resolve() }]) {
      const sink = { published, open: () => Promise.resolve(writer as never) }
      const { failures } = await failure(runLoad(plan, sink))
      expect(String(failures[0]?.error)).toContain(
        'must be an object with write(), commit(), abort()',
      )
    }
    for (const result of [undefined, { records: -1, rejected: 0, bytes: 0 }, { records: 8 }]) {
      let aborts = 0
      const writer = {
        write: () => Promise.resolve(),
        commit: () => Promise.resolve(result as never),
        abort: () => Promise.resolve(void (aborts += 1)),
      }
      const sink = { published, open: () => Promise.resolve(writer) }
      const { failures } = await failure(runLoad(plan, sink))
      expect(String(failures[0]?.error)).toMatch(
        /commit\(\) of a sink must return|of a committed task must be/,
      )
      expect(aborts).toBe(0)
    }
    await broker.close()
  })

  it.each<[string, () => Promise<void>]>([
    [
      'throws at once',
      () => {
        throw new Error('nor can it let go')
      },
    ],
    ['is not asynchronous', () => undefined as never],
    ['rejects', () => Promise.reject(new Error('nor can it let go'))],
  ])('reports the first error if the abort of a writer %s', async (_, abort) => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [8])
    const plan = await planLoad(broker, { topics: ['orders'] })
    const writer = {
      write: () => Promise.reject(new Error('the table is gone')),
      commit: () => Promise.reject(new Error('not reached')),
      abort,
    }
    const sink = { published: () => Promise.resolve([]), open: () => Promise.resolve(writer) }
    const { failures } = await failure(runLoad(plan, sink, { retries: 0 }))
    expect(failures[0]?.error).toEqual(new Error('the table is gone'))
    await broker.close()
  })

  it('fails if the log ends before the plan, or the topic is gone', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const json = { name: 'x', resumes: false }
    const long = LoadPlan.restore(broker, { ...json, tasks: [task(50, 200)] })
    const short = await failure(runLoad(long, new MemorySink()))
    expect(short.failures[0]?.error).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', offset: 200 })
    const plan = await planLoad(broker, { topics: ['orders'] })
    await broker.deleteTopic('orders')
    const gone = await failure(runLoad(plan, new MemorySink()))
    expect(gone.failures[0]?.error).toMatchObject({ code: 'UNKNOWN_TOPIC_OR_PARTITION' })
  })

  it.each<[unknown, RegExp]>([
    [{ concurrency: 0 }, /concurrency must be a whole number from 1 to 1000, got 0/],
    [{ retries: -1 }, /retries must be a whole number from 0/],
    [{ signal: 1 }, /signal must be an AbortSignal/],
    [{ onProgres: 1 }, /did you mean 'onProgress'/],
  ])('rejects the options %j', async (options, message) => {
    const broker = await brokerFor()
    await fill(broker)
    const plan = await planLoad(broker, { topics: ['orders'] })
    await expect(runLoad(plan, new MemorySink(), options as object)).rejects.toThrow(message)
    await expect(runLoad(plan, {} as unknown as Sink)).rejects.toThrow(
      /sink must be an object with published\(\), open\(\)/,
    )
    const parsed = JSON.parse(JSON.stringify(plan)) as typeof plan
    await expect(runLoad(parsed, new MemorySink())).rejects.toThrow(
      /plan must be the result of planLoad\(\) or LoadPlan.restore\(\), got an object/,
    )
  })

  it('ends each task at its end offset, even if one read returns more', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [1500], { segmentBytes: 1_000_000, flushMessages: 10_000 })
    const sink = new MemorySink()
    const splitBy = { maxRecords: 700 }
    await runLoad(await planLoad(broker, { topics: ['orders'], splitBy }), sink)
    expect(sink.tasks.map(({ offsets }) => offsets.length).sort()).toEqual([100, 700, 700])
    expect(sink.offsets()).toEqual(upTo(1500))
  })

  it('makes the visible records of a relaxed topic durable before it loads them', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [20], { flushMessages: 1000 })
    const { log } = broker.topic('orders').partition(0)
    expect(broker.topic('orders').partition(0).highWatermark).toBe(20)
    const sink = new MemorySink()
    const durable: number[] = []
    sink.before = (what) => {
      if (what === 'open') durable.push(log.durableEndOffset)
    }
    expect(log.durableEndOffset).toBeLessThan(20)
    await runLoad(await planLoad(broker, { topics: ['orders'] }), sink)
    expect(durable).toEqual([20])
  })

  it('fails the tasks of a partition that cannot be made durable, commits nothing for it, and runs the others', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker, 'orders', [20, 20], { flushMessages: 1000 })
    const sink = new MemorySink()
    const plan = await planLoad(broker, { topics: ['orders'] })
    fileSystem.failNext('datasync', 'EIO', { path: /orders-0/ })
    const failure: unknown = await runLoad(plan, sink, { concurrency: 1, retries: 0 }).catch(
      (error: unknown) => error,
    )
    expect(failure).toMatchObject({ code: 'LOAD_FAILED', result: { tasks: 1, records: 20 } })
    expect(failure).toMatchObject({
      failures: [{ task: { partition: 0 }, error: { code: 'STORAGE_ERROR' } }],
    })
    expect(sink.offsets(0)).toEqual([])
    expect(sink.offsets(1)).toEqual(upTo(20))
    // Not even how far the load may come: the records up to there could be lost with the power.
    expect(broker.describe().groups.flatMap((group) => group.offsets)).toMatchObject([
      { topic: 'orders', partition: 1, offset: 20 },
    ])
  })
})

describe('runTask', () => {
  it('loads a task in a process that only reads, and the next load skips it', async () => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await brokerFor(fileSystem)
    await fill(broker)
    const sink = new MemorySink()
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 40 } })
    const tasks = JSON.parse(JSON.stringify(plan.tasks)) as typeof plan.tasks
    expect(await runTask('/varve', tasks[1] ?? task(0, 1), sink, { fileSystem })).toMatchObject({
      records: 40,
    })
    expect(sink.offsets()).toEqual(upTo(80, 40))
    expect(await committed(broker)).toBe(null)
    expect(await runTask(broker, tasks[1] ?? task(0, 1), sink)).toEqual({
      records: 0,
      rejected: 0,
      bytes: 0,
    })
    expect(await runLoad(plan, sink)).toMatchObject({ tasks: 3, records: 60, skipped: 1 })
    expect(sink.offsets()).toEqual(upTo(100))
    expect(await committed(broker)).toBe(100)
  })

  it('makes the records durable before it loads them if its broker writes the directory', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [20], { flushMessages: 1000 })
    const { log } = broker.topic('orders').partition(0)
    const sink = new MemorySink()
    const durable: number[] = []
    sink.before = (what) => {
      if (what === 'open') durable.push(log.durableEndOffset)
    }
    expect(log.durableEndOffset).toBeLessThan(20)
    await runTask(broker, task(0, 20), sink)
    expect(durable).toEqual([20])
  })

  it('loads a task even if another process has loaded a later one that this process does not see yet', async () => {
    const fileSystem = new SimulatedFileSystem()
    const owner = await brokerFor(fileSystem)
    await fill(owner)
    const worker = await Broker.open('/varve', { fileSystem, readOnly: true })
    for (const id of upTo(200, 100)) {
      await owner
        .topic('orders')
        .partition(0)
        .append({ value: `{"id":${id}}` })
    }
    const sink = new MemorySink()
    await runTask(owner, task(100, 200), sink)
    expect(await runTask(worker, task(0, 100), sink)).toMatchObject({ records: 100 })
    expect(sink.offsets()).toEqual(upTo(200))
    sink.tasks.push({ task: task(200, 210), offsets: upTo(210, 200) })
    await expect(runTask(worker, task(0, 100), sink)).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      logEndOffset: 200,
    })
    await worker.close()
  })

  it('waits for records that the owner has yet to write, for at most maxWaitMs', async () => {
    const fileSystem = new SimulatedFileSystem()
    const clock = new ManualClock()
    const broker = await brokerFor(fileSystem, clock)
    await fill(broker)
    const sink = new MemorySink()
    const waiting = runTask('/varve', task(90, 103), sink, { fileSystem, clock })
    waiting.catch(() => undefined)
    await clock.advance(150)
    await broker
      .topic('orders')
      .partition(0)
      .append([{ value: 'a' }, { value: 'b' }, { value: 'c' }])
    await passing(clock, waiting)
    expect(sink.offsets()).toEqual(upTo(103, 90))
    const late = runTask('/varve', task(90, 200), sink, { fileSystem, clock, maxWaitMs: 300 })
    await expect(passing(clock, late)).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringMatching(
        /orders-0 90 to 200 cannot be loaded: after 300 ms its log is visible only up to offset 103/,
      ) as string,
    })
    const missing = runTask('/varve', { ...task(0, 1), topic: 'no' }, sink, {
      fileSystem,
      clock,
      maxWaitMs: 300,
    })
    await expect(passing(clock, missing)).rejects.toMatchObject({
      code: 'UNKNOWN_TOPIC_OR_PARTITION',
    })
  })

  it('rejects with the abort reason', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const abort = new AbortController()
    const sink = new MemorySink()
    sink.before = (what) => {
      if (what === 'write') abort.abort('enough')
    }
    await expect(runTask(broker, task(0, 100), sink, { signal: abort.signal })).rejects.toBe(
      'enough',
    )
    expect([sink.aborted, sink.tasks.length]).toEqual([1, 0])
    await expect(runTask(broker, task(5, 5), sink)).rejects.toThrow(
      /endOffset of task must be above/,
    )
  })

  it.each([null, 5, {}])('rejects the source %j', async (source) => {
    await expect(runTask(source as never, task(0, 1), new MemorySink())).rejects.toThrow(
      /^source, if not a path, must be an object with topic\(\), consumer\(\), describe\(\), got/,
    )
  })
})
