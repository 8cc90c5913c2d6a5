import { describe, expect, it } from 'vitest'
import { DEFAULT_TOPIC_CONFIG, resolveTopicConfig } from '../../lib/config.ts'
import { StorageError } from '../../lib/errors.ts'
import { OpenFiles, shareOpenFiles } from '../../lib/platform/open-files.ts'
import { createDurably, type LogContext } from '../../lib/storage/log-options.ts'
import { Log } from '../../lib/storage/log.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import {
  DIR,
  NOW,
  SMALL,
  bytesOf,
  offsetsOf,
  openLog,
  pathOf,
  recordOpenFiles,
  upTo,
  valuesOf,
  valuesUpTo,
  writtenLog,
} from './log-fixtures.ts'

const LOG = /\.log$/

async function openedLog(
  count: number,
  options: Parameters<typeof openLog>[1] = {},
): Promise<{ fs: SimulatedFileSystem; log: Log }> {
  const fs = new SimulatedFileSystem()
  const log = await openLog(fs, options)
  for (const value of valuesUpTo(count)) await log.append([{ key: 'k', value }])
  return { fs, log }
}

async function failureOf(call: Promise<unknown>): Promise<StorageError> {
  const error: unknown = await call.catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(StorageError)
  if (!(error instanceof StorageError)) throw error
  return error
}

