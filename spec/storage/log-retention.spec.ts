import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAGIC_POSITION } from '../../lib/record/batch-layout.ts'
import type { Log } from '../../lib/storage/log.ts'
import { NOTHING_FREED, type RetentionRequest } from '../../lib/storage/log-retention.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, NOW, offsetsOf, openLog, pathOf, SMALL } from './log-fixtures.ts'
import type { TopicConfig } from '../../lib/config.ts'

const DAY_MS = 86_400_000
const KEEP_ALL: TopicConfig = { ...SMALL, retentionMs: -1 }

interface Opened {
  readonly fileSystem: SimulatedFileSystem
  readonly clock: ManualClock
  readonly log: Log
}

async function open(config: TopicConfig): Promise<Opened> {
  const clock = new ManualClock(NOW)
  const fileSystem = new SimulatedFileSystem({ clock })
  return { fileSystem, clock, log: await openLog(fileSystem, { clock, config }) }
}

/** One record per batch, two batches per segment. */
async function fill(log: Log, timestamps: readonly number[]): Promise<void> {
  for (const timestamp of timestamps) await log.append([{ value: 'x'.repeat(20), timestamp }])
}

function request(log: Log, changes: Partial<RetentionRequest> = {}): RetentionRequest {
  const highWatermark = log.logEndOffset
  return { highWatermark, startOffset: 0, maxSizeBytes: Infinity, nowMs: NOW, ...changes }
}

function segmentsOf(log: Log): number[] {
  return log.segments.map(({ baseOffset }) => baseOffset)
}

