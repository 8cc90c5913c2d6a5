import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PartitionAssignmentStrategy } from '../../lib/broker/assignors/assignor.ts'
import type { TopicPartition } from '../../lib/broker/topic-partition.ts'
import { topicPartitionKey } from '../../lib/broker/topic-partition.ts'
import { Broker } from '../../lib/broker.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const TOPIC = 'orders'
const GROUP = 'billing'

/** A partition as a plain array: the value at each offset, and where it starts. */
interface PartitionModel {
  values: string[]
  startOffset: number
}

interface MemberModel {
  /** Next offset to read, of every partition that the member owns. */
  readonly positions: Map<string, number>
}

interface Model {
  partitions: PartitionModel[]
  committed: Map<string, number>
  members: (MemberModel | null)[]
  sent: number
}

interface Real {
  fileSystem: SimulatedFileSystem
  clock: ManualClock
  broker: Broker
  members: (Consumer<string, string> | null)[]
  strategy: PartitionAssignmentStrategy
}

type BrokerCommand = fc.AsyncCommand<Model, Real>

function openBroker(real: Pick<Real, 'fileSystem' | 'clock'>): Promise<Broker> {
  const { fileSystem, clock } = real
  return Broker.open('/data', { fileSystem, clock, random: new SeededRandom(3) })
}

function keyOf(index: number): string {
  return topicPartitionKey({ topic: TOPIC, partition: index })
}

function startOf(model: Model, tp: TopicPartition): number {
  const start = model.partitions[tp.partition]?.startOffset ?? 0
  const committed = model.committed.get(topicPartitionKey(tp)) ?? start
  // A committed offset whose records were deleted: the reset policy says earliest.
  return committed < start ? start : committed
}

async function expectSame(model: Model, { broker }: Real): Promise<void> {
  const topic = broker.topic(TOPIC)
  expect(topic.partitions).toHaveLength(model.partitions.length)
  for (const [index, expected] of model.partitions.entries()) {
    const partition = topic.partition(index)
    expect(partition.logStartOffset).toBe(expected.startOffset)
    expect(partition.highWatermark).toBe(expected.values.length)
    const values: string[] = []
    for await (const record of partition.records({ until: 'end' })) {
      values.push(record.value?.toString() ?? '')
    }
    expect(values).toEqual(expected.values.slice(expected.startOffset))
  }
}

async function expectCommitted(model: Model, { broker }: Real): Promise<void> {
  const consumer = broker.consumer({ groupId: GROUP })
  for (const index of model.partitions.keys()) {
    const committed = await consumer.committed({ topic: TOPIC, partition: index })
    expect(committed?.offset).toBe(model.committed.get(keyOf(index)))
  }
  await consumer.close()
}

/** Lets the members settle: each must have joined before any gets its partitions. */
async function settle(model: Model, real: Real): Promise<void> {
  for (let round = 0; round < 8; round += 1) {
    for (const slot of real.members.keys()) await pollMember(model, real, slot)
  }
}

async function pollMember(model: Model, real: Real, slot: number): Promise<void> {
  const consumer = real.members[slot]
  const member = model.members[slot]
  if (consumer == null || member == null) return
  for (const record of await consumer.poll({ maxWaitMs: 0 })) {
    const key = topicPartitionKey(record)
    expect(record.offset, `next offset of ${key}`).toBe(member.positions.get(key))
    expect(record.value).toBe(model.partitions[record.partition]?.values[record.offset])
    member.positions.set(key, record.offset + 1)
  }
}

function join(model: Model, real: Real, slot: number): void {
  const consumer = real.broker.consumer<string, string>({
    groupId: GROUP,
    enableAutoCommit: false,
    maxPollRecords: 3,
    partitionAssignmentStrategy: real.strategy,
    valueDeserializer: { deserialize: (_topic, bytes) => bytes.toString() },
  })
  const member: MemberModel = { positions: new Map() }
  const drop = (partitions: readonly TopicPartition[]): void => {
    for (const tp of partitions) member.positions.delete(topicPartitionKey(tp))
  }
  consumer.subscribe([TOPIC], {
    onPartitionsAssigned: (partitions) => {
      for (const tp of partitions) {
        const key = topicPartitionKey(tp)
        for (const other of model.members) {
          expect(other?.positions.has(key) ?? false, `${key} has two owners`).toBe(false)
        }
        member.positions.set(key, startOf(model, tp))
      }
    },
    onPartitionsRevoked: drop,
    onPartitionsLost: drop,
  })
  real.members[slot] = consumer
  model.members[slot] = member
}