describe('a full disk', () => {
  it('leaves no part of a batch that did not fit, and the log works once there is room', async () => {
    const { fs, log } = await openedLog(3, { config: { segmentBytes: 5000 } })
    const { sizeBytes } = (await fs.stat(pathOf(0))) ?? { sizeBytes: 0 }
    for (let bytes = 0; bytes < 70; bytes += 7) {
      fs.capacityBytes = totalBytes(fs) + bytes
      const failure = await failureOf(log.append([{ value: 'x' }]))
      expect(failure).toMatchObject({
        outcome: 'not-written',
        path: DIR,
        cause: { code: 'ENOSPC' },
      })
      expect(failure.message).toContain('append of orders-0 failed: ENOSPC')
      expect((await fs.stat(pathOf(0)))?.sizeBytes).toBe(sizeBytes)
      expect([log.logEndOffset, log.isWritable]).toEqual([3, true])
      expect(await valuesOf(log)).toEqual(valuesUpTo(3))
    }
    fs.capacityBytes = Infinity
    await log.append([{ value: 'v3' }])
    expect(await valuesOf(log)).toEqual(valuesUpTo(4))
    const again = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect(await valuesOf(again)).toEqual(valuesUpTo(4))
  })

  it('loses no new segment in a power loss, even if the record of segments could not be written', async () => {
    const { fs, log } = await openedLog(3)
    fs.failNext('open', 'ENOSPC', { path: /varve-segments/, persistent: true })
    await log.roll()
    await log.append([{ key: 'k', value: 'v3' }])
    expect([log.durableEndOffset, log.segments.at(-1)?.baseOffset]).toEqual([4, 3])
    const again = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect(await valuesOf(again)).toEqual(valuesUpTo(4))
  })

  it('undoes an append that has already rolled', async () => {
    const { fs, log } = await openedLog(3)
    const before = await offsetsOf(log)
    // Four batches fill the segment, two more follow; the last write fails.
    fs.failNext('write', 'ENOSPC', { path: pathOf(6) })
    const batches = upTo(6).map(() => bytesOf())
    expect(await failureOf(log.appendBatches(batches))).toMatchObject({ outcome: 'not-written' })
    expect(await offsetsOf(log)).toEqual(before)
    expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 2])
    expect(log.durableEndOffset).toBe(3)
    expect([...fs.snapshot().keys()].filter((path) => LOG.test(path))).toEqual([
      pathOf(0),
      pathOf(2),
    ])
    await log.append([{ value: 'v3' }])
    expect(await valuesOf(log)).toEqual(valuesUpTo(4))
    const again = await openLog(fs.restart('process'))
    expect(again.recovery.truncations).toEqual([])
    expect(await valuesOf(again)).toEqual(valuesUpTo(4))
  })

  it('undoes an append that was written in several parts because it fills an index', async () => {
    const config = { segmentIndexBytes: 36, indexIntervalBytes: 0 }
    const { fs, log } = await openedLog(1, { config })
    const sizeBytes = (await fs.stat(pathOf(0)))?.sizeBytes
    for (const failing of [1, 2, 3]) {
      let writes = 0
      fs.observe(({ kind, path }) => {
        if (kind !== 'write' || path !== pathOf(0)) return
        writes += 1
        if (writes === failing) fs.failNext('write', 'ENOSPC', { path })
      })
      const appended = log.appendBatches(upTo(9).map(() => bytesOf()))
      expect(await failureOf(appended)).toMatchObject({ outcome: 'not-written' })
      expect((await fs.stat(pathOf(0)))?.sizeBytes).toBe(sizeBytes)
      expect([log.logEndOffset, log.isWritable, log.segments.length]).toEqual([1, true, 1])
      fs.observe(null)
    }
    await log.append([{ value: 'v1' }])
    expect(await valuesOf(log)).toEqual(valuesUpTo(2))
    const again = await openLog(fs.restart('power', { unsynced: 'lost' }), { config })
    expect(await valuesOf(again)).toEqual(valuesUpTo(2))
  })

  it('undoes the producer state of batches that could not be written', async () => {
    const { fs, log } = await openedLog(0)
    const producer = { producerId: 7, producerEpoch: 0 }
    await log.appendBatches([bytesOf({ ...producer, baseSequence: 0 })])
    fs.failNext('write', 'ENOSPC', { path: pathOf(2) })
    const rest = [1, 2, 3].map((baseSequence) => bytesOf({ ...producer, baseSequence }))
    await failureOf(log.appendBatches(rest))
    await log.close()
    expect(fs.readFile(pathOf(1, 'snapshot')).readInt32BE(10 + 10)).toBe(0)
  })

  it.each([
    ['the new segment', 'open', pathOf(4)],
    ['its offset index', 'write', pathOf(2, 'index')],
    ['its time index', 'write', pathOf(2, 'timeindex')],
    ['a snapshot', 'write', `${pathOf(4, 'snapshot')}.tmp`],
    ['the name of a snapshot', 'rename', `${pathOf(4, 'snapshot')}.tmp`],
  ] as const)(
    'leaves the old segment active if a roll has no room for %s',
    async (_, kind, path) => {
      const { fs, log } = await openedLog(4)
      fs.failNext(kind, 'ENOSPC', { path })
      expect(await failureOf(log.append([{ value: 'x' }]))).toMatchObject({
        outcome: 'not-written',
      })
      expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 2])
      fs.failNext(kind, 'EACCES', { path })
      expect(await failureOf(log.roll())).toMatchObject({ outcome: 'not-written' })
      expect(log.isWritable).toBe(true)
      await log.append([{ value: 'v4' }])
      expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 2, 4])
      expect(await valuesOf(log)).toEqual(valuesUpTo(5))
    },
  )

  it('fails an append and the close, and the next open finds every record once there is room', async () => {
    const { fs, log } = await openedLog(8)
    fs.capacityBytes = 0
    await failureOf(log.append([{ value: 'x' }]))
    await failureOf(log.close())
    fs.capacityBytes = Infinity
    const again = await openLog(fs)
    expect(again.leaderEpoch).toBe(1)
    expect(await valuesOf(again)).toEqual(valuesUpTo(8))
  })
})