describe('retention by time', () => {
  it('deletes segments whose youngest record is older than retentionMs, and reports what that frees', async () => {
    const { log, fileSystem } = await open({ ...SMALL, retentionMs: DAY_MS })
    const old = NOW - DAY_MS - 1
    await fill(log, [old, old, old - 5, old, NOW])
    expect(segmentsOf(log)).toEqual([0, 2, 4])
    const bytes = log.segments.slice(0, 2).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    expect(await log.enforceRetention(() => request(log))).toEqual({ segments: 2, bytes })
    expect(segmentsOf(log)).toEqual([4])
    expect([log.logStartOffset, log.logEndOffset]).toEqual([4, 5])
    expect([...fileSystem.snapshot().keys()].filter((path) => /0[02]\./.test(path))).toEqual([])
  })

  it('keeps a segment whose youngest record is exactly retentionMs old, and all segments after it', async () => {
    const { log } = await open({ ...SMALL, retentionMs: DAY_MS })
    const old = NOW - 2 * DAY_MS
    await fill(log, [old, NOW - DAY_MS, old, old, old])
    expect(await log.enforceRetention(() => request(log))).toEqual(NOTHING_FREED)
    expect(segmentsOf(log)).toEqual([0, 2, 4])
  })

  it('rolls the active segment if only that one is left, and keeps the log end offset', async () => {
    const { log, fileSystem, clock } = await open({ ...SMALL, retentionMs: DAY_MS })
    await fill(log, [NOW, NOW, NOW])
    const nowMs = NOW + DAY_MS + 1
    expect(await log.enforceRetention(() => request(log, { nowMs }))).toMatchObject({ segments: 2 })
    expect([log.logStartOffset, log.logEndOffset, log.size]).toEqual([3, 3, 0])
    await log.close()
    const again = await openLog(fileSystem, { clock })
    expect([again.logStartOffset, again.logEndOffset]).toEqual([3, 3])
    expect(await again.append([{ value: 'next' }])).toMatchObject({ baseOffset: 3 })
    expect(await again.enforceRetention(() => request(again))).toEqual(NOTHING_FREED)
  })

  it('judges a segment that was truncated and written again by its current records', async () => {
    const { log } = await open({ ...SMALL, retentionMs: DAY_MS })
    const old = NOW - DAY_MS - 1
    await fill(log, [old, old, old])
    expect(await log.reader.outlook.oldestSinceMs(NOW)).toBe(old)
    await log.truncateTo(1)
    await fill(log, [NOW, NOW])
    expect(await log.reader.outlook.oldestSinceMs(NOW)).toBe(NOW)
    expect(await log.enforceRetention(() => request(log))).toEqual(NOTHING_FREED)
  })

  it('keeps what was written before the clock was set back, although old records follow it', async () => {
    const { log, clock } = await open({ ...SMALL, retentionMs: DAY_MS })
    const old = NOW - 20 * DAY_MS
    await fill(log, [NOW, NOW, old, old, old])
    clock.setTime(NOW - DAY_MS / 2)
    const nowMs = clock.now()
    expect(await log.enforceRetention(() => request(log, { nowMs }))).toEqual(NOTHING_FREED)
  })

  it('judges a partition whose first segment was emptied by a truncation by its oldest record', async () => {
    const { log } = await open({ ...SMALL, retentionMs: -1 })
    const records = [NOW - 7, NOW - 7].map((timestamp) => ({ value: 'x', timestamp }))
    await log.append(records)
    await log.truncateTo(1)
    await fill(log, [NOW - 5, NOW, NOW])
    expect(log.segments[0]).toMatchObject({ baseOffset: 0, sizeBytes: 0 })
    expect(await log.reader.outlook.oldestSinceMs(NOW)).toBe(NOW)
  })

  it('uses the modification time of the file instead of a timestamp in the future', async () => {
    const { log, clock } = await open({ ...SMALL, retentionMs: DAY_MS })
    await fill(log, [NOW + 1000 * DAY_MS, NOW, NOW])
    await clock.advance(DAY_MS)
    expect(await log.enforceRetention(() => request(log, { nowMs: clock.now() }))).toEqual(
      NOTHING_FREED,
    )
    await clock.advance(1)
    const freed = await log.enforceRetention(() => request(log, { nowMs: clock.now() }))
    expect(freed).toMatchObject({ segments: 2 })
  })

  describe('keeps records after a timestamp in the future no longer than segmentMs plus retentionMs', () => {
    const config = { segmentMs: DAY_MS, retentionMs: DAY_MS }
    const HOUR_MS = DAY_MS / 24

    /** One record each hour, and a pass. @returns the highest age of the oldest record. */
    async function hours(opened: Opened, count: number, reopenEvery = Infinity): Promise<number> {
      const { fileSystem, clock } = opened
      let { log } = opened
      const since = clock.now()
      const first = log.logEndOffset
      let oldestMs = 0
      for (let hour = 1; hour <= count; hour += 1) {
        await clock.advance(HOUR_MS)
        if (hour % reopenEvery === 0) {
          await log.close()
          log = await openLog(fileSystem, { clock, config })
        }
        await log.append([{ value: String(hour), timestamp: clock.now() }])
        await log.enforceRetention(() => request(log, { nowMs: clock.now() }))
        const oldestHour = Math.max(0, log.logStartOffset - first) + 1
        oldestMs = Math.max(oldestMs, clock.now() - since - oldestHour * HOUR_MS)
      }
      await log.close()
      return oldestMs
    }

    it.each([
      ['while there are appends', Infinity],
      ['even if the log is opened more often than it rolls', 5],
    ])('%s', async (_, reopenEvery) => {
      const opened = await open(config)
      const timestamp = NOW + 365 * DAY_MS
      await opened.log.append([{ value: 'of a wrong clock', timestamp }])
      const oldestMs = await hours(opened, 10 * 24, reopenEvery)
      expect(oldestMs).toBeLessThanOrEqual(2 * DAY_MS + 2 * HOUR_MS)
    })

    it('or, once the time that it names has come, than retentionMs from then on', async () => {
      const opened = await open(config)
      const timestamp = NOW + 2 * DAY_MS - HOUR_MS
      await opened.log.append([{ value: 'due soon', timestamp }])
      const oldestMs = await hours(opened, 10 * 24)
      expect(oldestMs).toBeGreaterThan(2 * DAY_MS + 2 * HOUR_MS)
      expect(oldestMs).toBeLessThanOrEqual(3 * DAY_MS + HOUR_MS)
    })

    it.each([
      ['in the same life', Infinity, 0],
      ['over many', 5, 0],
      ['in the same life, with sealed segments', Infinity, 3],
      ['over many, with sealed segments', 5, 3],
    ])('if the file times were wrong as well and the clock is set right: %s', async (...row) => {
      const [, every, sealed] = row
      const opened = await open(config)
      const { log, clock } = opened
      clock.setTime(NOW + 365 * DAY_MS)
      await log.roll()
      await log.append([{ value: 'of a wrong clock', timestamp: clock.now() }])
      for (let segment = 0; segment < sealed; segment += 1) {
        await log.roll()
        await log.append([{ value: 'of a wrong clock', timestamp: clock.now() }])
      }
      clock.setTime(NOW)
      if (sealed > 0) await log.roll()
      const oldestMs = await hours(opened, 10 * 24, every)
      expect(oldestMs).toBeLessThanOrEqual(2 * DAY_MS + 2 * HOUR_MS)
    })

    it('without a segment per record if only some timestamps are in the future', async () => {
      const { log, clock } = await open({ ...config, retentionMs: -1 })
      for (let hour = 1; hour <= 24; hour += 1) {
        await clock.advance(HOUR_MS)
        const timestamp = clock.now() + (hour % 2) * 365 * DAY_MS
        await log.append([{ value: String(hour), timestamp }])
      }
      expect(log.segments.length).toBeLessThanOrEqual(2)
    })
  })

  it.each([
    ['deletes records no later for having been compacted', 1, null, [4, 5]],
    ['deletes records that were to be compacted and were not', 0, null, [4, 5]],
    [
      'keeps compacted records longer if the file system cannot set times',
      1,
      'EPERM',
      [1, 3, 4, 5],
    ],
  ])('%s', async (_, passes, code, kept) => {
    const { log, fileSystem, clock } = await open({
      ...{ ...SMALL, cleanupPolicy: 'compact,delete', retentionMs: DAY_MS },
    })
    const timestamp = NOW + 1000 * DAY_MS
    const put = (key: string): Promise<unknown> =>
      log.append([{ key, value: 'x'.repeat(20), timestamp }])
    for (const key of ['a', 'b', 'c', 'd']) await put(key)
    await clock.advance(DAY_MS - 1)
    // In each of the two segments one key is replaced, so that both are rewritten.
    for (const key of ['a', 'c']) await put(key)
    await log.roll()
    if (code !== null) fileSystem.failNext('setModified', code, { persistent: true })
    for (let pass = 0; pass < passes; pass += 1) {
      await log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 1024 * 1024 })
      expect(await offsetsOf(log)).toEqual([1, 3, 4, 5])
    }
    await clock.advance(2)
    await log.enforceRetention(() => request(log, { nowMs: clock.now() }))
    expect(await offsetsOf(log)).toEqual(kept)
  })

  it('prefers a plausible timestamp to the modification time, since the file may have been copied', async () => {
    const { log, clock } = await open({ ...SMALL, retentionMs: DAY_MS })
    clock.setTime(NOW + 10 * DAY_MS)
    await fill(log, [NOW, NOW, NOW])
    const freed = await log.enforceRetention(() => request(log, { nowMs: clock.now() }))
    expect(freed).toMatchObject({ segments: 2 })
  })

  it.each(['0.timeindex', '0.index', 'none'])(
    'keeps a segment in which damage may hide a young record, until its file is old (removed: %s)',
    async (removed) => {
      const config = { ...SMALL, segmentBytes: 350, segmentMs: 100 * DAY_MS, retentionMs: DAY_MS }
      const { log, fileSystem, clock } = await open(config)
      const old = NOW - 20 * DAY_MS
      await fill(log, [old, old, NOW, NOW])
      expect(segmentsOf(log)).toEqual([0, 3])
      const limits = { maxBytes: 1, endOffset: log.logEndOffset }
      const [first] = await log.reader.readBatches(0, limits)
      await log.close()
      for (const path of fileSystem.snapshot().keys()) {
        if (path.endsWith(removed)) await fileSystem.unlink(path)
      }
      // Damages the length of the second batch: where the third begins is unknown.
      fileSystem.flipBit(pathOf(0), Number(first?.sizeBytes) + 8, 4)
      const again = await openLog(fileSystem, { clock, config })
      expect(await again.enforceRetention(() => request(again))).toEqual(NOTHING_FREED)
      // What cannot be proven because of damage is not searched again on every check.
      fileSystem.failNext('read', 'EIO', { path: /\.log$/, persistent: true })
      expect(await again.enforceRetention(() => request(again))).toEqual(NOTHING_FREED)
      fileSystem.clearFaults()
      await clock.advance(DAY_MS)
      const later = request(again, { nowMs: clock.now() })
      expect(await again.enforceRetention(() => later)).toEqual(NOTHING_FREED)
      await clock.advance(1)
      const freed = again.enforceRetention(() => request(again, { nowMs: clock.now() }))
      expect(await freed).toMatchObject({ segments: 2 })
    },
  )

  it('trusts a time index that covers all of a segment whose last batch cannot be read', async () => {
    const config = { ...SMALL, segmentBytes: 350, segmentMs: 100 * DAY_MS, retentionMs: DAY_MS }
    const { log, fileSystem, clock } = await open(config)
    const old = NOW - 20 * DAY_MS
    await fill(log, [old, old + 1, old + 2, NOW])
    expect(segmentsOf(log)).toEqual([0, 3])
    const [, , last] = await log.reader.readBatches(0, { maxBytes: 350, endOffset: 3 })
    await log.close()
    const size = fileSystem.readFile(pathOf(0)).length
    fileSystem.flipBit(pathOf(0), size - Number(last?.sizeBytes) + MAGIC_POSITION, 0)
    const again = await openLog(fileSystem, { clock, config })
    const freed = again.enforceRetention(() => request(again, { nowMs: NOW }))
    expect(await freed).toMatchObject({ segments: 1 })
  })

  it.each([
    ['base offset', 0],
    ['timestamp', 35],
  ])(
    'keeps a segment whose indexes were rebuilt over a young record with a damaged %s',
    async (_, at) => {
      const config = { ...SMALL, segmentBytes: 350, segmentMs: 100 * DAY_MS, retentionMs: DAY_MS }
      const { log, fileSystem, clock } = await open(config)
      const old = NOW - 20 * DAY_MS
      await fill(log, [NOW, old, old + 1, old + 2])
      expect(segmentsOf(log)).toEqual([0, 3])
      await log.close()
      for (const path of fileSystem.snapshot().keys()) {
        if (path.endsWith('index')) await fileSystem.unlink(path)
      }
      fileSystem.flipBit(pathOf(0), at, 5)
      for (let life = 0; life < 3; life += 1) {
        const again = await openLog(fileSystem, { clock, config })
        expect((await again.read(1, 1)).map(({ offset }) => offset)).toEqual([1])
        expect(await again.enforceRetention(() => request(again))).toEqual(NOTHING_FREED)
        await again.close()
      }
    },
  )

  it('deletes nothing if retentionMs is -1 or the cleanup policy lacks delete', async () => {
    for (const config of [
      KEEP_ALL,
      { ...SMALL, retentionMs: 0, cleanupPolicy: 'compact' } as const,
    ]) {
      const { log } = await open(config)
      for (const key of ['a', 'b', 'c']) await log.append([{ key, value: 'v', timestamp: 1 }])
      expect(await log.enforceRetention(() => request(log))).toEqual(NOTHING_FREED)
      expect(await offsetsOf(log)).toEqual([0, 1, 2])
    }
  })
})

