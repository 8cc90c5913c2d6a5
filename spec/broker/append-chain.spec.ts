import { describe, expect, it } from 'vitest'
import { AppendChain } from '../../lib/broker/append-chain.ts'
import type { AppendChainOwner } from '../../lib/broker/append-chain-owner.ts'
import { resolveTopicConfig } from '../../lib/config.ts'
import { ClosedError, StorageError } from '../../lib/errors.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { heldSyncs } from '../helpers/held-syncs.ts'
import { openPartition } from '../helpers/partitions.ts'
import { settle } from '../helpers/settle.ts'

describe('closing a partition while appends arrive', () => {
  // Between the end of one run of the chain and the start of the next, a few microtasks pass after
  // an acknowledgement. Every distance is tried.
  it.each([...Array(12).keys()])(
    'settles an append that comes %i microtasks after another is acknowledged',
    async (distance) => {
      const partition = await openPartition()
      await partition.append({ value: 'first' })
      for (let each = 0; each < distance; each += 1) await Promise.resolve()
      const last = partition.append({ value: 'last' })
      await partition.close(new ClosedError('the test is over'))
      await expect(last).resolves.toMatchObject({ baseOffset: 1 })
    },
  )
})

describe('an append to a closed chain', () => {
  it('is rejected with the reason of the close, for batches and for a single record', async () => {
    const chain = new AppendChain({} as AppendChainOwner)
    const reason = new ClosedError('the test is over')
    await chain.close(reason)
    let told: unknown = null
    const settle = { resolve: () => (told = 'taken'), reject: (error: unknown) => (told = error) }
    expect(chain.append([], { acks: 'all', isInLine: false }, settle)).toBeNull()
    expect(told).toBe(reason)
    await expect(chain.appendRecord({ value: 'x' }, 0, 'all')).rejects.toBe(reason)
  })
})

describe('closing a partition during an acknowledgement', () => {
  it('settles the appends that wait behind the acknowledged group', async () => {
    const partition = await openPartition()
    await partition.append({ value: 'first' })
    const builder = new RecordBatchBuilder({})
    builder.append(1_704_067_200_000, null, Buffer.from('second'))
    const closed = new Promise<void>((resolve) => {
      partition.appendBatches([builder.buildUncompressed()], 'all', {
        resolve: () => {
          resolve(partition.close(new ClosedError('the test is over')))
        },
        reject: () => undefined,
      })
    })
    // Its offset is unknown until everything before it is written.
    const last = partition.append({ value: 'third' }, { expectedOffset: 2 })
    expect(await last).toMatchObject({ baseOffset: 2 })
    await closed
  })
})

describe('appends of one tick that total more than a MiB', () => {
  const value = Buffer.alloc(500 * 1024)
  const pair = [{ value }, { value }]

  it.each([
    { what: 'are written by the MiB', flushMessages: 1000, writes: 4 },
    { what: 'are written by four where each write is synced', flushMessages: 1, writes: 1 },
    { what: 'are written by four behind a write that was synced', flushMessages: 2, writes: 2 },
  ])('$what', async ({ flushMessages, writes }) => {
    const fileSystem = new SimulatedFileSystem()
    const partition = await openPartition({ fileSystem, config: { flushMessages } })
    const before = fileSystem.operations.length
    await Promise.all(Array.from({ length: 4 }, () => partition.append(pair)))
    const made = fileSystem.operations.slice(before)
    expect(made.filter((line) => / write .*\.log/.test(line))).toHaveLength(writes)
  })
})

it('delays appends with acks 0 while more than 4 MiB of appends wait', async () => {
  const { fileSystem, hold } = heldSyncs()
  const partition = await openPartition({ fileSystem })
  const release = hold()
  const first = partition.append({ value: 'held by its sync' })
  await settle()
  const value = Buffer.alloc(1_000_000)
  const settled: number[] = []
  const appends: Promise<unknown>[] = []
  for (const number of [1, 2, 3, 4]) {
    const appended = partition.append([{ value }, { value }], { acks: 0 })
    appends.push(appended.then(() => settled.push(number)))
    await settle()
  }
  expect(settled).toEqual([1, 2])
  release()
  await Promise.all([first, ...appends])
  expect(await partition.append({ value: 'last' })).toMatchObject({ baseOffset: 9 })
})

describe('an append on a relaxed topic', () => {
  /** The outcome if a sync fails between the append's write and the notice of that failure. */
  async function outcome(endAfterFailure: number): Promise<unknown> {
    const failure = new StorageError('EIO', { path: '/data', outcome: 'unknown' })
    const log = {
      config: resolveTopicConfig({ flushMessages: 1000 }),
      ...{ logEndOffset: 1, durableEndOffset: 0, failure: null as StorageError | null },
      prompt: {
        appendBatches: () =>
          Promise.resolve().then(() => {
            log.failure = failure
            log.logEndOffset = endAfterFailure
          }),
      },
    }
    const published: number[] = []
    const chain = new AppendChain({
      log: log as unknown as Log,
      end: { publish: (offset) => published.push(offset), notify: () => undefined },
      flush: () => null,
      whyFenced: () => null,
      space: () => null,
      whyClosed: () => null,
      onWritten: () => undefined,
    })
    const builder = new RecordBatchBuilder({})
    builder.append(1_704_067_200_000, null, Buffer.from('v'))
    const told = new Promise((resolve, reject) => {
      const settle = { resolve, reject }
      chain.append([builder.buildUncompressed()], { acks: 'all', isInLine: true }, settle)
    })
    return told.then(
      () => published,
      (error: unknown) => error === failure && published,
    )
  }

  it('is acknowledged unless a failed sync has already removed its records', async () => {
    expect(await outcome(1)).toEqual([1])
    expect(await outcome(0)).toEqual([])
  })
})
