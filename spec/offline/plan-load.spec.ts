import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { Broker } from '../../lib/index.ts'
import { LoadPlan, planLoad, type LoadTask, type PlanLoadOptions } from '../../lib/offline/index.ts'
import { splitRange } from '../../lib/offline/split-range.ts'
import { ManualClock, SimulatedFileSystem } from '../../lib/testing/index.ts'
import { brokerFor, fill, task } from './loads.ts'

function thrownBy(call: () => unknown): unknown {
  try {
    return call()
  } catch (error) {
    return error
  }
}

function between(from: number, until: number): Partial<PlanLoadOptions> {
  return { from: { timestamp: from }, until: { timestamp: until } }
}

describe('splitRange', () => {
  const segments = [
    { baseOffset: 0, nextOffset: 100, sizeBytes: 1000 },
    { baseOffset: 100, nextOffset: 110, sizeBytes: 1000 },
    { baseOffset: 150, nextOffset: 200, sizeBytes: 50 },
  ]
  const cut = (start: number, end: number, splitBy: Parameters<typeof splitRange>[1]): number[] => {
    const ranges = splitRange({ startOffset: start, endOffset: end }, splitBy, segments)
    expect(ranges[0]?.startOffset).toBe(start)
    for (const [index, range] of ranges.entries()) {
      expect(range.endOffset).toBeGreaterThan(range.startOffset)
      expect(range.endOffset).toBe(ranges[index + 1]?.startOffset ?? end)
    }
    return ranges.map(({ endOffset }) => endOffset)
  }

  it('keeps the range whole when it splits by partition', () => {
    expect(cut(5, 200, 'partition')).toEqual([200])
  })

  it('splits where segments begin', () => {
    expect(cut(0, 200, 'segment')).toEqual([100, 150, 200])
    expect(cut(100, 150, 'segment')).toEqual([150])
    expect(cut(30, 120, 'segment')).toEqual([100, 120])
  })

  it('splits by a number of offsets', () => {
    expect(cut(0, 10, { maxRecords: 4 })).toEqual([4, 8, 10])
    expect(cut(0, 8, { maxRecords: 4 })).toEqual([4, 8])
    expect(cut(3, 4, { maxRecords: 4 })).toEqual([4])
  })

  it('splits by bytes, within segments and across them', () => {
    expect(cut(0, 200, { maxBytes: 500 })).toEqual([50, 100, 105, 150, 200])
    expect(cut(0, 200, { maxBytes: 10_000 })).toEqual([200])
    expect(cut(0, 100, { maxBytes: 1 })).toHaveLength(100)
    expect(cut(90, 110, { maxBytes: 300 })).toEqual([102, 105, 108, 110])
    // The bytes of segments before the range leave no less space for others.
    expect(cut(105, 110, { maxBytes: 250 })).toEqual([107, 109, 110])
  })

  it('throws if the split would make more than 100,000 tasks', () => {
    const range = { startOffset: 0, endOffset: 1_000_000 }
    expect(() => splitRange(range, { maxRecords: 1 }, [])).toThrow(
      /\{"maxRecords":1\} would make more than 100000 tasks of the offsets 0 to 1000000/,
    )
  })
})