describe('a failed sync', () => {
  it('rejects the append with outcome unknown, and then every write until the log is reopened', async () => {
    const { fs, log } = await openedLog(3)
    fs.failNext('datasync', 'EIO', { path: LOG })
    const failure = await failureOf(log.append([{ value: 'x' }]))
    expect(failure).toMatchObject({ outcome: 'unknown', cause: { code: 'EIO' } })
    expect(log.isWritable).toBe(false)
    for (const [call, outcome] of [
      [() => log.append([{ value: 'y' }]), 'not-written'],
      [() => log.appendBatches([bytesOf()]), 'not-written'],
      // What a flush makes durable was written before.
      [() => log.flush(), 'unknown'],
      [() => log.roll(), 'not-written'],
      [() => log.truncateTo(0), 'not-written'],
      [() => log.checkpoint(), 'not-written'],
    ] as const) {
      const refusal = await failureOf(call())
      expect(refusal.outcome).toBe(outcome)
      expect(refusal.cause).toBe(failure)
      expect(refusal.message).toContain('refuses writes after a failure until it is opened again')
    }
    expect([await valuesOf(log), log.logEndOffset]).toEqual([valuesUpTo(3), 3])
    await log.close()
    expect(fs.snapshot().has(`${DIR}/.kafka_cleanshutdown`)).toBe(false)
  })

  it.each(['process', 'power'] as const)(
    'is followed, after a %s crash, by an open without the records that only the page cache held',
    async (kind) => {
      const { fs, log } = await openedLog(3, { config: { ...SMALL, segmentBytes: 5000 } })
      await log.appendBatches([bytesOf({ values: ['lost'] })])
      fs.failNext('datasync', 'EIO', { path: LOG })
      await failureOf(log.append([{ value: 'lost too' }]))
      await log.close()
      const next = fs.restart(kind, { unsynced: 'lost' })
      const again = await openLog(next)
      expect(await valuesOf(again)).toEqual(valuesUpTo(3))
      await again.append([{ value: 'v3' }])
      // A hole that only the page cache covered would show now.
      const last = await openLog(next.restart('power', { unsynced: 'lost' }))
      expect([await valuesOf(last), last.damage]).toEqual([valuesUpTo(4), null])
    },
  )

  it('of the old segment during a roll stops all writing', async () => {
    const { fs, log } = await openedLog(3)
    await log.appendBatches([bytesOf({ values: ['v3'] })])
    fs.failNext('datasync', 'EIO', { path: pathOf(2) })
    expect(await failureOf(log.append([{ value: 'x' }]))).toMatchObject({ outcome: 'unknown' })
    expect([log.isWritable, log.logEndOffset]).toEqual([false, 3])
    expect(fs.snapshot().has(pathOf(4))).toBe(false)
  })

  it('of the truncation after a failed write stops all writing', async () => {
    const { fs, log } = await openedLog(3)
    fs.failNext('write', 'EIO', { path: LOG })
    fs.failNext('sync', 'EIO', { path: LOG })
    expect(await failureOf(log.append([{ value: 'x' }]))).toMatchObject({ outcome: 'unknown' })
    expect(log.isWritable).toBe(false)
    expect(await valuesOf(log)).toEqual(valuesUpTo(3))
  })

  it('of the truncation that undoes an append with a roll stops writing and ends the log before the append', async () => {
    const { fs, log } = await openedLog(3)
    // The roll made the fourth record durable, but nobody was told.
    fs.failNext('write', 'ENOSPC', { path: pathOf(4) })
    fs.failNext('sync', 'EIO', { path: pathOf(2) })
    const batches = upTo(3).map(() => bytesOf())
    expect(await failureOf(log.appendBatches(batches))).toMatchObject({ outcome: 'unknown' })
    expect([log.isWritable, log.logEndOffset, log.durableEndOffset]).toEqual([false, 3, 3])
    await log.close()
    expect(await valuesOf(await openLog(fs.restart('process')))).toEqual(valuesUpTo(3))
  })

  it('of the directory after a new segment was created stops all writing', async () => {
    const { fs, log } = await openedLog(4)
    let syncs = 0
    const sync = fs.syncDirectory.bind(fs)
    fs.syncDirectory = async (path) => {
      syncs += 1
      // The first one is for the snapshot.
      if (syncs === 2) fs.failNext('syncDirectory', 'EIO')
      await sync(path)
    }
    expect(await failureOf(log.roll())).toMatchObject({ outcome: 'unknown' })
    expect([log.isWritable, log.segments.length]).toEqual([false, 2])
    expect(await valuesOf(log)).toEqual(valuesUpTo(4))
    const again = await openLog(fs.restart('process'))
    expect(again.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 2])
    expect(await valuesOf(again)).toEqual(valuesUpTo(4))
  })

  it('of a checkpoint does not stop writing', async () => {
    const { fs, log } = await openedLog(3)
    fs.failNext('sync', 'EIO', { path: /checkpoint/ })
    expect(await failureOf(log.checkpoint())).toMatchObject({ outcome: 'not-written' })
    expect(log.state.recoveryPoint).toBe(0)
    await log.append([{ value: 'v3' }])
    await log.checkpoint()
    expect(log.state.recoveryPoint).toBe(4)
  })
})

