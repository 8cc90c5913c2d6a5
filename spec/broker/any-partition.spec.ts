import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Partition } from '../../lib/broker/partition.ts'
import type { RecordsOptions } from '../../lib/broker/partition-records.ts'
import { ClosedError } from '../../lib/errors.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { anyShare } from '../helpers/any-share.ts'
import { openPartition } from '../helpers/partitions.ts'
import { anyBatches, writeAnyLog, type AnyRecord } from './any-partition.ts'

const CLOSED = new ClosedError('the test is over')
const config = { indexIntervalBytes: 40, cleanupPolicy: 'delete' } as const

/** How often and with which files the log is reopened before it is read. */
const reopening = fc.constantFrom('no', 'clean', 'unclean', 'clean without indexes', 'read only')

async function opened(
  fileSystem: SimulatedFileSystem,
  how: string,
  startShare: number,
): Promise<Partition> {
  const partition = await openPartition({ fileSystem, config })
  const { logStartOffset, highWatermark } = partition
  await partition.deleteRecords(
    logStartOffset + Math.floor(startShare * (highWatermark - logStartOffset)),
  )
  if (how === 'no') return partition
  await partition.close(CLOSED)
  for (const path of fileSystem.snapshot().keys()) {
    if (how === 'clean without indexes' && path.endsWith('index')) await fileSystem.unlink(path)
  }
  const isClean = how.startsWith('clean')
  return openPartition({ fileSystem, config, isClean, readOnly: how === 'read only' })
}

async function collect(partition: Partition, options: RecordsOptions): Promise<AnyRecord[]> {
  const records: AnyRecord[] = []
  for await (const { offset, timestamp } of partition.records(options)) {
    records.push({ offset, timestamp })
  }
  return records
}

function overAnyLog(
  check: (partition: Partition, records: readonly AnyRecord[], share: number) => Promise<void>,
): Promise<void> {
  const setup = fc.record({
    batches: anyBatches,
    how: reopening,
    startShare: anyShare,
    share: anyShare,
  })
  return fc.assert(
    fc.asyncProperty(setup, async ({ batches, how, startShare, share }) => {
      const fileSystem = new SimulatedFileSystem({ seed: 1 })
      const all = await writeAnyLog(fileSystem, batches)
      const partition = await opened(fileSystem, how, startShare)
      await check(
        partition,
        all.filter(({ offset }) => offset >= partition.logStartOffset),
        share,
      )
      await partition.close(CLOSED)
    }),
    { numRuns: 120 },
  )
}

describe('a partition with gaps, markers, compressed batches and timestamps in any order', () => {
  it('finds by timestamp the same offset as a scan of all records', async () => {
    await overAnyLog(async (partition, records) => {
      for (let timestamp = 0; timestamp <= 41; timestamp += 1) {
        const expected = records.find((record) => record.timestamp >= timestamp)?.offset ?? null
        expect(await partition.offsetForTimestamp(timestamp), `at ${timestamp}`).toBe(expected)
      }
    })
  })

  it('finds by timestamp the exact batch that the time index names', async () => {
    const partition = await openPartition({ config })
    for (let timestamp = 0; timestamp < 60; timestamp += 2) {
      await partition.append({ value: 'v', timestamp })
    }
    const found: (number | null)[] = []
    for (const timestamp of [0, 1, 30, 31, 58, 59]) {
      found.push(await partition.offsetForTimestamp(timestamp))
    }
    expect(found).toEqual([0, 1, 15, 16, 29, null])
    await partition.close(CLOSED)
  })

  it('returns the last records, as many as requested or as there are', async () => {
    await overAnyLog(async (partition, records) => {
      for (let count = 0; count <= records.length + 1; count += 1) {
        const last = (await partition.readLast(count)).map(({ offset }) => offset)
        const expected = count === 0 ? [] : records.slice(-count).map(({ offset }) => offset)
        expect(last, `the last ${count}`).toEqual(expected)
      }
    })
  })

  it('returns the same records backwards as forwards, for any range', async () => {
    await overAnyLog(async (partition, records, share) => {
      const forwards = await collect(partition, { until: 'end' })
      expect(forwards).toEqual(records)
      expect(await collect(partition, { reverse: true })).toEqual(forwards.toReversed())
      const { logStartOffset: start, highWatermark: end } = partition
      const from = start + Math.floor(share * (end - start))
      for (let until = from; until <= end; until += 1) {
        const expected = records.filter(({ offset }) => offset >= from && offset < until)
        const found = await collect(partition, { reverse: true, from, until })
        expect(found, `[${from}, ${until})`).toEqual(expected.toReversed())
      }
    })
  })
})
