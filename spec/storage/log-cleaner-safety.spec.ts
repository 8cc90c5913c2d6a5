import { describe, expect, it } from 'vitest'
import type { TopicConfig } from '../../lib/config.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { RECORD_COUNT_POSITION } from '../../lib/record/batch-layout.ts'
import { writeCrc } from '../../lib/record/record-batch.ts'
import {
  RecordBatchBuilder,
  type RecordBatchBuilderOptions,
} from '../../lib/record/record-batch-builder.ts'
import type { CompactionReport } from '../../lib/storage/log-cleaner.ts'
import type { Log } from '../../lib/storage/log.ts'
import { OffsetMap } from '../../lib/storage/offset-map.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, NOW, openLog, pathOf, readAll } from './log-fixtures.ts'

const COMPACTED: TopicConfig = {
  segmentBytes: 4096,
  indexIntervalBytes: 64,
  cleanupPolicy: 'compact',
  deleteRetentionMs: 1000,
}

interface Table {
  readonly disk: SimulatedFileSystem
  readonly clock: ManualClock
  readonly log: Log
}

async function open(config: TopicConfig = {}): Promise<Table> {
  const [disk, clock] = [new SimulatedFileSystem({ seed: 1 }), new ManualClock(NOW)]
  const log = await openLog(disk, { config: { ...COMPACTED, ...config }, clock })
  return { disk, clock, log }
}

function recordOf(pair: string) {
  const [key = '', value = ''] = pair.split('=')
  return { key, value: value === '' ? null : value, timestamp: NOW }
}

/** Appends one batch for each pair `key=value`; `key=` is a tombstone. */
async function put(log: Log, ...pairs: readonly string[]): Promise<void> {
  for (const pair of pairs) await log.append([recordOf(pair)])
}

/** One batch of pairs; a pair that begins with `=` has no key. */
function batchOf(options: RecordBatchBuilderOptions, ...pairs: readonly string[]): Buffer {
  const builder = new RecordBatchBuilder(options)
  for (const pair of pairs) {
    const [key = '', value = ''] = pair.split('=')
    const bytes = (text: string): Buffer | null => (text === '' ? null : Buffer.from(text))
    builder.append(NOW, bytes(key), bytes(value))
  }
  return builder.buildUncompressed()
}

const compact = (log: Log, checkpoint = 0): Promise<CompactionReport> =>
  log.cleaner.compact({ checkpoint, dedupeBufferBytes: 4096 })

async function contentOf(log: Log): Promise<string[]> {
  return (await readAll(log)).map(
    ({ offset, key, value }) => `${offset}:${String(key ?? '')}=${String(value ?? '')}`,
  )
}

const TRANSACTION = { producerId: 7, producerEpoch: 0, baseSequence: 0, isTransactional: true }

describe('transactional records', () => {
  it('are removed before the tombstone that deletes them, so that no deleted key comes back', async () => {
    const { log, clock } = await open()
    await log.appendBatches([batchOf(TRANSACTION, 'k=old', 'l=old')])
    await put(log, 'k=', 'm=1')
    await log.roll()
    const { endOffset } = await compact(log)
    expect(await contentOf(log)).toEqual(['1:l=old', '2:k=', '3:m=1'])
    expect((await log.reader.readBatches(0, { maxBytes: 1 }))[0]).toMatchObject({
      ...{ baseOffset: 0, lastOffset: 1, isTransactional: true, producerId: 7, baseSequence: 0 },
    })
    await clock.advance(1000)
    await compact(log, endOffset)
    expect(await contentOf(log)).toEqual(['1:l=old', '3:m=1'])
  })

  it('replace no other record and are kept, even without a key or as tombstones, since they may be aborted', async () => {
    const { log, clock } = await open()
    await put(log, 'k=1')
    await log.appendBatches([batchOf(TRANSACTION, 'k=2', '=none', 'k=')])
    await log.roll()
    for (let pass = 0; pass < 3; pass += 1) {
      expect(await compact(log)).toMatchObject({ earliestDeleteHorizonMs: null })
      await clock.advance(2000)
    }
    expect(await contentOf(log)).toEqual(['0:k=1', '1:k=2', '2:=none', '3:k='])
  })
})

