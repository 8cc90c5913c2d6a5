import { describe, expect, it } from 'vitest'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { watch } from '../client/consumer-harness.ts'
import { closeLogManager, openLogManager } from '../helpers/log-managers.ts'
import { settle } from '../helpers/settle.ts'
import type { Log } from '../../lib/storage/log.ts'
import { bytesOf, DIR, NOW, openLog, pathOf, SMALL, valuesOf } from './log-fixtures.ts'

const LARGE = { config: { segmentBytes: 5000, indexIntervalBytes: 32 } }

const KEPT = { highWatermark: 4, startOffset: 0, maxSizeBytes: Infinity, nowMs: NOW }

interface HeldCheckpoint {
  readonly fs: SimulatedFileSystem
  readonly log: Log
  readonly saving: Promise<void>
  /** Lets the checkpoint continue. */
  readonly release: () => void
}

/** A log of four records whose checkpoint is held before it writes its first index. */
async function heldCheckpoint(
  prepare: (log: Log) => Promise<unknown> = () => Promise.resolve(),
): Promise<HeldCheckpoint> {
  const fs = new SimulatedFileSystem()
  const log = await openLog(fs, LARGE)
  for (const value of ['v0', 'v1', 'v2', 'v3']) await log.append([{ value }])
  await prepare(log)
  let release = (): void => undefined
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const open = fs.open.bind(fs)
  const begun = new Promise<void>((resolve) => {
    fs.open = async (path, mode) => {
      if (path.endsWith('.index') && mode === 'create') {
        fs.open = open
        resolve()
        await released
      }
      return open(path, mode)
    }
  })
  const saving = log.checkpoint()
  await begun
  return { fs, log, saving, release }
}

async function failureOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => null,
    (error: unknown) => error,
  )
}

async function append(log: Log, ...values: string[]): Promise<void> {
  for (const value of values) await log.append([{ value }])
}

