import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Partition } from '../../lib/index.ts'
import { importFile } from '../../lib/offline/index.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

const ROWS = 20

/** An import of twenty rows, each a separate append, which commits after every fifth. */
async function setUp(partitions = 1) {
  const fileSystem = new SimulatedFileSystem()
  const broker = await tempBroker({ fileSystem })
  onTestFinished(() => broker.close().catch(() => undefined))
  const topic = await broker.createTopic('t', { partitions })
  const rows = Array.from({ length: ROWS }, (_, row) => `{"row":${row}}\n`)
  const run = (
    at: (rows: number) => void = () => undefined,
    rejects: () => Promise<void> = () => Promise.resolve(),
  ) =>
    importFile<{ row: number }>(broker, '/f.ndjson', {
      topic: 't',
      name: 'rows',
      fileSystem,
      batchRecords: 1,
      commitRecords: 5,
      toRecord: (value) => ({ value: JSON.stringify(value), partition: 0 }),
      onProgress: ({ rows: done }) => {
        at(done)
      },
      rejects,
    })
  const write = (): void => {
    fileSystem.writeFile('/f.ndjson', Buffer.from(rows.join('')))
  }
  write()
  return { broker, fileSystem, topic, partition: topic.partition(0), run, rows, write }
}

function stopAt(end: number): (rows: number) => void {
  return (rows) => {
    if (rows === end) throw new Error('broken off')
  }
}

async function appendOthers(partition: Partition, count: number): Promise<void> {
  for (let each = 0; each < count; each += 1) await partition.append({ value: 'other' })
}

async function rowsIn(partition: Partition): Promise<number[]> {
  const records = await partition.read(partition.logStartOffset)
  const values = records.map(({ value }) => String(value)).filter((value) => value !== 'other')
  return values.map((value) => (JSON.parse(value) as { row: number }).row)
}

const ALL = Array.from({ length: ROWS }, (_, row) => row)
const CUT_OFF = { code: 'OFFSET_OUT_OF_RANGE', topic: 't', partition: 0 }

