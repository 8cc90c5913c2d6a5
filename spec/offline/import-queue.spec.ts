import { getEventListeners } from 'node:events'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Broker, CreateTopicOptions, Partition } from '../../lib/index.ts'
import { importFile, type ImportOptions, type ImportResult } from '../../lib/offline/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

const ROWS = 60
const LINES = Array.from({ length: ROWS }, (_, id) => `{"id":${id}}`)

interface Setting {
  readonly broker: Broker
  readonly clock: ManualClock
  readonly partition: Partition
  /** The values that workers have received and consumed. */
  readonly consumed: string[]
  readonly consumeAll: () => Promise<void>
  readonly run: (options?: Partial<ImportOptions>) => Promise<ImportResult>
}

/** A queue smaller than the file that is imported into it. */
async function setUp(options: CreateTopicOptions): Promise<Setting> {
  const fileSystem = new SimulatedFileSystem()
  const clock = new ManualClock()
  const broker = await tempBroker({ fileSystem, clock })
  const topic = await broker.createTopic('jobs', {
    retention: 'consumed',
    segmentBytes: 300,
    maxBytes: 2000,
    ...options,
  })
  const partition = topic.partition(0)
  fileSystem.writeFile('/f.ndjson', Buffer.from(LINES.join('\n')))
  const worker = broker.consumer({ groupId: 'workers', enableAutoCommit: false })
  const consumed: string[] = []
  let position = 0
  return {
    broker,
    clock,
    partition,
    consumed,
    consumeAll: async () => {
      for await (const { value, offset } of partition.records({ from: position, until: 'end' })) {
        consumed.push(value?.toString() ?? 'null')
        position = offset + 1
      }
      await worker.commit([{ topic: 'jobs', partition: 0, offset: position }])
    },
    run: (more = {}) =>
      importFile(broker, '/f.ndjson', { topic: 'jobs', name: 'n', fileSystem, clock, ...more }),
  }
}

/** Appends until there is no space; by then, everything that workers have consumed is deleted. */
async function fill(partition: Partition): Promise<void> {
  let error: unknown = null
  while (error === null) {
    error = await partition.append({ value: 'x'.repeat(150) }).then(
      () => null,
      (reason: unknown) => reason,
    )
  }
  expect(error).toMatchObject({ code: 'LOG_FULL' })
}