describe('retention by size', () => {
  it('deletes the oldest segments as long as at least retentionBytes are left', async () => {
    const { log } = await open(KEEP_ALL)
    await fill(log, Array<number>(10).fill(NOW))
    const [first] = log.segments
    const rest = log.size - (first?.sizeBytes ?? 0)
    log.config = { ...log.config, retentionBytes: rest + 1 }
    expect(await log.enforceRetention(() => request(log))).toEqual(NOTHING_FREED)
    log.config = { ...log.config, retentionBytes: rest }
    expect(await log.enforceRetention(() => request(log))).toMatchObject({ segments: 1 })
    expect(log.size).toBe(rest)
  })

  describe('on a relaxed topic', () => {
    /** Beyond retentionBytes by a sealed segment, the rest of which is not synced. */
    async function unsynced(): Promise<Opened> {
      const opened = await open({ ...KEEP_ALL, retentionBytes: 100, flushMessages: 100 })
      await fill(opened.log, [NOW, NOW])
      await opened.log.roll()
      await fill(opened.log, [NOW, NOW])
      expect([opened.log.durableEndOffset, segmentsOf(opened.log)]).toEqual([2, [0, 2]])
      return opened
    }

    it('makes the records it keeps durable before it deletes the others', async () => {
      const { log, fileSystem } = await unsynced()
      expect(await log.enforceRetention(() => request(log))).toMatchObject({ segments: 1 })
      const again = await openLog(fileSystem.restart('power', { unsynced: 'lost' }))
      expect(await offsetsOf(again)).toEqual([2, 3])
    })

    it('deletes nothing if the records it keeps cannot be made durable', async () => {
      const { log, fileSystem } = await unsynced()
      fileSystem.failNext('datasync', 'EIO', { path: pathOf(2) })
      await expect(log.enforceRetention(() => request(log))).rejects.toThrow('EIO')
      const again = await openLog(fileSystem.restart('power', { unsynced: 'lost' }))
      expect(await offsetsOf(again)).toEqual([0, 1])
    })
  })

  it('empties the log if retentionBytes is 0', async () => {
    const { log } = await open({ ...KEEP_ALL, retentionBytes: 0 })
    await fill(log, [NOW, NOW, NOW])
    await log.enforceRetention(() => request(log))
    expect([log.size, log.logStartOffset, log.logEndOffset]).toEqual([0, 3, 3])
  })

  it('deletes segments until the log is no larger than maxSizeBytes', async () => {
    const { log } = await open(KEEP_ALL)
    await fill(log, Array<number>(6).fill(NOW))
    const maxSizeBytes = log.size - 1
    expect(await log.enforceRetention(() => request(log, { maxSizeBytes }))).toMatchObject({
      segments: 1,
    })
    expect(log.logStartOffset).toBe(2)
  })
})

