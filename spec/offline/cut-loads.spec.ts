import { describe, expect, it, onTestFinished } from 'vitest'
import { Broker, type Partition } from '../../lib/index.ts'
import {
  LoadFailedError,
  planLoad,
  runLoad,
  runTask,
  type LoadResult,
  type LoadTask,
  type PlanLoadOptions,
  type TaskWriter,
} from '../../lib/offline/index.ts'
import { ManualClock, SimulatedFileSystem } from '../../lib/testing/index.ts'
import { brokerFor, committed, fill, MemorySink, task, upTo } from './loads.ts'

const CUT_OFF = { code: 'OFFSET_OUT_OF_RANGE', offset: 100 }

async function load(
  broker: Broker,
  sink: MemorySink,
  options: Partial<PlanLoadOptions> = {},
): Promise<LoadResult> {
  return runLoad(await planLoad(broker, { topics: ['orders'], ...options }), sink)
}

async function failuresOf(loading: Promise<LoadResult>): Promise<readonly unknown[]> {
  const error = await loading.then(
    () => null,
    (reason: unknown) => reason,
  )
  return error instanceof LoadFailedError ? error.failures.map((each) => each.error) : [error]
}

function partitionOf(broker: Broker): Partition {
  return broker.topic('orders').partition(0)
}

/** Truncates the log and lets it grow again, up to `end`. */
async function cut(partition: Partition, at = 50, end = 120): Promise<void> {
  await partition.log.truncateTo(at)
  for (const id of upTo(end, at)) await partition.append({ value: `{"new":${id}}` })
}

describe('a load from a log that is truncated', () => {
  it.each(['in the same process', 'after another open'])(
    'fails while the sink holds truncated records, and skips none in their place: %s',
    async (when) => {
      const fileSystem = new SimulatedFileSystem()
      let broker = await brokerFor(fileSystem)
      await fill(broker)
      const sink = new MemorySink()
      await load(broker, sink, { splitBy: { maxRecords: 20 } })
      await cut(partitionOf(broker))
      if (when.includes('open')) {
        await broker.close()
        broker = await Broker.open(broker.dir, { fileSystem })
      }
      const plan = await planLoad(broker, { topics: ['orders'] })
      expect([...plan]).toEqual([task(50, 120)])
      for (const options of [{}, { from: 'earliest' }, { from: 100 }] as const) {
        const failures = await failuresOf(load(broker, sink, options))
        expect(failures).toMatchObject([CUT_OFF])
        expect(String(failures[0])).toMatch(
          /records 50 to 100 \(exclusive\) of orders-0 were truncated/,
        )
      }
      expect(await committed(broker)).toBe(50)
      const kept = sink.tasks.filter((each) => each.task.endOffset <= 40)
      sink.tasks.splice(0, Infinity, ...kept)
      await load(broker, sink, { from: 40, splitBy: { maxRecords: 30 } })
      expect(sink.offsets()).toEqual(upTo(120))
      expect(await committed(broker)).toBe(120)
      await partitionOf(broker).append({ value: '{"new":120}' })
      expect(await load(broker, sink)).toMatchObject({ records: 1 })
      await broker.close()
    },
  )

  it('treats records below a truncation inside their batch as a gap', async () => {
    const broker = await brokerFor()
    const partition = (await broker.createTopic('orders')).partition(0)
    await partition.append(upTo(100).map((id) => ({ value: `{"id":${id}}` })))
    const sink = new MemorySink()
    const plan = await planLoad(broker, { topics: ['orders'] })
    await cut(partition)
    expect(await runLoad(plan, sink)).toMatchObject({ tasks: 1, records: 50 })
    expect(sink.offsets()).toEqual(upTo(100, 50))
  })

  it('fails if records are truncated while a task commits them, and so does the next load', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    let isCut = false
    sink.before = async (what) => {
      if (what !== 'commit' || isCut) return
      isCut = true
      await cut(partitionOf(broker))
    }
    expect(await failuresOf(load(broker, sink))).toMatchObject([CUT_OFF])
    expect(await committed(broker)).toBe(50)
    expect(await failuresOf(load(broker, sink))).toMatchObject([CUT_OFF])
    expect(await committed(broker)).toBe(50)
    sink.tasks.splice(0)
    await load(broker, sink, { from: 'earliest' })
    expect(sink.offsets()).toEqual(upTo(120))
  })

  it.each(['it was killed before', 'a task before them had failed'])(
    'fails if the sink holds truncated records, even if they were never committed: %s',
    async (why) => {
      const broker = await brokerFor()
      await fill(broker)
      const sink = new MemorySink()
      // A task that fails after its records are in the sink is like one whose process was killed
      // then.
      const failing = why.startsWith('a task') ? 'commit' : 'committed'
      sink.before = (what, each) => {
        if (what === failing && each.startOffset === 0) throw new Error('no room')
      }
      const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 50 } })
      const options = { retries: 0, concurrency: 1 }
      expect(await failuresOf(runLoad(plan, sink, options))).toMatchObject([{ message: 'no room' }])
      sink.before = () => undefined
      expect(await committed(broker)).toBe(0)
      await cut(partitionOf(broker), 30)
      for (const from of ['committed', 0, 60] as const) {
        expect(await failuresOf(load(broker, sink, { from }))).toMatchObject([CUT_OFF])
      }
      sink.tasks.splice(0)
      await load(broker, sink)
      expect(sink.offsets()).toEqual(upTo(120))
      expect(await load(broker, sink)).toMatchObject({ tasks: 0 })
    },
  )

  it('names all records that the sink may hold if the log is truncated a second time', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    await load(broker, sink, { splitBy: { maxRecords: 10 } })
    await cut(partitionOf(broker))
    // They end in an order that depends on the event loop.
    sink.tasks.sort((left, right) => left.task.startOffset - right.task.startOffset)
    sink.tasks.splice(5)
    sink.before = (what) => {
      if (what === 'open') throw new Error('down')
    }
    const plan = await planLoad(broker, { topics: ['orders'] })
    expect(await failuresOf(runLoad(plan, sink, { retries: 0 }))).toMatchObject([
      { message: 'down' },
    ])
    sink.before = () => undefined
    await cut(partitionOf(broker), 30)
    expect(await failuresOf(load(broker, sink))).toMatchObject([
      { message: expect.stringMatching(/records 30 to 120 \(exclusive\)/) as string },
    ])
    sink.tasks.splice(3)
    await load(broker, sink)
    expect(sink.offsets()).toEqual(upTo(120))
  })

  it('fails if records that were loaded again after a truncation are truncated as well', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    await load(broker, sink)
    await partitionOf(broker).log.truncateTo(50)
    sink.tasks.splice(0)
    await load(broker, sink, { from: 'earliest' })
    await cut(partitionOf(broker), 10)
    expect(await failuresOf(load(broker, sink))).toMatchObject([
      { code: 'OFFSET_OUT_OF_RANGE', offset: 50 },
    ])
    sink.tasks.splice(0)
    await load(broker, sink, { from: 'earliest' })
    expect(sink.offsets()).toEqual(upTo(120))
  })

  it('does not load records that have replaced planned ones during the run', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const sink = new MemorySink()
    let isCut = false
    sink.before = async (what, { startOffset }) => {
      if (isCut || what !== 'open' || startOffset !== 20) return
      isCut = true
      await cut(partitionOf(broker), 30)
    }
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 20 } })
    const failures = await failuresOf(runLoad(plan, sink, { concurrency: 1 }))
    expect(failures).toMatchObject(Array.from({ length: 4 }, () => ({ code: CUT_OFF.code })))
    expect(sink.offsets()).toEqual(upTo(20))
    expect(await committed(broker)).toBe(20)
    await load(broker, sink)
    expect(sink.offsets()).toEqual(upTo(120))
  })
})

