import { afterEach, describe, expect, it, vi } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { ClosedError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { watch } from '../client/consumer-harness.ts'
import { holdTurns } from '../helpers/held-turns.ts'
import { openPartition } from '../helpers/partitions.ts'
import { settle } from '../helpers/settle.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

async function takeAll(records: AsyncIterable<{ readonly offset: number }>): Promise<number[]> {
  const offsets: number[] = []
  for await (const { offset } of records) offsets.push(offset)
  return offsets
}

/** A partition of ten batches of a record each. */
async function filled(options: Parameters<typeof openPartition>[0] = {}): Promise<Partition> {
  const partition = await openPartition(options)
  for (let each = 0; each < 10; each += 1) await partition.append({ value: `v${each}` })
  return partition
}

describe('a call that need not wait for anything', () => {
  it.each([
    [
      'records at the end',
      (partition: Partition) => takeAll(partition.records({ from: 'latest', until: 'end' })),
    ],
    [
      'records of batches of one',
      (partition: Partition) => takeAll(partition.records({ until: 'end' })),
    ],
    ['records in reverse', (partition: Partition) => takeAll(partition.records({ reverse: true }))],
    ['readLast', (partition: Partition) => partition.readLast(3)],
    ['offsetForTimestamp', (partition: Partition) => partition.offsetForTimestamp(9e15)],
    ['append with acks 0', (partition: Partition) => partition.append({ value: 'x' }, { acks: 0 })],
  ])('lets the event loop turn: %s', async (_name, call) => {
    const partition = await filled()
    const expected = await call(partition)
    const turns = holdTurns()
    const called = watch(call(partition) as Promise<unknown>)
    await settle()
    expect(called.isSettled).toBe(false)
    turns.release()
    await settle()
    expect(called.value).toEqual(expected)
  })

  it('lets the event loop turn: readLast of an empty partition', async () => {
    const partition = await openPartition()
    const turns = holdTurns()
    const called = watch(partition.readLast(1))
    await settle()
    expect(called.isSettled).toBe(false)
    turns.release()
    await settle()
    expect(called.value).toEqual([])
  })
})

it.each([
  ['fetch of many bytes', 1e6, (partition: Partition) => partition.fetch(0, { minBytes: 600 })],
  ['read of segments', 100, (partition: Partition) => partition.read(0, { maxRecords: 10 })],
  ['fetch of segments', 100, (partition: Partition) => partition.fetch(0, { maxRecords: 10 })],
])(
  'lets the event loop turn between batches that it decodes: %s',
  async (_name, segmentBytes, call) => {
    const partition = await filled({ recentBytes: 0, config: { segmentBytes } })
    const expected = await call(partition)
    // Every check for a turn before the second batch is decoded.
    for (let soundCalls = 0; ; soundCalls += 1) {
      const turns = holdTurns({ soundCalls })
      const called = watch(call(partition))
      await settle()
      const hasWaited = !called.isSettled
      turns.release()
      await settle()
      expect(called.value).toEqual(expected)
      vi.restoreAllMocks()
      if (!hasWaited) {
        expect(soundCalls).toBeGreaterThan(8)
        return
      }
    }
  },
)

it.each([false, true])(
  'an iteration with nothing to read hears its signal and the close, reverse: %s',
  async (reverse) => {
    const fileSystem = new SimulatedFileSystem()
    const broker = await Broker.open('/data', { fileSystem, clock: new ManualClock() })
    const partition = (await broker.createTopic('a')).partition(0)
    const signal = AbortSignal.abort(new Error('mine'))
    const records = (aborted: boolean): AsyncGenerator =>
      partition.records({ reverse, until: 'end', ...(aborted ? { signal } : {}) })
    await expect(records(true).next()).rejects.toThrow('mine')
    expect(await records(false).next()).toMatchObject({ done: true })
    await broker.close()
    await expect(records(false).next()).rejects.toThrow(ClosedError)
  },
)