describe('a load plan', () => {
  it('covers the records from the committed offset to the high watermark of that moment', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [100, 0, 30])
    const plan = await planLoad(broker, { topics: ['orders'] })
    expect(plan.name).toBe('varve-load')
    await broker.topic('orders').partition(0).append({ value: 'late' })
    expect([...plan]).toEqual([task(0, 100), task(0, 30, 2)])
    const consumer = broker.consumer({ groupId: 'nightly', enableAutoCommit: false })
    await consumer.commit([{ topic: 'orders', partition: 0, offset: 40 }])
    await consumer.commit([{ topic: 'orders', partition: 2, offset: 30 }])
    expect([...(await planLoad(broker, { topics: ['orders'], name: 'nightly' }))]).toEqual([
      task(40, 101),
    ])
  })

  it.each<[Partial<PlanLoadOptions>, number, number]>([
    [{ from: 'earliest' }, 0, 100],
    [{ from: 20, until: 60 }, 20, 60],
    [{ from: { timestamp: 1025 } }, 25, 100],
    [{ until: { timestamp: 1025 } }, 0, 25],
    [{ from: { timestamp: 1010 }, until: { timestamp: 9999 } }, 10, 100],
  ])('covers the offsets that the options select: %j', async (options, start, end) => {
    const broker = await brokerFor()
    await fill(broker)
    expect([...(await planLoad(broker, { topics: ['orders'], ...options }))]).toEqual([
      task(start, end),
    ])
  })

  it.each<[string, Partial<PlanLoadOptions>, number, number]>([
    ['to the end', {}, 0, 110],
    ['between two times after which no record follows', between(1050, 9999), 50, 110],
    ['between two times that are both after the last look', between(1103, 1108), 103, 108],
    ['between two offsets', { from: 102, until: 107 }, 102, 107],
  ])(
    'covers the records that are visible at the call %s, on a read-only broker that looked before they were appended',
    async (_case, options, start, end) => {
      const fileSystem = new SimulatedFileSystem()
      const owner = await brokerFor(fileSystem)
      await fill(owner)
      const readOnly = { fileSystem, readOnly: true, clock: new ManualClock() }
      await using reader = await Broker.open('/varve', readOnly)
      const partition = owner.topic('orders').partition(0)
      const late = Array.from({ length: 10 }, (_, each) => ({
        value: 'late',
        timestamp: 1100 + each,
      }))
      await partition.append(late)
      const plan = await planLoad(reader, { topics: ['orders'], ...options })
      expect([...plan]).toEqual([task(start, end)])
    },
  )

  describe('of a read-only broker that looked before the owner loaded', () => {
    const END = 110
    const PLACE = { topic: 'orders', partition: 0 }

    interface Brokers {
      readonly fileSystem: SimulatedFileSystem
      readonly owner: Broker
      readonly reader: Broker
      readonly commit: (offset: number) => Promise<void>
    }

    async function brokers(firstCommit: number | null): Promise<Brokers> {
      const fileSystem = new SimulatedFileSystem()
      const owner = await brokerFor(fileSystem)
      await fill(owner, 'orders', [END])
      const consumer = owner.consumer({ groupId: 'varve-load', enableAutoCommit: false })
      const commit = (offset: number): Promise<void> => consumer.commit([{ ...PLACE, offset }])
      if (firstCommit !== null) await commit(firstCommit)
      const readOnly = { fileSystem, readOnly: true, clock: new ManualClock() }
      const reader = await Broker.open('/varve', readOnly)
      onTestFinished(() => reader.close())
      return { fileSystem, owner, reader, commit }
    }

    it.each<[string, number | null, number]>([
      ['', 5, 0],
      [', also if nothing had been committed before', null, 0],
      [' and since deleted', 5, 100],
    ])('leaves out what was loaded%s', async (_case, firstCommit, deletedBefore) => {
      const { owner, reader, commit } = await brokers(firstCommit)
      await commit(100)
      await owner.topic('orders').partition(0).deleteRecords(deletedBefore)
      expect([...(await planLoad(reader, { topics: ['orders'] }))]).toEqual([task(100, END)])
    })

    it('does not reject because of records that are loaded and deleted after the call', async () => {
      const { owner, reader, commit } = await brokers(5)
      const partition = reader.topic('orders').partition(0)
      vi.spyOn(partition, 'offsetForTimestamp').mockImplementation(async () => {
        await commit(100)
        await owner.topic('orders').partition(0).deleteRecords(100)
        await partition.refresh()
        return null
      })
      const plan = await planLoad(reader, { topics: ['orders'], until: { timestamp: 9999 } })
      expect([...plan]).toEqual([task(5, END)])
    })

    it('looks at the committed offsets only if it starts there', async () => {
      const { fileSystem, reader } = await brokers(5)
      const path = '/varve/__consumer_offsets-0'
      fileSystem.failNext('list', 'ENOMEM', { path, persistent: true })
      const plan = (from: PlanLoadOptions['from']): Promise<LoadPlan> =>
        planLoad(reader, { topics: ['orders'], from })
      expect([...(await plan('earliest'))]).toEqual([task(0, END)])
      expect([...(await plan(7))]).toEqual([task(7, END)])
      expect([...(await plan({ timestamp: 0 }))]).toEqual([task(0, END)])
      await expect(plan('committed')).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    })

    it('rejects if the directory of the committed offsets is missing, and says nothing of records', async () => {
      const { fileSystem, owner, reader, commit } = await brokers(5)
      await commit(100)
      await owner.topic('orders').partition(0).deleteRecords(100)
      await fileSystem.rename('/varve/__consumer_offsets-0', '/elsewhere')
      const plan = (): Promise<LoadPlan> => planLoad(reader, { topics: ['orders'] })
      await expect(plan()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
      await fileSystem.rename('/elsewhere', '/varve/__consumer_offsets-0')
      expect([...(await plan())]).toEqual([task(100, END)])
    })
  })

  it.each<Partial<PlanLoadOptions>>([{}, { until: { timestamp: 1500 } }])(
    'covers nothing that is appended after the call: %j',
    async (options) => {
      const broker = await brokerFor()
      await fill(broker, 'orders', [10, 10, 10])
      const planning = planLoad(broker, { topics: ['orders'], ...options })
      const { partitions } = broker.topic('orders')
      await Promise.all(
        partitions.map((each) =>
          each.append([
            { value: 'late', timestamp: 1400 },
            { value: 'late', timestamp: 1600 },
          ]),
        ),
      )
      expect([...(await planning)]).toEqual([task(0, 10), task(0, 10, 1), task(0, 10, 2)])
    },
  )

  it('has no task if its range is empty', async () => {
    const broker = await brokerFor()
    await fill(broker)
    for (const options of [
      { from: 100 },
      { from: 50, until: 50 },
      { from: { timestamp: 99_999 } },
    ]) {
      expect([...(await planLoad(broker, { topics: ['orders'], ...options }))]).toEqual([])
    }
  })

  it('has one task per segment of the log when it splits by segment', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const { segments } = broker.topic('orders').partition(0).log
    expect(segments.length).toBeGreaterThan(2)
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: 'segment' })
    expect([...plan].map(({ startOffset }) => startOffset)).toEqual(
      segments.map(({ baseOffset }) => baseOffset),
    )
  })

  it('splits by the way that is given if the other one is undefined', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const tasksOf = async (splitBy: PlanLoadOptions['splitBy']): Promise<LoadTask[]> => [
      ...(await planLoad(broker, { topics: ['orders'], splitBy })),
    ]
    const maxRecords = undefined as number | undefined
    const bySize = await tasksOf({ maxBytes: 1000 })
    expect(bySize.length).toBeGreaterThan(1)
    expect(await tasksOf({ maxRecords, maxBytes: 1000 })).toEqual(bySize)
    expect(await tasksOf({ maxRecords: 40, maxBytes: maxRecords })).toEqual([
      task(0, 40),
      task(40, 80),
      task(80, 100),
    ])
  })

  it('rejects with RECORDS_GONE if records after the committed offset are gone, unless told to skip them', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const consumer = broker.consumer({ groupId: 'varve-load', enableAutoCommit: false })
    await consumer.commit([{ topic: 'orders', partition: 0, offset: 10 }])
    await broker.topic('orders').partition(0).deleteRecords(35)
    await expect(planLoad(broker, { topics: ['orders'] })).rejects.toMatchObject({
      code: 'RECORDS_GONE',
      topic: 'orders',
      partition: 0,
      startOffset: 10,
      endOffset: 35,
    })
    expect([...(await planLoad(broker, { topics: ['orders'], whenGone: 'skip' }))]).toEqual([
      task(35, 100),
    ])
    expect([...(await planLoad(broker, { topics: ['orders'], name: 'new' }))]).toEqual([
      task(35, 100),
    ])
  })

  it('begins at the first remaining record if records are deleted during the call and may be skipped', async () => {
    const broker = await brokerFor(new SimulatedFileSystem())
    await fill(broker, 'orders', [110])
    const partition = broker.topic('orders').partition(0)
    const consumer = broker.consumer({ groupId: 'varve-load', enableAutoCommit: false })
    await consumer.commit([{ topic: 'orders', partition: 0, offset: 5 }])
    vi.spyOn(partition, 'offsetForTimestamp').mockImplementation(async () => {
      await partition.deleteRecords(100)
      return null
    })
    const until = { timestamp: 9999 }
    const plan = await planLoad(broker, { topics: ['orders'], until, whenGone: 'skip' })
    expect([...plan]).toEqual([task(100, 110)])
  })

  it.each<[unknown, RegExp]>([
    [{}, /topics must be an array of names, got undefined/],
    [{ topics: [] }, /topics must have at least one name, got none/],
    [{ topics: [1] }, /topics\[0\] must be a name, got 1/],
    [{ topics: ['orders', 'orders'] }, /topics has 'orders' twice/],
    [{ topics: ['orders'], form: 1 }, /did you mean 'from'/],
    [{ topics: ['orders'], name: 'a\ud800' }, /must be well-formed Unicode/],
    [{ topics: ['orders'], name: '' }, /name must be a non-empty string, got ""/],
    [
      { topics: ['orders'], from: 101 },
      /from must be from 0 to 100, the range of orders-0, got 101/,
    ],
    [
      { topics: ['orders'], until: 101 },
      /until must be from 0 to 100, the range of orders-0, got 101/,
    ],
    [{ topics: ['orders'], from: 5, until: 2 }, /from must be at most until, which is 2, got 5/],
    [{ topics: ['orders'], from: -1 }, /from must be a whole number from 0/],
    [
      { topics: ['orders'], from: 'latest' },
      /from must be one of "committed", "earliest", got "latest"/,
    ],
    [{ topics: ['orders'], from: {} }, /from must have a timestamp/],
    [
      { topics: ['orders'], until: null },
      /until must be 'end', an offset or \{ timestamp \}, got null/,
    ],
    [{ topics: ['orders'], splitBy: 'topic' }, /splitBy must be one of "partition", "segment"/],
    [{ topics: ['orders'], splitBy: {} }, /splitBy must be 'partition', 'segment'/],
    [{ topics: ['orders'], splitBy: 7 }, /splitBy must be 'partition', 'segment'.*got 7/],
    [
      { topics: ['orders'], splitBy: { maxRecords: 0 } },
      /maxRecords must be a whole number from 1/,
    ],
    [{ topics: ['orders'], splitBy: { maxRecords: 1, maxBytes: 1 } }, /splitBy must be/],
    [{ topics: ['nothing'] }, /nothing/],
  ])('rejects the options %j', async (options, message) => {
    const broker = await brokerFor()
    await fill(broker)
    await expect(planLoad(broker, options as PlanLoadOptions)).rejects.toThrow(message)
    const none = null as unknown as typeof broker
    await expect(planLoad(none, { topics: ['orders'] })).rejects.toThrow('broker must be an object')
  })

  it('can have the longest name that a group can have', async () => {
    const broker = await brokerFor()
    await fill(broker)
    const plan = await planLoad(broker, { topics: ['orders'], name: 'n'.repeat(32_767) })
    expect([...plan]).toEqual([task(0, 100)])
  })

  it('is the same after a round trip through JSON', async () => {
    const broker = await brokerFor()
    await fill(broker, 'orders', [100, 50])
    const plan = await planLoad(broker, { topics: ['orders'], splitBy: { maxRecords: 30 } })
    const restored = LoadPlan.restore(broker, JSON.stringify(plan))
    expect(restored.toJSON()).toEqual(plan.toJSON())
    for (const { tasks } of [plan, plan.toJSON(), restored]) {
      expect(() => Object.assign(tasks[0] ?? {}, { startOffset: 5 })).toThrow('read only')
    }
    expect(LoadPlan.restore(broker, plan.toJSON()).tasks).toEqual(plan.tasks)
    expect(LoadPlan.restore(broker, plan).toJSON()).toEqual(plan.toJSON())
    expect(JSON.stringify(plan)).not.toContain('broker')
  })

  it.each<[unknown, RegExp]>([
    ['', /^a load plan must be JSON, got "": /],
    ['{', /^a load plan must be JSON, got "\{": /],
    ['null', /^a load plan must be a plain object, got null/],
    [{}, /must have name, resumes and tasks, got none/],
    [{ name: 'x', resumes: true, tasks: [], begins: 1 }, /begins must be an array, got 1/],
    [{ name: 'x', resumes: true, tasks: [], begins: [1] }, /begins\[0\] must be a plain object/],
    [
      { name: 'x', resumes: true, tasks: [], begins: [{ topic: 'a', partition: 0 }] },
      /begins\[0\] has no startOffset/,
    ],
    [{ name: 'x', resumes: true, tasks: 1 }, /tasks must be an array, got 1/],
    [{ name: 'x', resumes: true, tasks: [{ topic: 'orders' }] }, /tasks\[0\] has no partition/],
    [
      { name: 'x', resumes: true, tasks: [task(5, 5)] },
      /endOffset of tasks\[0\] must be above startOffset \(5\), got 5/,
    ],
    [
      { name: 'x', resumes: true, tasks: [task(0, 6), task(5, 9)] },
      /tasks\[1\] begins at offset 5 of orders-0, but the task before it ends at 6/,
    ],
  ])('throws when it is restored from %j', async (json, message) => {
    const broker = await brokerFor()
    const error = thrownBy(() => LoadPlan.restore(broker, json as string))
    expect((error as Error).message).toMatch(message)
    expect([TypeError, RangeError]).toContain((error as Error).constructor)
  })
})