describe('a failed write that cannot be undone', () => {
  it('has outcome unknown, and is truncated before anything else is written', async () => {
    const { fs, log } = await openedLog(3, { config: { segmentBytes: 5000 } })
    fs.shortWriteAt(1, 20)
    fs.failAt(2, 'EROFS', { persistent: true })
    const failure = await failureOf(log.append([{ value: 'x' }]))
    expect(failure.outcome).toBe('unknown')
    expect(failure.cause).toBeInstanceOf(AggregateError)
    expect(failure.message).toMatch(/EROFS.*; EROFS/)
    for (const call of [() => log.append([{ value: 'y' }]), () => log.roll()]) {
      expect(await failureOf(call())).toMatchObject({ outcome: 'not-written' })
    }
    expect(await failureOf(log.flush())).toMatchObject({ outcome: 'unknown' })
    fs.clearFaults()
    expect([log.isWritable, await valuesOf(log)]).toEqual([true, valuesUpTo(3)])
    await log.roll()
    await log.append([{ value: 'v3' }])
    const again = await openLog(fs.restart('power', { unsynced: 'lost' }))
    expect([await valuesOf(again), again.damage]).toEqual([valuesUpTo(4), null])
  })
})

describe('records appended without a sync before a failed write', () => {
  it.each([
    ['in the same segment', 'write', 1, pathOf(0)],
    ['before the roll to a new one', 'stat', 6, pathOf(0)],
    ['behind that roll', 'write', 6, pathOf(4)],
  ] as const)(
    'are durable after the truncation that undoes it, %s',
    async (_, kind, count, path) => {
      const config = { segmentBytes: 300, flushMessages: 1000 }
      const { fs, log } = await openedLog(1, { config })
      await log.flush()
      for (const value of ['v1', 'v2']) await log.append([{ key: 'k', value }])
      expect(log.durableEndOffset).toBe(1)
      fs.failNext(kind, 'ENOSPC', { path })
      await failureOf(log.appendBatches(upTo(count).map(() => bytesOf())))
      expect(log.durableEndOffset).toBe(3)
      await log.advanceLogStartOffset(1)
      // The mark and the truncation of a failed sync use the same end as the record of segments.
      await log.append([{ key: 'k', value: 'lost' }])
      fs.failNext('datasync', 'EIO')
      await failureOf(log.flush())
      const again = await openLog(fs.restart('power', { unsynced: 'lost' }), { config })
      expect(again.damage).toBeNull()
      expect(await valuesOf(again)).toEqual(['v1', 'v2'])
      expect(await again.append([{ value: 'v3' }])).toMatchObject({ baseOffset: 3 })
    },
  )
})

