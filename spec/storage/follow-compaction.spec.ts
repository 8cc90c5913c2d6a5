import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import type { TopicConfig } from '../../lib/config.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { seenThrough } from '../helpers/seen-through.ts'
import { openLog, pathOf, valuesOf } from './log-fixtures.ts'

const COMPACTED: TopicConfig = {
  segmentBytes: 2 ** 20,
  cleanupPolicy: 'compact',
  minCleanableDirtyRatio: 0,
  minCompactionLagMs: 0,
}

function compact(log: Log): Promise<unknown> {
  return log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 65_536 })
}

/** A promise, and the function that resolves it. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

it('notices a compacted file of the same size as the one known before', async () => {
  const fs = new SimulatedFileSystem()
  const writer = await openLog(fs, { config: COMPACTED })
  await writer.append([{ key: 'k', value: 'v0' }])
  const reader = await openLog(fs, { config: COMPACTED, readOnly: true })
  await writer.append([{ key: 'k', value: 'v1' }])
  await writer.roll()
  await compact(writer)
  await writer.append([{ key: 'z', value: 'v2' }])
  await reader.refresh()
  expect(await valuesOf(reader)).toEqual(['v1', 'v2'])
})

it('keeps the log start offset if a compacted file is renamed during a refresh', async () => {
  const fs = new SimulatedFileSystem()
  const [waiting, going] = [gate(), gate()]
  const slow = seenThrough(fs, {
    rename: async (from, to) => {
      if (from.endsWith('.log.swap')) {
        waiting.open()
        await going.opened
      }
      await fs.rename(from, to)
    },
  })
  const writer = await openLog(slow, { config: COMPACTED })
  for (const value of ['v0', 'v1']) await writer.append([{ key: 'k', value }])
  await writer.roll()
  let done: Promise<unknown> | null = null
  const beside = seenThrough(fs, {
    stat: async (path) => {
      if (path.endsWith('.log.swap')) {
        going.open()
        await done
      }
      return fs.stat(path)
    },
  })
  const reader = await openLog(beside, { config: COMPACTED, readOnly: true })
  done = compact(writer)
  await waiting.opened
  await reader.refresh()
  await reader.refresh()
  expect([reader.logStartOffset, await valuesOf(reader)]).toEqual([0, ['v1']])
})

it('reads a segment that has no name for a moment during its compaction', async () => {
  const fs = new SimulatedFileSystem()
  const [swapping, going, unnamed, named] = [gate(), gate(), gate(), gate()]
  const slow = seenThrough(fs, {
    rename: async (from, to) => {
      if (from.endsWith('.log.cleaned')) {
        swapping.open()
        await going.opened
      }
      if (from.endsWith('.log.swap')) {
        unnamed.open()
        await named.opened
      }
      await fs.rename(from, to)
    },
  })
  const writer = await openLog(slow, { config: COMPACTED })
  for (const value of ['v0', 'v1', 'v2']) await writer.append([{ key: value, value }])
  await writer.append([{ key: 'v2', value: 'v3' }])
  await writer.roll()
  await writer.append([{ key: 'v4', value: 'v4' }])
  await writer.checkpoint()
  const done = compact(writer)
  await swapping.opened
  let isFirst = true
  const beside = seenThrough(fs, {
    stat: async (path) => {
      if (path !== pathOf(0) || !isFirst) return fs.stat(path)
      isFirst = false
      going.open()
      await unnamed.opened
      const found = await fs.stat(path)
      named.open()
      await done
      return found
    },
  })
  const reader = await openLog(beside, { config: COMPACTED, readOnly: true })
  expect(await valuesOf(reader)).toEqual(['v0', 'v1', 'v3', 'v4'])
})

it.each([10, 40, 150])(
  'opens a log without a checkpoint while segments are swapped every %i operations',
  async (stride) => {
    const fs = new SimulatedFileSystem()
    const cleaner: { swap: (() => void) | null; isDone: boolean } = { swap: null, isDone: false }
    const isWaiting = (): boolean => cleaner.swap !== null
    const slow = seenThrough(fs, {
      rename: async (from, to) => {
        if (from.endsWith('.log.cleaned'))
          await new Promise<void>((resolve) => (cleaner.swap = resolve))
        await fs.rename(from, to)
      },
    })
    const config = { ...COMPACTED, segmentBytes: 2000, flushMessages: Number.MAX_SAFE_INTEGER }
    const writer = await openLog(slow, { config })
    for (let each = 0; each < 3000; each += 1) {
      const value = String(each).padStart(40, '.')
      await writer.append([{ key: `k${(each * 7919) % 1000}`, value }])
    }
    await writer.flush()
    await writer.roll()
    const done = compact(writer).finally(() => (cleaner.isDone = true))
    let operations = 0
    const operation = async <T>(run: () => Promise<T>): Promise<T> => {
      operations += 1
      if (operations % stride === 0) await swapOne()
      return run()
    }
    const swapOne = async (): Promise<void> => {
      cleaner.swap?.()
      cleaner.swap = null
      while (!isWaiting() && !cleaner.isDone) await nextTurn()
    }
    const beside = seenThrough(fs, {
      list: (path) => operation(() => fs.list(path)),
      stat: (path) => operation(() => fs.stat(path)),
      open: (path, mode) => operation(() => fs.open(path, mode)),
    })
    const reader = await openLog(beside, { config, readOnly: true })
    expect(reader.recovery).toEqual({
      truncations: [],
      rebuiltIndexes: [],
      failedSyncOffset: null,
      damage: null,
    })
    while (!cleaner.isDone) await swapOne()
    await done
    await reader.refresh()
    expect(await valuesOf(reader)).toEqual(await valuesOf(writer))
  },
)