/** A sink that notes the values that it is given. */
class ValueSink extends MemorySink {
  readonly values: string[] = []

  override async open(each: LoadTask): Promise<TaskWriter> {
    const writer = await super.open(each)
    return {
      ...writer,
      write: async (records) => {
        this.values.push(...records.map(({ value }) => String(value)))
        await writer.write(records)
      },
    }
  }
}

/** An owner with 100 records, and a worker that has read the last of them and looked again since. */
async function ownerAndWorker(): Promise<{ owner: Broker; worker: Broker; sink: ValueSink }> {
  const fileSystem = new SimulatedFileSystem()
  const clock = new ManualClock()
  const owner = await brokerFor(fileSystem, clock)
  await fill(owner)
  const worker = await Broker.open(owner.dir, { fileSystem, clock, readOnly: true })
  onTestFinished(() => worker.close())
  await partitionOf(worker).read(99)
  await clock.advance(100)
  return { owner, worker, sink: new ValueSink() }
}

function values(end: number, start: number, name = 'id'): string[] {
  return upTo(end, start).map((id) => `{"${name}":${id}}`)
}

describe('a task on a read-only broker that last looked before its owner has changed the log', () => {
  it.each([
    ['behind the place of a truncation', 95, 100],
    ['across the place of a truncation', 0, 100],
    ['up to the new end', 0, 120],
  ])('loads the records that are there now: %s', async (_where, start, end) => {
    const { owner, worker, sink } = await ownerAndWorker()
    await cut(partitionOf(owner), 30)
    await runTask(worker, task(start, end), sink, { maxWaitMs: 0 })
    const kept = values(Math.max(30, start), start)
    expect(sink.values).toEqual([...kept, ...values(end, Math.max(30, start), 'new')])
  })

  it('needs no wait for what the owner has appended', async () => {
    const { owner, worker, sink } = await ownerAndWorker()
    await partitionOf(owner).append({ value: '{"new":100}' })
    await runTask(worker, task(99, 101), sink, { maxWaitMs: 0 })
    expect(sink.values).toEqual(['{"id":99}', '{"new":100}'])
  })

  it.each([
    ['grown again', 120],
    ['not grown again', 95],
  ])('fails if the owner truncates the log while it loads, and the log has %s', async (_, end) => {
    const { owner, worker, sink } = await ownerAndWorker()
    sink.before = async (what) => {
      if (what === 'write') await cut(partitionOf(owner), 95, end)
    }
    await expect(runTask(worker, task(90, 100), sink)).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
    })
    expect([sink.aborted, sink.tasks.length]).toEqual([1, 0])
  })
})