describe('an append whose file was closed as unused and cannot be reopened', () => {
  it.each(['EMFILE', 'EIO', 'EACCES'])(
    'rejects as not written and leaves nothing to undo: %s',
    async (code) => {
      const fs = new SimulatedFileSystem()
      shareOpenFiles(fs, new OpenFiles(1))
      const log = await openLog(fs, { config: {} })
      const other = await Log.open('/others-0', { fileSystem: fs, clock: new ManualClock(NOW) })
      await log.append([{ value: 'v0' }])
      await other.append([{ value: 'v' }])
      const { leaderEpoch } = log
      fs.failNext('open', code, { path: pathOf(0), persistent: true })
      const failure = await failureOf(log.append([{ value: 'x' }]))
      expect(failure).toMatchObject({ outcome: 'not-written', cause: { code } })
      fs.clearFaults()
      const changes: string[] = []
      fs.observe(({ kind, path }) => {
        if (path === pathOf(0) && /^(write|truncate|(data)?sync)$/.test(kind)) changes.push(kind)
      })
      await log.append([{ value: 'v1' }])
      expect([log.leaderEpoch, await valuesOf(log)]).toEqual([leaderEpoch, ['v0', 'v1']])
      expect(changes).toEqual(['write', 'datasync'])
    },
  )
})

describe('a failed roll', () => {
  it('lets appends to the old segment continue, and the next open finds all of them', async () => {
    const { fs, log } = await openedLog(1, { config: { segmentBytes: 5000 } })
    const count = await operationsOf(fs, () => log.roll())
    for (let operation = 1; operation <= count; operation += 1) {
      const { fs: disk, log: rolling } = await openedLog(1, { config: { segmentBytes: 5000 } })
      // A failure that another descriptor would avoid is retried once.
      disk.failAt(operation, 'EMFILE', { persistent: true })
      const failure: unknown = await rolling.roll().catch((error: unknown) => error)
      if (!rolling.isWritable) continue
      expect(failure, `operation ${operation}`).toBeInstanceOf(StorageError)
      disk.clearFaults()
      await rolling.append([{ value: 'v1' }])
      const again = await openLog(disk.restart('process'))
      expect(await valuesOf(again), `operation ${operation}`).toEqual(valuesUpTo(2))
    }
  })
})

describe('a log whose log file is gone', () => {
  const REMOVALS = [
    ['unlinked', (fs: SimulatedFileSystem) => fs.unlink(pathOf(0))],
    [
      'replaced',
      async (fs: SimulatedFileSystem) => {
        await fs.rename(pathOf(0), '/elsewhere')
        fs.writeFile(pathOf(0), fs.readFile('/elsewhere'))
      },
    ],
    ['in a directory that was moved', (fs: SimulatedFileSystem) => fs.rename(DIR, '/elsewhere')],
  ] as const

  it.each(REMOVALS)(
    'rejects an append within a second if the file is %s, and stops writing',
    async (_, go) => {
      const fs = new SimulatedFileSystem()
      const clock = new ManualClock(NOW)
      const log = await openLog(fs, { clock })
      await log.append([{ value: 'v0' }])
      await go(fs)
      // Not every append checks.
      await log.append([{ value: 'v1' }])
      clock.setTime(NOW + 1_000)
      const failure = await failureOf(log.append([{ value: 'x' }]))
      expect(failure).toMatchObject({ outcome: 'unknown', cause: { code: 'ENOENT' } })
      expect(failure.message).toContain('was removed or replaced while it was open')
      expect(log.isWritable).toBe(false)
      expect(await valuesOf(log)).toEqual(valuesUpTo(2))
      const files = [...fs.snapshot().keys()].join()
      expect(files).not.toContain('varve-durable-end')
      await log.close()
    },
  )

  it.each([
    ['roll', (log: Log) => log.roll()],
    ['checkpoint', (log: Log) => log.checkpoint()],
  ] as const)('rejects a %s, and stops writing', async (_, call) => {
    const { fs, log } = await openedLog(1)
    await fs.unlink(pathOf(0))
    expect(await failureOf(call(log))).toMatchObject({ cause: { code: 'ENOENT' } })
    expect(log.isWritable).toBe(false)
  })

  it('rejects an append even if the clock was set back', async () => {
    const fs = new SimulatedFileSystem()
    const clock = new ManualClock(NOW)
    const log = await openLog(fs, { clock })
    await fs.unlink(pathOf(0))
    clock.setTime(NOW - 3_600_000)
    expect(await failureOf(log.append([{ value: 'x' }]))).toMatchObject({ outcome: 'unknown' })
  })
})

