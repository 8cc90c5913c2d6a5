import { describe, expect, it } from 'vitest'
import { Broker } from '../lib/broker.ts'
import { ManualClock } from '../lib/testing/manual-clock.ts'
import { SeededRandom } from '../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../lib/testing/simulated-file-system.ts'

/** What a workload has sent, and what it was told of it. */
interface Ledger {
  /** Values by partition, in the order in which they were sent. */
  readonly sent: Map<string, string[]>
  /** Acknowledged offset of a value. */
  readonly acknowledged: Map<string, Map<number, string>>
  /** Offset below which everything was deleted on purpose, by partition. */
  readonly deletedBelow: Map<string, number>
  /** Committed offset that was acknowledged, and the highest that was asked for. */
  committed: number
  committing: number
  /** What is known of topics: whether they must, may or must not exist. */
  readonly topics: Map<string, 'yes' | 'maybe' | 'no'>
}

interface Workload {
  readonly name: string
  /** What is there before; runs on a disk that does not fail. */
  readonly prepare?: (broker: Broker, ledger: Ledger) => Promise<void>
  readonly run: (broker: Broker, ledger: Ledger) => Promise<void>
  /** Whether the broker is closed in order before `run` opens it again. @defaultValue true */
  readonly isClean?: boolean
}

const SMALL = { segmentBytes: 300, indexIntervalBytes: 32 }

async function append(broker: Broker, ledger: Ledger, values: string[], index = 0): Promise<void> {
  const partition = broker.topic('orders').partition(index)
  const key = `orders-${index}`
  for (const value of values) {
    ledger.sent.set(key, [...(ledger.sent.get(key) ?? []), value])
    const { baseOffset } = await partition.append({ value })
    const acknowledged = ledger.acknowledged.get(key) ?? new Map<number, string>()
    ledger.acknowledged.set(key, acknowledged.set(baseOffset, value))
  }
}

async function commit(broker: Broker, ledger: Ledger, offset: number): Promise<void> {
  const consumer = broker.consumer({ groupId: 'billing', enableAutoCommit: false })
  consumer.assign([{ topic: 'orders', partition: 0 }])
  ledger.committing = Math.max(ledger.committing, offset)
  await consumer.commit([{ topic: 'orders', partition: 0, offset }])
  ledger.committed = offset
}

async function changeTopic(
  ledger: Ledger,
  name: string,
  outcome: 'yes' | 'no',
  change: () => Promise<unknown>,
): Promise<void> {
  ledger.topics.set(name, 'maybe')
  await change()
  ledger.topics.set(name, outcome)
}

const WORKLOADS: readonly Workload[] = [
  {
    name: 'append',
    run: async (broker, ledger) => {
      await append(broker, ledger, ['c', 'd'])
      await append(broker, ledger, ['e'], 1)
    },
  },
  {
    name: 'append many at once',
    run: async (broker, ledger) => {
      const values = ['c', 'd', 'e', 'f', 'g', 'h', 'i', 'j']
      await Promise.all(values.map((value) => append(broker, ledger, [value])))
    },
  },
  {
    name: 'roll by size',
    run: (broker, ledger) => append(broker, ledger, ['c', 'd', 'e', 'f', 'g', 'h', 'i']),
  },
  {
    name: 'send through a producer',
    run: async (broker, ledger) => {
      const producer = broker.producer({ batchSize: 200 })
      const key = 'orders-0'
      const values = ['c', 'd', 'e', 'f', 'g', 'h']
      ledger.sent.set(key, [...(ledger.sent.get(key) ?? []), ...values])
      const acknowledged = ledger.acknowledged.get(key) ?? new Map<number, string>()
      ledger.acknowledged.set(key, acknowledged)
      await Promise.all(
        values.map(async (value) => {
          const { offset } = await producer.send({ topic: 'orders', partition: 0, value })
          acknowledged.set(offset, value)
        }),
      )
      await producer.close()
    },
  },
  {
    name: 'commit',
    run: async (broker, ledger) => {
      await commit(broker, ledger, 1)
      await commit(broker, ledger, 2)
    },
  },
  {
    name: 'create a topic',
    run: (broker, ledger) =>
      changeTopic(ledger, 'new', 'yes', () => broker.createTopic('new', { partitions: 2 })),
  },
  {
    name: 'delete a topic',
    prepare: async (broker, ledger) => {
      await broker.createTopic('old', { partitions: 2 })
      await broker.topic('old').partition(0).append({ value: 'x' })
      ledger.topics.set('old', 'yes')
    },
    run: (broker, ledger) => changeTopic(ledger, 'old', 'no', () => broker.deleteTopic('old')),
  },
  {
    name: 'add partitions and append to them',
    run: async (broker, ledger) => {
      await broker.topic('orders').addPartitions(3)
      await append(broker, ledger, ['z'], 2)
    },
  },
  {
    name: 'delete records',
    prepare: (broker, ledger) => append(broker, ledger, ['c', 'd', 'e', 'f', 'g', 'h', 'i']),
    run: async (broker, ledger) => {
      ledger.deletedBelow.set('orders-0', 6)
      await broker.topic('orders').partition(0).deleteRecords(6)
      await append(broker, ledger, ['j'])
    },
  },
  {
    name: 'change the configuration',
    run: async (broker, ledger) => {
      await broker.topic('orders').alter({ segmentBytes: 5000 })
      await append(broker, ledger, ['c'])
    },
  },
  {
    name: 'save the recovery point',
    run: async (broker, ledger) => {
      await append(broker, ledger, ['c'])
      await broker.topic('orders').partition(0).log.checkpoint()
      await append(broker, ledger, ['d'])
    },
  },
  {
    name: 'close',
    run: async (broker, ledger) => {
      await append(broker, ledger, ['c'])
      await broker.close()
    },
  },
  {
    name: 'open and recover after an unclean stop',
    isClean: false,
    prepare: (broker, ledger) => append(broker, ledger, ['c', 'd', 'e', 'f', 'g']),
    run: (broker, ledger) => append(broker, ledger, ['h']),
  },
]