/** Whether the promise has settled once everything that can continue has done so. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const watched = watch(promise)
  await settle()
  return watched.isSettled
}

describe('a checkpoint in progress', () => {
  it('lets appends and flushes proceed, and does not cover them', async () => {
    const { fs, log, saving, release } = await heldCheckpoint()
    const before = log.bytesSinceCheckpoint
    await append(log, 'v4')
    await log.appendBatches([bytesOf()])
    await log.flush()
    expect([log.logEndOffset, log.durableEndOffset]).toEqual([6, 6])
    const meanwhile = log.bytesSinceCheckpoint - before
    release()
    await saving
    expect(log.state.recoveryPoint).toBe(4)
    expect(log.bytesSinceCheckpoint).toBe(meanwhile)
    const again = await openLog(fs.restart('power', { unsynced: 'lost' }), LARGE)
    expect(await valuesOf(again)).toEqual(['v0', 'v1', 'v2', 'v3', 'v4', 'v'])
  })

  it.each<[string, (log: Log) => Promise<unknown>]>([
    ['a roll', (log) => log.roll()],
    ['an append that rolls', (log) => log.appendBatches([bytesOf({ values: ['x'.repeat(4900)] })])],
    ['a truncation', (log) => log.truncateTo(2)],
    ['a deletion of records', (log) => log.advanceLogStartOffset(2)],
    ['retention', (log) => log.enforceRetention(() => KEPT)],
    ['another checkpoint', (log) => log.checkpoint()],
    ['a close', (log) => log.close()],
  ])('makes %s wait until it ends', async (_, change) => {
    const { fs, log, saving, release } = await heldCheckpoint()
    const changing = change(log)
    expect(await isSettled(changing)).toBe(false)
    release()
    await saving
    await changing
    const again = await openLog(fs.restart('process'), LARGE)
    expect(again.damage).toBeNull()
  })

  it('makes a flush wait if the record of segments lacks the active segment', async () => {
    const { fs, log, saving, release } = await heldCheckpoint(async (opened) => {
      await opened.roll()
      await opened.appendBatches([bytesOf()])
    })
    const flushing = log.flush()
    expect(await isSettled(flushing)).toBe(false)
    release()
    await Promise.all([saving, flushing])
    const again = await openLog(fs.restart('power', { unsynced: 'lost' }), LARGE)
    expect([again.damage, again.logEndOffset]).toEqual([null, 5])
  })

  it('delays the rejection of an append whose sync failed until it ends', async () => {
    const { fs, log, saving, release } = await heldCheckpoint()
    fs.failNext('datasync', 'EIO', { path: pathOf(0) })
    const appending = failureOf(log.append([{ value: 'lost' }]))
    expect(await isSettled(appending)).toBe(false)
    release()
    expect(await appending).toMatchObject({ outcome: 'unknown' })
    await saving
    expect(log.state.recoveryPoint).toBe(4)
    await log.close()
    const again = await openLog(fs.restart('power', { unsynced: 'lost' }), LARGE)
    expect(await valuesOf(again)).toEqual(['v0', 'v1', 'v2', 'v3'])
  })

  it('delays the undo of a failed write until it ends', async () => {
    const { fs, log, saving, release } = await heldCheckpoint()
    fs.failNext('write', 'ENOSPC', { path: pathOf(0) })
    const appending = failureOf(log.append([{ value: 'lost' }]))
    expect(await isSettled(appending)).toBe(false)
    release()
    expect(await appending).toMatchObject({ outcome: 'not-written' })
    await saving
    await append(log, 'v4')
    expect(await valuesOf(log)).toEqual(['v0', 'v1', 'v2', 'v3', 'v4'])
  })
})

describe('a failed checkpoint', () => {
  it('rejects, and leaves the recovery point and the bytes since the last checkpoint unchanged', async () => {
    const { fs, log, saving, release } = await heldCheckpoint()
    await append(log, 'v4')
    const bytes = log.bytesSinceCheckpoint
    fs.failNext('sync', 'EIO', { path: /checkpoint/ })
    release()
    expect(await failureOf(saving)).toMatchObject({ outcome: 'not-written' })
    expect([log.state.recoveryPoint, log.bytesSinceCheckpoint]).toEqual([0, bytes])
    await append(log, 'v5')
    await log.checkpoint()
    expect([log.state.recoveryPoint, log.bytesSinceCheckpoint]).toEqual([6, 0])
  })
})

it('keeps the producer snapshot of a checkpoint if records are appended meanwhile', async () => {
  const fs = new SimulatedFileSystem()
  const log = await openLog(fs, LARGE)
  await log.appendBatches([bytesOf({ producerId: 7, producerEpoch: 0, baseSequence: 0 })])
  await log.flush()
  const rename = fs.rename.bind(fs)
  fs.rename = async (from, to) => {
    await rename(from, to)
    if (to === pathOf(1, 'snapshot')) await append(log, 'meanwhile')
  }
  await log.checkpoint()
  expect(log.logEndOffset).toBe(2)
  const names = (await fs.list(DIR)).map(({ name }) => name)
  expect(names).toContain('00000000000000000001.snapshot')
})

it('makes the names of new indexes durable even if the checkpoint before failed half-way through them', async () => {
  const fs = new SimulatedFileSystem()
  const manager = await openLogManager(fs)
  const topic = await manager.create('t', 1, { ...SMALL, segmentBytes: 400 })
  for (let each = 0; each < 6; each += 1) await topic.partition(0).append({ value: 'v' })
  expect(topic.partition(0).log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 5])
  await closeLogManager(manager)
  const first = `/data/t-0/${'0'.repeat(20)}`
  for (const kind of ['index', 'timeindex']) await fs.unlink(`${first}.${kind}`)
  await fs.syncDirectory('/data/t-0')

  const again = await openLogManager(fs, { isClean: true })
  const { log } = again.get('t')?.partition(0) ?? topic.partition(0)
  await log.append([{ value: 'v' }])
  await log.checkpoint()
  // The indexes of the first segment are rebuilt, and those of the second one get an entry.
  await log.read(0)
  await log.append([{ value: 'v' }])
  await log.flush()
  fs.failNext('open', 'EIO', { path: /t-0.0*5\.index$/ })
  await expect(log.checkpoint()).rejects.toMatchObject({ cause: { code: 'EIO' } })
  await log.checkpoint()

  const later = await openLogManager(fs.restart('power', { unsynced: 'lost' }))
  expect(later.get('t')?.partition(0).log.recovery.rebuiltIndexes).toEqual([])
})
