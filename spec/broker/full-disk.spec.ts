import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const NO_WAIT = { maxWaitMs: 0 }
const ORDERS = { topic: 'orders', partition: 0 }
const NO_ROOM = { code: 'STORAGE_ERROR', outcome: 'not-written', cause: { code: 'ENOSPC' } }

interface Opened {
  readonly fs: SimulatedFileSystem
  readonly clock: ManualClock
  readonly broker: Broker
}

async function open(fs: SimulatedFileSystem): Promise<Opened> {
  const clock = new ManualClock()
  return { fs, clock, broker: await Broker.open('/data', { fileSystem: fs, clock }) }
}

function reader(broker: Broker): Consumer {
  const consumer = broker.consumer({ groupId: 'g', enableAutoCommit: false })
  consumer.assign([ORDERS])
  return consumer
}

async function valuesOf(consumer: Consumer): Promise<string[]> {
  return (await consumer.poll(NO_WAIT)).map(({ value }) => String(value))
}

/** Opens what a process left, on a disk without space even to overwrite bytes with equal ones. */
async function openOnFullDisk(
  whileOpen: (broker: Broker) => Promise<void> = () => Promise.resolve(),
): Promise<Opened> {
  const { fs, broker } = await open(new SimulatedFileSystem({ copyOnWrite: true }))
  await broker.createTopic('orders')
  await broker.createTopic('idle')
  for (const value of ['a', 'b', 'c']) await broker.topic('orders').partition(0).append({ value })
  await whileOpen(broker)
  const next = fs.restart('process')
  next.capacityBytes = 0
  return open(next)
}

describe('a broker that opens on a full copy-on-write disk', () => {
  it('returns the records known to be durable, and rejects appends', async () => {
    const { broker } = await openOnFullDisk()
    const partition = broker.topic('orders').partition(0)
    expect([partition.highWatermark, partition.logEndOffset]).toEqual([2, 3])
    expect(await valuesOf(reader(broker))).toEqual(['a', 'b'])
    expect((await partition.read(0)).map(({ value }) => String(value))).toEqual(['a', 'b'])
    await expect(partition.append({ value: 'x' })).rejects.toMatchObject(NO_ROOM)
    await expect(broker.topic('idle').partition(0).append({ value: 'x' })).rejects.toMatchObject(
      NO_ROOM,
    )
    expect(broker.recovery.damaged).toEqual([])
  })

  it('continues at its end with the first append that finds room, without losing records', async () => {
    const { fs, broker } = await openOnFullDisk()
    const consumer = reader(broker)
    expect(await valuesOf(consumer)).toEqual(['a', 'b'])
    const partition = broker.topic('orders').partition(0)
    await expect(partition.append({ value: 'x' })).rejects.toMatchObject(NO_ROOM)
    fs.capacityBytes = Infinity
    expect(await partition.append({ value: 'd' })).toMatchObject({ baseOffset: 3 })
    expect(await valuesOf(consumer)).toEqual(['c', 'd'])
    await broker.close()
    const again = await open(fs)
    expect(await valuesOf(reader(again.broker))).toEqual(['a', 'b', 'c', 'd'])
  })

  it('makes the other records visible within a minute of room, without an append', async () => {
    const { fs, clock, broker } = await openOnFullDisk()
    const consumer = reader(broker)
    expect(await valuesOf(consumer)).toEqual(['a', 'b'])
    await clock.advance(60_000)
    expect(await valuesOf(consumer)).toEqual([])
    fs.capacityBytes = Infinity
    await clock.advance(60_000)
    expect(await valuesOf(consumer)).toEqual(['c'])
    const after = await open(fs.restart('power', { unsynced: 'lost' }))
    expect(await valuesOf(reader(after.broker))).toEqual(['a', 'b', 'c'])
  })

  it('knows every acknowledged commit, and rejects new commits', async () => {
    const { broker } = await openOnFullDisk(async (first) => {
      const consumer = reader(first)
      await consumer.poll(NO_WAIT)
      for (const offset of [1, 2, 3]) await consumer.commit([{ ...ORDERS, offset }])
    })
    expect(await reader(broker).committed(ORDERS)).toMatchObject({ offset: 3 })
    const refused = reader(broker).commit([{ ...ORDERS, offset: 1 }])
    await expect(refused).rejects.toMatchObject({ cause: { code: 'ENOSPC' } })
  })
})

it('keeps a restored segment after a power loss even if there was no room to record it', async () => {
  let { fs, broker } = await open(new SimulatedFileSystem())
  const topic = await broker.createTopic('orders')
  await topic.partition(0).append([{ value: 'a' }, { value: 'b' }])
  // The first open builds the indexes; later ones leave the log as they find it.
  ;({ fs } = await open(fs.restart('process')))
  fs = fs.restart('process')
  const path = '/data/orders-0/00000000000000000000.log'
  const bytes = fs.readFile(path)
  await fs.unlink(path)
  await fs.syncDirectory('/data/orders-0')
  const file = await fs.open(path, 'create')
  await file.write([bytes], 0)
  await file.close()
  fs.failNext('open', 'ENOSPC', { path: /varve-segments\.tmp$/, persistent: true })
  ;({ broker } = await open(fs))
  expect(await valuesOf(reader(broker))).toEqual(['a', 'b'])
  ;({ broker } = await open(fs.restart('power', { unsynced: 'lost' })))
  expect(broker.recovery.damaged).toEqual([])
  expect(await valuesOf(reader(broker))).toEqual(['a', 'b'])
})