describe('retention', () => {
  it('never deletes records at or above the high watermark', async () => {
    const { log } = await open({ ...KEEP_ALL, retentionBytes: 0 })
    await fill(log, Array<number>(6).fill(NOW))
    await log.enforceRetention(() => request(log, { highWatermark: 3 }))
    expect(segmentsOf(log)).toEqual([2, 4])
    await log.enforceRetention(() => request(log, { highWatermark: 3, startOffset: 5 }))
    expect(log.logStartOffset).toBe(3)
  })

  it('removes segments below the requested start offset, whatever the cleanup policy', async () => {
    const { log } = await open({ ...SMALL, cleanupPolicy: 'compact' })
    for (const key of ['a', 'b', 'c', 'd', 'e']) await log.append([{ key, value: 'x'.repeat(20) }])
    await log.enforceRetention(() => request(log, { startOffset: 3 }))
    expect([log.logStartOffset, ...segmentsOf(log)]).toEqual([3, 2, 4])
  })

  describe('removes a segment that was still active when the log start offset passed it', () => {
    const ways: [string, (log: Log) => Promise<unknown>][] = [
      ['by the next pass', (log) => log.enforceRetention(() => request(log))],
      [
        'to make room',
        (log) => log.enforceRetention(() => request(log, { maxSizeBytes: log.size - 1 })),
      ],
      ['by the next deletion', (log) => log.advanceLogStartOffset(2)],
    ]

    it.each(ways)('%s', async (_, remove) => {
      const { log, fileSystem } = await open(KEEP_ALL)
      await fill(log, [NOW, NOW])
      await log.advanceLogStartOffset(2)
      await fill(log, [NOW])
      expect(segmentsOf(log)).toEqual([0, 2])
      expect(await remove(log)).toMatchObject({ segments: 1 })
      expect([log.logStartOffset, ...segmentsOf(log)]).toEqual([2, 2])
      expect(fileSystem.snapshot().has(pathOf(0))).toBe(false)
    })

    it('even if the pass that rolled it failed', async () => {
      const { log, fileSystem } = await open(KEEP_ALL)
      await fill(log, [NOW])
      await log.advanceLogStartOffset(1)
      fileSystem.failNext('open', 'EIO', { path: /varve-segments/ })
      await expect(log.enforceRetention(() => request(log))).rejects.toThrow('EIO')
      expect(segmentsOf(log)).toEqual([0, 1])
      expect(await log.enforceRetention(() => request(log))).toMatchObject({ segments: 1 })
      expect(log.size).toBe(0)
    })
  })

  it('removes producer snapshots together with their segments', async () => {
    const { log, fileSystem } = await open({ ...KEEP_ALL, retentionBytes: 0 })
    await fill(log, Array<number>(6).fill(NOW))
    expect(fileSystem.snapshot().has(pathOf(4, 'snapshot'))).toBe(true)
    await log.enforceRetention(() => request(log))
    const snapshots = [...fileSystem.snapshot().keys()].filter((path) => path.endsWith('.snapshot'))
    expect(snapshots).toEqual([pathOf(6, 'snapshot')])
  })

  it('makes the records it deletes durable before it resolves, on a relaxed topic', async () => {
    const { log, fileSystem } = await open({ ...KEEP_ALL, retentionBytes: 0, flushMessages: 100 })
    await fill(log, [NOW, NOW, NOW])
    await log.enforceRetention(() => request(log))
    const again = await openLog(fileSystem.restart('power', { unsynced: 'lost' }))
    expect([again.logStartOffset, again.logEndOffset]).toEqual([3, 3])
  })

  it('removes files that an earlier pass could not remove', async () => {
    const { log, fileSystem } = await open({ ...KEEP_ALL, retentionBytes: 0 })
    await fill(log, [NOW, NOW, NOW])
    fileSystem.failNext('unlink', 'EIO')
    await expect(log.enforceRetention(() => request(log))).rejects.toMatchObject({
      outcome: 'unknown',
    })
    expect(log.logStartOffset).toBe(3)
    expect(fileSystem.snapshot().has(pathOf(0))).toBe(true)
    expect(await log.enforceRetention(() => request(log))).toMatchObject({ segments: 2 })
    expect(fileSystem.snapshot().has(pathOf(0))).toBe(false)
  })

  it.each(['ENOSPC', 'EIO'])(
    'loses no record that must stay if any call fails with %s',
    async (code) => {
      for (let at = 1; ; at += 1) {
        const { log, fileSystem, clock } = await open({ ...SMALL, retentionMs: DAY_MS })
        const old = NOW - DAY_MS - 1
        await fill(log, [old, old, old, old, NOW, NOW])
        const before = fileSystem.operationCount
        fileSystem.failAt(at, code)
        await log.enforceRetention(() => request(log)).catch(() => undefined)
        const wasStruck = fileSystem.operationCount - before >= at
        fileSystem.clearFaults()
        expect([0, 4], `call ${at}`).toContain(log.logStartOffset)
        const kept = (await offsetsOf(log)).slice(-2)
        expect(kept, `call ${at}`).toEqual([4, 5])
        await log.close().catch(() => undefined)
        const again = await openLog(fileSystem, {
          clock,
          config: { ...SMALL, retentionMs: DAY_MS },
        })
        expect(again.logEndOffset, `call ${at}`).toBe(6)
        await again.enforceRetention(() => request(again))
        expect(await offsetsOf(again), `call ${at}`).toEqual([4, 5])
        await again.append([{ value: 'on' }])
        if (!wasStruck) return
      }
    },
  )

  it('deletes what a naive model of its rules deletes', async () => {
    const timestamps = fc.array(fc.integer({ min: -8, max: 3 }), { maxLength: 16 })
    const limits = fc.record({
      timestamps,
      retentionMs: fc.integer({ min: -1, max: 6 }),
      retentionBytes: fc.integer({ min: -1, max: 700 }),
      visible: fc.integer({ min: 0, max: 16 }),
      startOffset: fc.integer({ min: 0, max: 18 }),
    })
    const rules = fc.asyncProperty(limits, async ({ visible, startOffset, ...given }) => {
      const { retentionMs, retentionBytes } = given
      const { log } = await open({ ...SMALL, retentionMs, retentionBytes })
      await fill(
        log,
        given.timestamps.map((each) => NOW + each),
      )
      const highWatermark = Math.min(visible, log.logEndOffset)
      const segments = log.segments.map((each) => ({
        ...each,
        // The disk's time is that of the clock, which stands at NOW.
        since: Math.max(
          ...given.timestamps
            .slice(each.baseOffset, each.nextOffset)
            .map((timestamp) => (timestamp > 0 ? 0 : timestamp)),
        ),
      }))
      let start = Math.min(startOffset, highWatermark)
      while (segments[0] !== undefined) {
        const [{ nextOffset, sizeBytes, since }] = segments as [(typeof segments)[number]]
        const rest = segments.reduce((sum, each) => sum + each.sizeBytes, 0) - sizeBytes
        const isTooOld = retentionMs >= 0 && -since > retentionMs
        const isTooMuch = retentionBytes >= 0 && rest >= retentionBytes
        if (sizeBytes === 0 || nextOffset > highWatermark) break
        if (nextOffset > start && !isTooOld && !isTooMuch) break
        start = Math.max(start, nextOffset)
        segments.shift()
      }
      const before = log.size
      const asked = request(log, { highWatermark, startOffset })
      if (start > 0) expect(log.reader.outlook.mayDelete(asked)).toBe(true)
      const { bytes } = await log.enforceRetention(() => asked)
      // A time in the future cannot be known without the file.
      if (Math.max(0, ...given.timestamps) === 0) {
        expect(log.reader.outlook.mayDelete(asked)).toBe(false)
      }
      expect(log.logStartOffset).toBe(start)
      expect(log.size).toBe(segments.reduce((sum, each) => sum + each.sizeBytes, 0))
      expect(bytes).toBe(before - log.size)
      expect(log.logEndOffset).toBe(given.timestamps.length)
    })
    await fc.assert(rules, { numRuns: 150 })
  })

  it('rejects with READ_ONLY if the log is open for reading only', async () => {
    const { log, fileSystem } = await open(KEEP_ALL)
    await fill(log, [NOW])
    const reader = await openLog(fileSystem, { readOnly: true })
    await expect(reader.enforceRetention(() => request(reader))).rejects.toMatchObject({
      code: 'READ_ONLY',
    })
    expect(fileSystem.snapshot().has(`${DIR}/00000000000000000000.log`)).toBe(true)
  })
})