describe('a failed truncation, deletion of records or roll', () => {
  it('stops all writing if it was half done', async () => {
    const { fs, log } = await openedLog(8)
    fs.failNext('unlink', 'EIO', { path: pathOf(4) })
    expect(await failureOf(log.truncateTo(1))).toMatchObject({ outcome: 'unknown' })
    expect(log.isWritable).toBe(false)
    expect(await offsetsOf(log)).toEqual([0])
    const again = await openLog(fs.restart('process'))
    expect(again.damage).toBeNull()
    const values = await valuesOf(again)
    expect(values).toEqual(valuesUpTo(values.length))
  })

  it('leaves the log unchanged if nothing was done yet', async () => {
    const { fs, log } = await openedLog(8)
    await log.checkpoint()
    fs.failNext('rename', 'EIO')
    await failureOf(log.truncateTo(1))
    fs.failNext('rename', 'EIO')
    await failureOf(log.advanceLogStartOffset(5))
    expect(log.isWritable).toBe(true)
    expect(await valuesOf(log)).toEqual(valuesUpTo(8))
  })

  it('is completed if its decision was already durable', async () => {
    const { fs, log } = await openedLog(8)
    fs.failNext('unlink', 'EIO', { path: pathOf(2) })
    expect(await failureOf(log.advanceLogStartOffset(5))).toMatchObject({ outcome: 'unknown' })
    expect(await offsetsOf(log)).toEqual([5, 6, 7])
    const after = fs.restart('process')
    expect(await offsetsOf(await openLog(after))).toEqual([5, 6, 7])
    expect(after.snapshot().has(pathOf(2))).toBe(false)
  })

  it('leaves no file open, whichever call of a roll fails', async () => {
    for (let n = 1, isOver = false; !isOver; n += 1) {
      const { fs, log } = await openedLog(8)
      await log.append([{ value: 'more' }])
      await log.close()
      const openPaths = recordOpenFiles(fs)
      const again = await openLog(fs)
      fs.failAt(n, 'EIO', { persistent: true })
      isOver = await again.roll().then(
        () => true,
        () => false,
      )
      await again.close().catch(() => undefined)
      fs.clearFaults()
      expect(openPaths(), `call ${n}`).toEqual([])
      expect(n).toBeLessThan(100)
    }
  })

  it('leaves no file of removed segments open', async () => {
    const { fs, log } = await openedLog(8)
    await log.close()
    const openPaths = recordOpenFiles(fs)
    const again = await openLog(fs)
    await valuesOf(again)
    expect(openPaths()).toEqual([pathOf(0), pathOf(2), pathOf(4), pathOf(6)])
    fs.failNext('unlink', 'EIO', { path: pathOf(0) })
    await failureOf(again.advanceLogStartOffset(5))
    expect(openPaths()).toEqual([pathOf(4), pathOf(6)])
    await again.close()
    expect(openPaths()).toEqual([])
  })
})

describe('a failed read', () => {
  it('rejects with its cause, and does not affect the next read', async () => {
    const fs = await writtenLog(6)
    const log = await openLog(fs)
    fs.failNext('read', 'EIO', { path: pathOf(2) })
    const failure = await failureOf(log.read(2))
    expect(failure).toMatchObject({ cause: { code: 'EIO' } })
    expect(failure.message).toContain('read of orders-0 failed: EIO')
    expect((await log.read(2, 1))[0]?.offset).toBe(2)
    expect(log.isWritable).toBe(true)
  })

  it('rejects with the message of an error whose own cause is not an Error', async () => {
    const fs = await writtenLog(6)
    const log = await openLog(fs)
    fs.open = () => Promise.reject(new Error('no such luck', { cause: 'none' }))
    expect((await failureOf(log.read(0))).message).toContain('no such luck')
  })
})

