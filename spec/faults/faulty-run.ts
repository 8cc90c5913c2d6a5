import { expect } from 'vitest'
import type { Broker } from '../../lib/broker.ts'
import { VarveError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { open, settled, SMALL, tell, valuesIn, type Told, type Workload } from './workloads.ts'

/** Matches a line of the operation log that reports a failed sync. */
export const FAILED_SYNC: RegExp = /^#\d+ (sync|datasync|syncDirectory) .* ! /

/** A directory before a workload, and the records in it. */
export interface Start {
  readonly disk: SimulatedFileSystem
  readonly told: Told
}

/** Fills a directory with the records that every workload starts from. */
export async function prepare(workload: Workload): Promise<Start> {
  const disk = new SimulatedFileSystem()
  const told: Told = new Map()
  const broker = await open(disk)
  await broker.createTopic('orders', { partitions: 2, ...SMALL })
  await broker.createTopic('old')
  for (const value of ['a', 'b']) {
    const { baseOffset } = await broker.topic('orders').partition(0).append({ value })
    told.set(value, baseOffset)
  }
  await broker.topic('orders').partition(1).append({ value: 'neighbour' })
  const consumer = broker.consumer({ groupId: 'billing', enableAutoCommit: false })
  consumer.assign([{ topic: 'orders', partition: 0 }])
  await consumer.commit([{ topic: 'orders', partition: 0, offset: 0 }])
  if (workload.isClean === false) return { disk: disk.restart('process'), told }
  await broker.close()
  return { disk, told }
}

/** Compares the content of a log with what its senders were told. */
export function verify(values: readonly string[], told: Told, trace: string): void {
  const acknowledged = [...told].filter(([, place]) => typeof place === 'number')
  for (const [value, offset] of acknowledged) {
    expect(values[Number(offset)], `${trace}: acknowledged '${value}'`).toBe(value)
  }
  for (const [value, place] of told) {
    if (place === 'not-written') expect(values, `${trace}: not written`).not.toContain(value)
  }
  expect(new Set(values).size, `${trace}: twice in the log`).toBe(values.length)
  const order = [...told.keys()]
  const slots = values.map((value) => order.indexOf(value))
  expect(slots, `${trace}: never sent, or out of order`).toEqual(
    [...slots].filter((slot) => slot >= 0).sort((left, right) => left - right),
  )
}

/** Checks values that were sent concurrently: none may be present if an earlier one is missing. */
export function verifyNoHole(values: readonly string[], told: Told, trace: string): void {
  const sent = [...told.keys()]
  const found = sent.filter((value) => values.includes(value))
  expect(found, `${trace}: a hole`).toEqual(sent.slice(0, found.length))
}

/** Runs a workload on a disk that fails as ordered. @returns the number of calls. */
export async function runFaulty(
  { disk, workload, told }: { disk: SimulatedFileSystem; workload: Workload; told: Told },
  order: (disk: SimulatedFileSystem) => void,
): Promise<{ broker: Broker; count: number }> {
  const clock = new ManualClock()
  const broker = await settled(open(disk, clock), clock)
  const { operationCount } = disk
  order(disk)
  try {
    await settled(workload.run(broker, told), clock)
  } catch (error) {
    if (!(error instanceof VarveError)) throw error
  }
  return { broker, count: disk.operationCount - operationCount }
}

/** Checks that the broker continues after the fault, without being reopened. */
export async function verifyGoesOn(
  broker: Broker,
  told: Told,
  trace: string,
  isSyncLost: boolean,
): Promise<void> {
  const partition = broker.topic('orders').partition(0)
  verify(await valuesIn(broker), told, trace)
  await broker
    .topic('orders')
    .partition(1)
    .append({ value: `more ${trace}` })
  if (partition.log.failure !== null) {
    expect(isSyncLost, `${trace}: takes no more writes`).toBe(true)
  }
  await tell(
    told,
    'after',
    partition.append({ value: 'after' }).then(({ baseOffset }) => baseOffset),
  )
  if (partition.log.failure === null) {
    expect(told.get('after'), `${trace}: goes on`).toBeTypeOf('number')
  } else {
    expect(told.get('after'), trace).toBe('not-written')
  }
  verify(await valuesIn(broker), told, trace)
}

/**
 * Checks that the next owner finds what was acknowledged, and nothing that only the page cache
 * holds.
 *
 * @returns what it finds.
 */
export async function verifyReopened(
  disk: SimulatedFileSystem,
  told: Told,
  trace: string,
): Promise<string[]> {
  const clock = new ManualClock()
  const broker = await settled(open(disk, clock), clock)
  expect(broker.recovery.damaged, trace).toEqual([])
  const seen = await valuesIn(broker)
  verify(seen, told, trace)
  const { baseOffset } = await broker.topic('orders').partition(0).append({ value: 'reopened' })
  expect(baseOffset, trace).toBe(seen.length)
  expect(await valuesIn(broker, 1), trace).toContain('neighbour')
  const topics = topicsOf(broker)
  // What was visible is on the disk, whatever the page cache holds.
  disk.evictPageCache()
  for (const kind of ['process', 'power'] as const) {
    const later = await open(disk.fork().restart(kind, { unsynced: 'lost' }))
    expect(later.recovery.damaged, trace).toEqual([])
    expect(await valuesIn(later), `${trace}, then ${kind}`).toEqual([...seen, 'reopened'])
    expect(topicsOf(later), `${trace}, then ${kind}`).toEqual(topics)
  }
  return seen
}

function topicsOf(broker: Broker): string[] {
  return broker.topics().map(({ name, partitions }) => `${name} ${partitions.length}`)
}
