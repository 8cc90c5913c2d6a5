import { expect, it } from 'vitest'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { NOW, offsetsOf, openLog, SMALL } from './log-fixtures.ts'

const CONFIG = { ...SMALL, cleanupPolicy: 'compact', flushMessages: 1000, flushMs: 60_000 } as const

it('keeps acknowledged records of a relaxed topic if a replacement of segments fails halfway', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config: CONFIG })
  for (const key of ['a', 'a', 'a', 'b']) await log.append([{ key, value: 'v', timestamp: NOW }])
  await log.roll()
  // Acknowledged, as the topic allows, but not synced. No sync of it fails either.
  await log.append([{ key: 'c', value: 'acknowledged', timestamp: NOW }])
  fs.failNext('unlink', 'EIO', { path: /0\.log$/ })
  await log.cleaner
    .compact({ checkpoint: 0, dedupeBufferBytes: 1024 * 1024 })
    .catch(() => undefined)
  expect(log.failure).not.toBeNull()
  await log.close().catch(() => undefined)
  const again = await openLog(fs.restart('process'), { config: CONFIG })
  expect((await offsetsOf(again)).at(-1)).toBe(4)
  expect(again.logEndOffset).toBe(5)
})