function newLedger(): Ledger {
  return {
    sent: new Map(),
    acknowledged: new Map(),
    deletedBelow: new Map(),
    committed: -1,
    committing: -1,
    topics: new Map([['orders', 'yes']]),
  }
}

function cloneLedger(ledger: Ledger): Ledger {
  return {
    ...ledger,
    sent: new Map(ledger.sent),
    acknowledged: new Map([...ledger.acknowledged].map(([key, map]) => [key, new Map(map)])),
    deletedBelow: new Map(ledger.deletedBelow),
    topics: new Map(ledger.topics),
  }
}

function open(fileSystem: SimulatedFileSystem): Promise<Broker> {
  return Broker.open('/data', {
    fileSystem,
    clock: new ManualClock(),
    random: new SeededRandom(7),
  })
}

/** Every promise of the ledger, held against what a broker says. */
async function verify(broker: Broker, ledger: Ledger, trace: string): Promise<void> {
  for (const [name, state] of ledger.topics) {
    const exists = broker.topics().some((topic) => topic.name === name)
    if (state !== 'maybe') expect(exists, `${trace}: topic ${name}`).toBe(state === 'yes')
  }
  for (const partition of broker.topic('orders').partitions) {
    const key = `orders-${partition.index}`
    const sent = ledger.sent.get(key) ?? []
    const deletedBelow = ledger.deletedBelow.get(key) ?? 0
    const found = new Map<number, string>()
    let next = partition.logStartOffset
    expect(next, trace).toBeLessThanOrEqual(deletedBelow)
    for await (const record of partition.records({ until: 'end' })) {
      expect(record.offset, `${trace}: offsets of ${key} are dense`).toBe(next)
      next += 1
      found.set(record.offset, record.value?.toString() ?? '')
    }
    expect(partition.logEndOffset, trace).toBe(next)
    for (const value of found.values()) expect(sent, `${trace}: never sent`).toContain(value)
    expect(new Set(found.values()).size, `${trace}: twice in the log`).toBe(found.size)
    for (const [offset, value] of ledger.acknowledged.get(key) ?? []) {
      if (offset < deletedBelow) continue
      expect(found.get(offset), `${trace}: acknowledged offset ${offset} of ${key}`).toBe(value)
    }
  }
  const consumer = broker.consumer({ groupId: 'billing' })
  const committed = await consumer.committed({ topic: 'orders', partition: 0 })
  const offset = committed?.offset ?? -1
  expect(offset, `${trace}: committed offset`).toBeGreaterThanOrEqual(ledger.committed)
  expect(offset, `${trace}: committed offset`).toBeLessThanOrEqual(ledger.committing)
}

async function prepare(workload: Workload): Promise<{ disk: SimulatedFileSystem; ledger: Ledger }> {
  const disk = new SimulatedFileSystem()
  const ledger = newLedger()
  const broker = await open(disk)
  await broker.createTopic('orders', { partitions: 2, ...SMALL })
  await append(broker, ledger, ['a', 'b'])
  await commit(broker, ledger, 0)
  await workload.prepare?.(broker, ledger)
  if (workload.isClean === false) return { disk: disk.restart('process'), ledger }
  await broker.close()
  return { disk, ledger }
}

/** Runs a workload until the disk dies. @returns whether it did before the end. */
async function runUntilCrash(
  disk: SimulatedFileSystem,
  workload: Workload,
  ledger: Ledger,
): Promise<boolean> {
  try {
    const broker = await open(disk)
    await workload.run(broker, ledger)
  } catch (error) {
    if (!disk.crashed) throw error
  }
  return disk.crashed
}

/** Directories of partitions that no topic has. */
async function strayDirectories(
  fileSystem: SimulatedFileSystem,
  broker: Broker,
): Promise<string[]> {
  const known = broker
    .describe()
    .topics.flatMap(({ name, partitions }) =>
      partitions.map(({ partition }) => `${name}-${partition}`),
    )
  const entries = await fileSystem.list('/data')
  return entries
    .filter(({ kind, name }) => kind === 'directory' && !known.includes(name))
    .map(({ name }) => name)
}

