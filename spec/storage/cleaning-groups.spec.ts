import { expect, it } from 'vitest'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { NOW, offsetsOf, openLog, recordOpenFiles, upTo } from './log-fixtures.ts'

const COUNT = 200

it('compacts a log of many small segments in several passes with few files open', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const openFiles = recordOpenFiles(fs)
  const log = await openLog(fs, { config: { segmentBytes: 100, cleanupPolicy: 'compact' } })
  for (const each of upTo(COUNT)) {
    await log.append([{ key: `k${each}`, value: 'v', timestamp: NOW }])
  }
  await log.roll()
  expect(log.segments).toHaveLength(COUNT + 1)
  // From now on the log keeps fewer segments.
  log.config = { ...log.config, segmentBytes: 1_000_000 }
  let most = 0
  fs.observe(() => {
    most = Math.max(most, openFiles().length)
  })
  const lengths: number[] = []
  for (const checkpoint of [0, COUNT]) {
    await log.cleaner.compact({ checkpoint, dedupeBufferBytes: 100_000 })
    lengths.push(log.segments.length)
  }
  expect(lengths).toEqual([5, 2])
  // Some of those that were read last are open too.
  expect(most).toBeLessThan(110)
  expect(await offsetsOf(log)).toEqual(upTo(COUNT))
  expect(await log.verify()).toEqual([])
})