describe('an import into a log that is truncated', () => {
  it.each([0, 3, 12])(
    'is refused if truncated rows were committed, with %i other records in their place',
    async (count) => {
      const { partition, run } = await setUp()
      await expect(run(stopAt(12))).rejects.toThrow('broken off')
      await partition.log.truncateTo(7)
      await appendOthers(partition, count)
      await expect(run()).rejects.toMatchObject({ ...CUT_OFF, offset: 7 })
      await expect(run()).rejects.toThrow(/records of t-0 from offset 7 on .* another name/)
      expect(await rowsIn(partition)).toEqual(ALL.slice(0, 7))
    },
  )

  it('is refused even if it had reached the end of its file', async () => {
    const { partition, run } = await setUp()
    await run()
    await partition.log.truncateTo(19)
    await appendOthers(partition, 5)
    await expect(run()).rejects.toMatchObject({ ...CUT_OFF, offset: 19 })
  })

  it.each([0, 3])(
    'stores truncated rows again if they were not committed, with %i other records in their place',
    async (count) => {
      const { partition, run } = await setUp()
      await expect(run(stopAt(14))).rejects.toThrow('broken off')
      await partition.log.truncateTo(12)
      await appendOthers(partition, count)
      expect(await run()).toMatchObject({ imported: 8, skipped: 12 })
      expect(await rowsIn(partition)).toEqual(ALL)
    },
  )

  it.each([12, 19])(
    'fails if rows are truncated during the run, and the next run stores them again: at row %i',
    async (at) => {
      const { partition, run, rows, write } = await setUp()
      rows[at] = 'no row\n'
      write()
      const cut = async (): Promise<void> => {
        await partition.log.truncateTo(at - 1)
        await appendOthers(partition, 5)
      }
      await expect(run(undefined, cut)).rejects.toMatchObject({ ...CUT_OFF, offset: at - 1 })
      expect(await run()).toMatchObject({ rows: ROWS, rejected: 1 })
      expect(await rowsIn(partition)).toEqual(ALL.filter((row) => row !== at))
    },
  )

  it('fails if rows before the one being appended are truncated, and the next run is refused', async () => {
    const { partition, run } = await setUp()
    let cutting: Promise<void> = Promise.resolve()
    const cut = (rows: number): void => {
      if (rows === 12) cutting = partition.log.truncateTo(11)
    }
    await expect(run(cut)).rejects.toMatchObject({ ...CUT_OFF, offset: 11 })
    await cutting
    expect(await rowsIn(partition)).toEqual([...ALL.slice(0, 11), 12])
    await expect(run()).rejects.toThrow(/records of t-0 from offset 11 on .* another name/)
  })

  it('continues if only an append of others has failed', async () => {
    const { partition, run, rows, write, fileSystem } = await setUp()
    rows[12] = 'no row\n'
    write()
    const epoch = partition.log.leaderEpoch
    const fail = async (): Promise<void> => {
      fileSystem.failNext('write', 'EIO')
      await expect(partition.append({ value: 'other' })).rejects.toThrow('EIO')
    }
    await expect(run(stopAt(14), fail)).rejects.toThrow('broken off')
    expect(partition.log.leaderEpoch).toBe(epoch + 1)
    expect(await run()).toMatchObject({ rows: ROWS })
    expect(await rowsIn(partition)).toEqual(ALL.filter((row) => row !== 12))
  })

  it('continues if an append of others and the commit after it failed, but no rows were truncated', async () => {
    for (let microtasks = 0; microtasks < 40; microtasks += 1) {
      const { broker, partition, run, rows, write, fileSystem } = await setUp()
      rows[8] = 'no row\n'
      write()
      const producer = broker.producer()
      let other: Promise<unknown> = Promise.resolve()
      const failOthers = async (): Promise<void> => {
        fileSystem.failNext('write', 'ENOSPC', { path: /t-0\/.*log$/ })
        fileSystem.failNext('write', 'ENOSPC', { path: /__consumer_offsets-0\/.*log$/ })
        other = producer.send({ topic: 't', value: 'other' }).catch(() => undefined)
        for (let each = 0; each < microtasks; each += 1) await Promise.resolve()
      }
      await run(stopAt(14), failOthers).catch(() => undefined)
      await other
      fileSystem.clearFaults()
      expect(await run(), `${microtasks} microtasks`).toMatchObject({ rows: ROWS })
      expect(await rowsIn(partition)).toEqual(ALL.filter((row) => row !== 8))
    }
  })

  it('continues if records of others are truncated while it searches for its rows', async () => {
    const { topic, partition, run } = await setUp(2)
    const other = topic.partition(1)
    await appendOthers(other, 10)
    await expect(run(stopAt(12))).rejects.toThrow('broken off')
    await appendOthers(other, 10)
    const read = partition.read.bind(partition)
    vi.spyOn(partition, 'read').mockImplementationOnce(async (offset, options) => {
      await other.log.truncateTo(12)
      return read(offset, options)
    })
    expect(await run()).toMatchObject({ imported: 8, skipped: 12 })
    expect(other.logEndOffset).toBe(12)
    expect(await rowsIn(partition)).toEqual(ALL)
  })

  it('continues if only records of others were truncated before the run', async () => {
    const { partition, topic, run } = await setUp(2)
    const other = topic.partition(1)
    await appendOthers(other, 9)
    await appendOthers(partition, 9)
    await partition.log.truncateTo(4)
    await expect(run(stopAt(12))).rejects.toThrow('broken off')
    await appendOthers(partition, 9)
    await partition.log.truncateTo(partition.logEndOffset - 4)
    await other.log.truncateTo(3)
    await appendOthers(other, 9)
    expect(await run()).toMatchObject({ imported: 8, skipped: 12 })
    expect(await rowsIn(partition)).toEqual(ALL)
  })
})