describe('every operation of an append that rolls', () => {
  it.each(['EIO', 'ENOSPC', 'EMFILE'])(
    'may fail with %s without losing or duplicating a record',
    async (code) => {
      const count = await operationsOfThreeAppends()
      for (let operation = 1; operation <= count; operation += 1) {
        for (const persistent of [false, true]) {
          const { fs, log } = await openedLog(2)
          fs.failAt(operation, code, { persistent })
          const acknowledged = valuesUpTo(2)
          const unknown = new Set<string>()
          for (const value of ['a', 'b', 'c']) {
            const error: unknown = await log.append([{ value }]).then(
              () => null,
              (caught: unknown) => caught,
            )
            if (error === null) acknowledged.push(value)
            else if (error instanceof StorageError && error.outcome === 'unknown')
              unknown.add(value)
          }
          fs.clearFaults()
          await log.close().catch(() => undefined)
          const context = `${code} at operation ${operation}`
          for (const kind of ['process', 'power'] as const) {
            const again = await openLog(fs.restart(kind, { unsynced: 'lost' }))
            const values = await valuesOf(again)
            expect(again.damage, context).toBeNull()
            expect(
              values.filter((value) => !unknown.has(value)),
              context,
            ).toEqual(acknowledged)
          }
        }
      }
    },
  )
})

describe('a log whose state is kept by a broker', () => {
  /** What a broker would pass to a log, with a state in memory. */
  function contextIn(fileSystem: SimulatedFileSystem, recoveryPoint = 0): LogContext {
    return {
      topic: 'orders',
      partition: 0,
      fileSystem,
      clock: new ManualClock(NOW),
      random: new SeededRandom(1),
      config: resolveTopicConfig(SMALL, DEFAULT_TOPIC_CONFIG),
      readOnly: false,
      isClean: false,
      recoveryPoint,
      logStartOffset: 0,
      saveState: () => Promise.resolve(),
    }
  }

  it('makes the names of its files durable', async () => {
    const fs = new SimulatedFileSystem()
    await createDurably(fs, DIR)
    const log = await Log.load(DIR, contextIn(fs))
    await log.append([{ value: 'v0' }])
    await log.roll()
    await log.append([{ value: 'v1' }])
    await log.checkpoint()
    const lost = fs.restart('power', { unsynced: 'lost' })
    expect(lost.snapshot().has(pathOf(1, 'index'))).toBe(true)
    const again = await Log.load(DIR, contextIn(lost, log.state.recoveryPoint))
    expect(again.recovery.rebuiltIndexes).toEqual([])
    expect(await valuesOf(again)).toEqual(valuesUpTo(2))
    await again.close()
  })

  it('makes file names durable that a crash left unsynced', async () => {
    const fs = new SimulatedFileSystem()
    await createDurably(fs, DIR)
    const log = await Log.load(DIR, contextIn(fs))
    await log.append([{ value: 'v0' }])
    // The new segment has a name, but its directory is not synced.
    let isRolling = false
    const sync = fs.syncDirectory.bind(fs)
    fs.syncDirectory = async (path) => {
      if (isRolling) fs.crashAt(1, { when: 'before' })
      isRolling = true
      await sync(path)
    }
    await log.roll().catch(() => undefined)
    const next = fs.restart('process')
    expect(next.snapshot().has(pathOf(1))).toBe(true)
    const again = await Log.load(DIR, contextIn(next))
    await again.append([{ value: 'v1' }])
    const last = await Log.load(DIR, contextIn(next.restart('power', { unsynced: 'lost' })))
    expect(await valuesOf(last)).toEqual(valuesUpTo(2))
  })
})

function totalBytes(fs: SimulatedFileSystem): number {
  return [...fs.snapshot().values()].reduce((sum, bytes) => sum + bytes.length, 0)
}

async function operationsOf(
  fs: SimulatedFileSystem,
  call: () => Promise<unknown>,
): Promise<number> {
  const before = fs.operationCount
  await call()
  return fs.operationCount - before
}

async function operationsOfThreeAppends(): Promise<number> {
  const { fs, log } = await openedLog(2)
  const before = fs.operationCount
  for (const value of ['a', 'b', 'c']) await log.append([{ value }])
  return fs.operationCount - before
}