/** One step: a name for the report, and what it does to the model and to the broker. */
function command(
  name: string,
  run: (model: Model, real: Real) => Promise<void>,
  check: (model: Readonly<Model>) => boolean = () => true,
): BrokerCommand {
  return { check, run, toString: () => name }
}

const anyPartition = fc.nat(3)
const anyMember = fc.nat(2)

const append = fc.tuple(anyPartition, fc.integer({ min: 1, max: 5 })).map(([at, count]) =>
  command(`append(${at}, ${count})`, async (model, { broker }) => {
    const index = at % model.partitions.length
    const partition = model.partitions[index]
    if (partition === undefined) return
    const values = Array.from({ length: count }, (_, each) => `v${model.sent + each}`)
    model.sent += count
    const result = await broker
      .topic(TOPIC)
      .partition(index)
      .append(values.map((value) => ({ value })))
    expect(result.baseOffset).toBe(partition.values.length)
    partition.values.push(...values)
  }),
)

const send = fc.integer({ min: 1, max: 8 }).map((count) =>
  command(`send(${count})`, async (model, { broker }) => {
    const producer = broker.producer({ batchSize: 120 })
    const sends = Array.from({ length: count }, (_, each) => {
      const value = `v${model.sent + each}`
      return producer.send({ topic: TOPIC, key: `key ${each % 3}`, value }).then((metadata) => ({
        value,
        ...metadata,
      }))
    })
    model.sent += count
    for (const { partition, offset, value } of await Promise.all(sends)) {
      const expected = model.partitions[partition]
      expect(offset).toBe(expected?.values.length)
      expected?.values.push(value)
    }
    await producer.close()
  }),
)

const read = fc.tuple(anyPartition, fc.nat(30)).map(([at, offset]) =>
  command(`read(${at}, ${offset})`, async (model, { broker }) => {
    const index = at % model.partitions.length
    const { values, startOffset } = model.partitions[index] ?? { values: [], startOffset: 0 }
    const reading = broker.topic(TOPIC).partition(index).read(offset, { maxBytes: 200 })
    if (offset < startOffset || offset > values.length) {
      await expect(reading).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
      return
    }
    const found = (await reading).map((record) => record.value?.toString())
    expect(found).toEqual(values.slice(offset, offset + found.length))
    expect(found.length > 0).toBe(offset < values.length)
  }),
)

const fetchAtEnd = anyPartition.map((at) =>
  command(`fetch at the end of ${at}, then append`, async (model, { broker }) => {
    const index = at % model.partitions.length
    const expected = model.partitions[index]
    if (expected === undefined) return
    const partition = broker.topic(TOPIC).partition(index)
    const waiting = partition.fetch(expected.values.length, { maxWaitMs: 60_000 })
    const value = `v${model.sent}`
    model.sent += 1
    await partition.append({ value })
    expect((await waiting).map((record) => record.value?.toString())).toEqual([value])
    expected.values.push(value)
  }),
)

const maintain = fc
  .tuple(anyPartition, fc.constantFrom('roll' as const, 'flush' as const, 'checkpoint' as const))
  .map(([at, name]) =>
    command(`${name}(${at})`, async (model, { broker }) => {
      await broker
        .topic(TOPIC)
        .partition(at % model.partitions.length)
        .log[name]()
    }),
  )

const deleteRecords = fc
  .tuple(anyPartition, fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([at, share]) =>
    command(`deleteRecords(${at}, ${share})`, async (model, { broker }) => {
      const index = at % model.partitions.length
      const expected = model.partitions[index]
      if (expected === undefined) return
      const offset = Math.round(share * expected.values.length)
      await broker.topic(TOPIC).partition(index).deleteRecords(offset)
      expected.startOffset = Math.max(expected.startOffset, offset)
      for (const member of model.members) {
        const position = member?.positions.get(keyOf(index))
        // Out of range: the reset policy says earliest.
        if (position !== undefined && position < expected.startOffset) {
          member?.positions.set(keyOf(index), expected.startOffset)
        }
      }
    }),
  )