describe('a tombstone', () => {
  it('stays for deleteRetentionMs from when its segment is compacted, however long the pass takes', async () => {
    const { log, clock } = await open({ segmentBytes: 200 })
    await put(log, 'a=1', 'b=1', 'c=1', 'a=', 'd=1')
    await log.roll()
    const { endOffset } = await log.cleaner.compact({
      ...{ checkpoint: 0, dedupeBufferBytes: 4096 },
      onProgress: () => {
        clock.setTime(clock.now() + 1000)
      },
    })
    clock.setTime(NOW + 1500)
    await compact(log, endOffset)
    expect(await contentOf(log)).toContain('3:a=')
    clock.setTime(NOW + 10_000)
    await compact(log, endOffset)
    expect(await contentOf(log)).not.toContain('3:a=')
  })

  it('is also removed from a batch that begins below the log start offset', async () => {
    const { log, clock } = await open()
    await log.append(['a=1', 'a=', 'b=1'].map(recordOf))
    await put(log, 'c=1')
    await log.advanceLogStartOffset(1)
    await log.roll()
    const { endOffset } = await compact(log)
    await clock.advance(1000)
    await compact(log, endOffset)
    expect(await contentOf(log)).toEqual(['2:b=1', '3:c=1'])
  })
})

describe('a compaction pass', () => {
  it('rejects at a batch whose base offset is damaged, and keeps the evidence of the damage', async () => {
    const { log, disk } = await open()
    await put(log, 'x=1', ...Array.from({ length: 9 }, (_, each) => `a=${each}`), 'z=1')
    await log.roll()
    await compact(log)
    expect(await contentOf(log)).toEqual(['0:x=1', '9:a=8', '10:z=1'])
    const [first] = await log.reader.readBatches(0, { maxBytes: 1 })
    disk.flipBit(pathOf(0), (first?.sizeBytes ?? 0) + 7, 0)
    await put(log, 'x=2')
    await log.roll()
    const error: unknown = await compact(log).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(CorruptRecordError)
    expect(error).toMatchObject({ path: pathOf(0), firstOffset: 0, lastOffset: 10 })
    expect(await log.verify()).toHaveLength(1)
  })

  it('ends without an error if records are deleted during any of its operations', async () => {
    const run = async (at: number): Promise<number> => {
      const { log, disk } = await open({ segmentBytes: 200 })
      await put(log, ...Array.from({ length: 12 }, (_, each) => `k${each % 5}=${each}`))
      await log.roll()
      const from = disk.operationCount
      const deleting: Promise<unknown>[] = []
      disk.observe(() => {
        if (disk.operationCount - from === at) deleting.push(log.advanceLogStartOffset(6))
      })
      await compact(log)
      const count = disk.operationCount - from
      await Promise.all(deleting)
      disk.observe(null)
      const offsets = (await readAll(log)).map(({ offset }) => offset)
      expect(offsets, `operation ${at}`).toEqual(expect.arrayContaining([7, 8, 9, 10, 11]))
      const left = [...disk.snapshot().keys()].filter((path) => path.endsWith('.cleaned'))
      expect(left, `operation ${at}`).toEqual([])
      return count
    }
    const count = await run(0)
    for (let at = 1; at <= count; at += 1) await run(at)
  })

  it.each(['rename', 'open', 'unlink'] as const)(
    'leaks no open file if a replacement fails in %s',
    async (kind) => {
      const { log, disk } = await open({ segmentBytes: 200 })
      // More segments than stay open.
      await put(log, ...Array.from({ length: 120 }, (_, each) => `k${each % 3}=${each}`))
      await log.roll()
      log.config = { ...log.config, segmentBytes: 1600 }
      const opened = new Map<string, number>()
      disk.observe(({ kind: what, path }) => {
        if (!path.endsWith('.log')) return
        const change = what === 'open' ? 1 : what === 'close' ? -1 : 0
        opened.set(path, (opened.get(path) ?? 0) + change)
      })
      const path = kind === 'unlink' ? /index$/ : kind === 'open' ? pathOf(0) : /cleaned/
      disk.failNext(kind, 'EIO', { path })
      await expect(compact(log)).rejects.toThrow('EIO')
      // The files that were read last stay open.
      await readAll(log)
      const count = [...opened.values()].reduce((sum, each) => sum + each, 0)
      if (log.isWritable) expect(count).toBeLessThanOrEqual(32)
      await log.close().catch(() => undefined)
    },
  )

  it('reads none of the files it has written while appends wait for the files to be swapped', async () => {
    const { disk, log } = await open({ segmentBytes: 300 })
    for (let each = 0; each < 20; each += 1) await put(log, `k${each % 15}=v`)
    await log.roll()
    await log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 1024 * 1024 })
    expect((await readAll(log)).map(({ offset }) => offset)).toHaveLength(15)
    expect(disk.operations.filter((line) => /rename .*\.log\.cleaned/.test(line))).not.toEqual([])
    expect(disk.operations.filter((line) => /read .*\.swap/.test(line))).toEqual([])
  })

  it('rejects and changes no file if it begins while the log is closing', async () => {
    const { log, disk } = await open()
    await put(log, 'a=1', 'a=2')
    await log.roll()
    const path = `${DIR}/00000000000000000009.log.cleaned`
    disk.writeFile(path, Buffer.from('of the next owner'))
    const closing = log.close()
    await expect(compact(log)).rejects.toMatchObject({ name: 'ClosedError' })
    await closing
    expect(String(disk.readFile(path))).toBe('of the next owner')
  })
})