describe('an import into a queue that is smaller than its file', () => {
  it.each([1, 1000])(
    'waits for the workers and then ends, in batches of %i',
    async (batchRecords) => {
      const { broker, clock, consumed, consumeAll, run } = await setUp({ whenFull: 'wait' })
      const progress = { isDone: false }
      const importing = run({ batchRecords }).finally(() => (progress.isDone = true))
      for (let second = 0; second < 120 && !progress.isDone; second += 1) {
        await clock.advance(1000)
        await consumeAll()
      }
      expect(progress.isDone).toBe(true)
      expect(await importing).toMatchObject({ imported: ROWS })
      // The last rows may have been appended after the workers' last poll.
      await consumeAll()
      expect(consumed).toEqual(LINES)
      await broker.close()
    },
  )

  it.each([1, 1000])(
    'ends when it is aborted while it waits, and the next one continues, in batches of %i',
    async (batchRecords) => {
      const { broker, clock, consumed, consumeAll, run } = await setUp({ whenFull: 'wait' })
      const abort = new AbortController()
      const outcomes: unknown[] = []
      const given = run({ batchRecords, signal: abort.signal }).catch((error: unknown) => {
        outcomes.push(error)
      })
      await clock.advance(3000)
      const before = broker.topic('jobs').partition(0).logEndOffset
      expect(before).toBeGreaterThan(0)
      // Such a reason must not be mistaken for an error of a row.
      const reason = new RangeError('enough')
      abort.abort(reason)
      await clock.advance(3000)
      expect(outcomes).toEqual([reason])
      await given
      await consumeAll()
      await clock.advance(3000)
      expect(broker.topic('jobs').partition(0).logEndOffset).toBe(before)
      const progress = { isDone: false }
      const importing = run({ batchRecords }).finally(() => (progress.isDone = true))
      for (let second = 0; second < 120 && !progress.isDone; second += 1) {
        await clock.advance(1000)
        await consumeAll()
      }
      expect(await importing).toMatchObject({ rows: ROWS, rejected: 0 })
      await consumeAll()
      expect(consumed).toEqual(LINES)
      await broker.close()
    },
  )

  it('adds one listener to its signal, however many partitions it appends to', async () => {
    const { broker, run } = await setUp({ partitions: 40, maxBytes: -1 })
    const { signal } = new AbortController()
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    onTestFinished(() => {
      warning.mockRestore()
    })
    const toRecord = (_row: unknown, at: { readonly row: number }) => {
      return { value: 'v', partition: at.row % 40 }
    }
    expect(await run({ signal, toRecord })).toMatchObject({ imported: ROWS })
    expect(warning).not.toHaveBeenCalled()
    expect(getEventListeners(signal, 'abort')).toEqual([])
    await broker.close()
  })

  it.each([1, 7, 1000])(
    'advances each time before LOG_FULL, and gives workers no row twice, in batches of %i',
    async (batchRecords) => {
      const { broker, partition, consumed, consumeAll, run } = await setUp({})
      const outcomes: string[] = []
      for (let tries = 0; tries < 20 && outcomes.at(-1) !== 'done'; tries += 1) {
        const outcome = await run({ batchRecords }).then(
          () => 'done',
          (error: unknown) => (error as { code: string }).code,
        )
        outcomes.push(outcome)
        await consumeAll()
        // An append that needs space deletes what the workers have consumed, before the import
        // checks.
        await fill(partition)
        await consumeAll()
      }
      expect(outcomes.at(-1)).toBe('done')
      expect(new Set(outcomes.slice(0, -1))).toEqual(new Set(['LOG_FULL']))
      expect(consumed.filter((value) => !value.startsWith('x'))).toEqual(LINES)
      await broker.close()
    },
  )

  it('lets the next run know which rows of a failed batch are stored', async () => {
    const { broker, partition, consumed, consumeAll, run } = await setUp({ partitions: 2 })
    const other = broker.topic('jobs').partition(1)
    const toRecord = (row: unknown, at: { readonly row: number }) => {
      const isLarge = at.row % 2 === 1
      return { value: isLarge ? 'y'.repeat(150) : JSON.stringify(row), partition: isLarge ? 1 : 0 }
    }
    await expect(run({ toRecord })).rejects.toMatchObject({ code: 'LOG_FULL' })
    // Of the last three, the two small ones found space, and the large one between them did not.
    expect(partition.highWatermark).toBe(other.highWatermark + 2)
    await consumeAll()
    const worker = broker.consumer({ groupId: 'workers', enableAutoCommit: false })
    await worker.commit([{ topic: 'jobs', partition: 1, offset: other.highWatermark }])
    await fill(partition)
    expect(partition.logStartOffset).toBe(consumed.length)
    await broker.topic('jobs').alter({ maxBytes: -1 })
    expect(await run({ toRecord })).toMatchObject({ rows: ROWS })
    await consumeAll()
    expect(consumed.filter((value) => !value.startsWith('x'))).toEqual(
      LINES.filter((_, at) => at % 2 === 1),
    )
    await broker.close()
  })

  it('does not block the topic for others after it was abandoned', async () => {
    const { broker, partition, consumed, consumeAll, run } = await setUp({})
    const onProgress = (): void => {
      throw new Error('broken off, and never taken up again')
    }
    await expect(run({ batchRecords: 1, onProgress })).rejects.toThrow('broken off')
    for (let count = 0; count < ROWS; count += 1) {
      await expect(partition.append({ value: 'x'.repeat(40) })).resolves.toMatchObject({})
      await consumeAll()
    }
    expect(consumed).toHaveLength(1 + ROWS)
    await broker.close()
  })

  it('loses no rows to others that need room before a worker has consumed them', async () => {
    const { broker, partition, consumed, consumeAll, run } = await setUp({})
    await expect(run()).rejects.toMatchObject({ code: 'LOG_FULL' })
    await fill(partition)
    await consumeAll()
    const rows = consumed.filter((value) => !value.startsWith('x'))
    expect(rows.length).toBeGreaterThan(0)
    expect(rows).toEqual(LINES.slice(0, rows.length))
    await broker.close()
  })
})