const addPartition = fc.constant(
  command(
    'add a partition',
    async (model, real) => {
      await real.broker.topic(TOPIC).addPartitions(model.partitions.length + 1)
      model.partitions.push({ values: [], startOffset: 0 })
      await settle(model, real)
    },
    (model) => model.partitions.length < 4,
  ),
)

const joinOrLeave = anyMember.map((slot) =>
  command(`member ${slot} joins or leaves`, async (model, real) => {
    const consumer = real.members[slot]
    if (consumer == null) {
      join(model, real, slot)
    } else {
      await consumer.close()
      real.members[slot] = null
      model.members[slot] = null
    }
    await settle(model, real)
    const owned = model.members.flatMap((member) => [...(member?.positions.keys() ?? [])])
    const isAnybodyThere = model.members.some((member) => member !== null)
    expect(owned.sort()).toEqual(isAnybodyThere ? [...model.partitions.keys()].map(keyOf) : [])
  }),
)

const poll = anyMember.map((slot) =>
  command(`poll(${slot})`, (model, real) => pollMember(model, real, slot)),
)

const commit = anyMember.map((slot) =>
  command(
    `commit(${slot})`,
    async (model, real) => {
      await real.members[slot]?.commit()
      for (const [key, position] of model.members[slot]?.positions ?? []) {
        model.committed.set(key, position)
      }
    },
    (model) => model.members[slot] != null && model.members[slot].positions.size > 0,
  ),
)

const seek = fc.tuple(anyMember, fc.double({ min: 0, max: 1, noNaN: true })).map(([slot, share]) =>
  command(`seek(${slot}, ${share})`, (model, real) => {
    const member = model.members[slot]
    const consumer = real.members[slot]
    const tp = consumer?.assignment()[0]
    if (member != null && tp !== undefined) {
      const { values, startOffset } = model.partitions[tp.partition] ?? {
        values: [],
        startOffset: 0,
      }
      const offset = startOffset + Math.round(share * (values.length - startOffset))
      consumer?.seek(tp, offset)
      member.positions.set(topicPartitionKey(tp), offset)
    }
    return Promise.resolve()
  }),
)

async function reopen(model: Model, real: Real): Promise<void> {
  model.members = [null, null, null]
  real.members = [null, null, null]
  real.broker = await openBroker(real)
  expect(real.broker.recovery.damaged).toEqual([])
  await expectSame(model, real)
  await expectCommitted(model, real)
}

const closeAndReopen = fc.constant(
  command('close and reopen', async (model, real) => {
    await real.broker.close()
    await reopen(model, real)
    expect(real.broker.recovery).toMatchObject({
      cleanShutdown: true,
      truncations: [],
      rebuiltIndexes: [],
    })
  }),
)

const crashAndReopen = fc
  .tuple(fc.constantFrom('process' as const, 'power' as const), fc.nat(1000))
  .map(([kind, seed]) =>
    command(`crash(${kind}, ${seed})`, async (model, real) => {
      real.fileSystem = real.fileSystem.restart(kind, { unsynced: 'random', seed })
      await reopen(model, real)
    }),
  )

const steps = [
  append,
  send,
  read,
  fetchAtEnd,
  maintain,
  deleteRecords,
  addPartition,
  joinOrLeave,
  poll,
  poll,
  commit,
  seek,
  closeAndReopen,
  crashAndReopen,
]

describe('a broker', () => {
  it.each(['range', 'cooperative-sticky'] as const)(
    'agrees with plain arrays, whatever is done to it, with %s assignment',
    async (strategy) => {
      await fc.assert(
        fc.asyncProperty(fc.commands(steps, { maxCommands: 20 }), async (sequence) => {
          await fc.asyncModelRun(async () => {
            const setup = { fileSystem: new SimulatedFileSystem(), clock: new ManualClock() }
            const broker = await openBroker(setup)
            await broker.createTopic(TOPIC, {
              partitions: 2,
              segmentBytes: 400,
              indexIntervalBytes: 40,
            })
            const partition = (): PartitionModel => ({ values: [], startOffset: 0 })
            return {
              model: {
                partitions: [partition(), partition()],
                committed: new Map<string, number>(),
                members: [null, null, null],
                sent: 0,
              },
              real: { ...setup, broker, members: [null, null, null], strategy },
            }
          }, sequence)
        }),
        { numRuns: Number(process.env['VARVE_MODEL_RUNS'] ?? 2000) / 2 },
      )
    },
    240_000,
  )
})