describe('the map of key offsets', () => {
  it.each([0, 1, 9, 10, 1000])(
    'holds the offsets of %i keys in the memory computed for that many',
    (count) => {
      const map = new OffsetMap(OffsetMap.bytesFor(count))
      const keys = Array.from({ length: count }, (_, each) => Buffer.from(`k${each}`))
      expect(keys.every((key, offset) => map.put(key, offset))).toBe(true)
      expect(keys.map((key) => map.get(key))).toEqual(keys.map((_, offset) => offset))
    },
  )
})

it('a compaction pass rejects a forged record count without allocating memory for its keys', async () => {
  const { disk, log } = await open()
  await put(log, 'a=1')
  await log.roll()
  await log.close()
  const bytes = disk.readFile(pathOf(0))
  bytes.writeInt32BE(2 ** 31 - 1, RECORD_COUNT_POSITION)
  writeCrc(bytes)
  disk.writeFile(pathOf(0), bytes)
  const again = await openLog(disk, { config: COMPACTED })
  await expect(compact(again)).rejects.toBeInstanceOf(CorruptRecordError)
})

describe('a deletion of records during a compaction pass', () => {
  it.each([
    ['before they may be compacted', { minCompactionLagMs: 1 }],
    ['after which they must be', { maxCompactionLagMs: 100_000 }],
  ])('does not fail the pass if it asks segments for the time %s', async (_, lag) => {
    for (let seed = 0; seed < 40; seed += 1) {
      const disk = new SimulatedFileSystem({ seed, completion: 'random' })
      const config: TopicConfig = { ...COMPACTED, ...lag, segmentBytes: 200 }
      const clock = new ManualClock(NOW)
      const before = await openLog(disk, { config, clock })
      for (let key = 0; key < 30; key += 1) await put(before, `k${key}=${'v'.repeat(60)}`)
      await before.close()
      await clock.advance(1000)
      const log = await openLog(disk, { config, clock })
      const { logEndOffset } = log
      const deleting = log.advanceLogStartOffset(logEndOffset - 2)
      const ranging = log.cleaner.range(0)
      const passing = compact(log)
      await deleting
      const [range, report] = await Promise.allSettled([ranging, passing])
      expect([range.status, report.status], `seed ${seed}`).toEqual(['fulfilled', 'fulfilled'])
      await log.close()
    }
  })
})