const RESTARTS = [
  ['process', 'kept'],
  ['power', 'lost'],
  ['power', 'random'],
] as const

describe('a crash at any operation of the file system', () => {
  it.each(WORKLOADS)('keeps every promise: $name', async (workload) => {
    const { disk, ledger: start } = await prepare(workload)
    let crashes = 0
    for (let at = 1; ; at += 1) {
      let isEnd = true
      for (const when of ['before', 'after', 'torn'] as const) {
        const fileSystem = disk.fork({ seed: at })
        const ledger = cloneLedger(start)
        fileSystem.crashAt(at, { when })
        if (!(await runUntilCrash(fileSystem, workload, ledger))) continue
        isEnd = false
        crashes += 1
        for (const [kind, unsynced] of RESTARTS) {
          const trace = `crash ${when} operation ${at} (${fileSystem.operations.at(-1) ?? ''}), ${kind}, unsynced ${unsynced}`
          const restarted = fileSystem.restart(kind, { unsynced, seed: at })
          const broker = await open(restarted)
          expect(broker.recovery.damaged, trace).toEqual([])
          await verify(broker, ledger, trace)
          expect(await strayDirectories(restarted, broker), trace).toEqual([])
          // Dropped without closing: what recovery has done must be done for good.
          const twice = restarted.restart('power', { unsynced: 'lost' })
          const files = [...twice.snapshot().keys()]
          const again = await open(twice)
          expect([...twice.snapshot().keys()], `${trace}: files`).toEqual(
            expect.arrayContaining(files),
          )
          expect(again.recovery, trace).toMatchObject({
            truncations: [],
            rebuiltIndexes: [],
            damaged: [],
          })
          await verify(again, ledger, `${trace}, opened twice`)
        }
      }
      if (isEnd) break
    }
    expect(crashes).toBeGreaterThan(30)
  })

  it('keeps every promise when recovery itself is interrupted at any operation', async () => {
    const workload = WORKLOADS.find((each) => each.name === 'append many at once')
    if (workload === undefined) throw new Error('no such workload')
    const { disk, ledger: start } = await prepare(workload)
    let interruptions = 0
    for (let first = 20; first < 60; first += 3) {
      const fileSystem = disk.fork({ seed: first })
      const ledger = cloneLedger(start)
      fileSystem.crashAt(first, { when: 'torn' })
      if (!(await runUntilCrash(fileSystem, workload, ledger))) break
      for (let second = 1; ; second += 1) {
        const restarted = fileSystem.restart('power', { unsynced: 'random', seed: first })
        restarted.crashAt(second, { when: second % 2 === 0 ? 'after' : 'torn' })
        const isOpen = await open(restarted).then(
          () => true,
          () => false,
        )
        if (isOpen && !restarted.crashed) break
        interruptions += 1
        const trace = `crash torn at operation ${first}, then at ${second} of recovery`
        const broker = await open(restarted.restart('power', { unsynced: 'random', seed: second }))
        expect(broker.recovery.damaged, trace).toEqual([])
        await verify(broker, ledger, trace)
      }
    }
    expect(interruptions).toBeGreaterThan(100)
  })

  it('forgets a topic that was being created only when its directories are gone for good', async () => {
    const workload = WORKLOADS.find((each) => each.name === 'create a topic')
    if (workload === undefined) throw new Error('no such workload')
    const { disk } = await prepare(workload)
    let unfinished: SimulatedFileSystem | null = null
    for (let first = 1; ; first += 1) {
      const fileSystem = disk.fork()
      fileSystem.crashAt(first, { when: 'before' })
      if (!(await runUntilCrash(fileSystem, workload, newLedger()))) break
      // The last one makes the topic active: all its directories are there.
      if (/rename .*varve-topics/.test(fileSystem.operations.at(-1) ?? '')) unfinished = fileSystem
    }
    if (unfinished === null) throw new Error('the list of topics was never replaced')
    let interruptions = 0
    for (let second = 1; ; second += 1) {
      const recovering = unfinished.fork().restart('process')
      recovering.crashAt(second, { when: second % 2 === 0 ? 'before' : 'after' })
      const isOpen = await open(recovering).then(
        () => true,
        () => false,
      )
      if (isOpen && !recovering.crashed) break
      interruptions += 1
      for (let seed = 1; seed <= 8; seed += 1) {
        const trace = `crash at operation ${second} of recovery (${recovering.operations.at(-1) ?? ''}), power, seed ${seed}`
        const restarted = recovering.fork().restart('power', { unsynced: 'random', seed })
        const broker = await open(restarted)
        expect(await strayDirectories(restarted, broker), trace).toEqual([])
      }
    }
    expect(interruptions).toBeGreaterThan(20)
  })
})
