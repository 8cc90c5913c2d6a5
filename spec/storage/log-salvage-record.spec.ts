import { expect, it } from 'vitest'
import { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, NOW, offsetsOf, openLog, pathOf, upTo } from './log-fixtures.ts'

const TARGET = '/saved/orders-0'
/** Seven batches share a segment. */
const CONFIG = { segmentBytes: 500, indexIntervalBytes: 32 }

async function appendUpTo(log: Log, end: number): Promise<void> {
  for (let each = log.logEndOffset; each < end; each += 1) {
    await log.append([{ key: 'k', value: `v${each}`, timestamp: NOW + each }])
  }
}

async function salvaged(fs: SimulatedFileSystem): Promise<{ offsets: number[]; lost: unknown[] }> {
  const { lost } = await Log.salvage(DIR, TARGET, { fileSystem: fs, config: CONFIG })
  const log = await Log.open(TARGET, { fileSystem: fs, config: CONFIG })
  return { offsets: await offsetsOf(log), lost: [...lost] }
}

it('saves what is in a segment that was rolled since the record was written, on a relaxed topic', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config: { ...CONFIG, flushMessages: 1000, flushMs: 60_000 } })
  await appendUpTo(log, 2)
  await log.flush()
  await log.checkpoint()
  await appendUpTo(log, 10)
  const stopped = fs.restart('process')
  stopped.flipBit(pathOf(0), 66, 1)
  const { offsets, lost } = await salvaged(stopped)
  expect(offsets).toEqual(upTo(10).slice(1))
  expect(lost).toMatchObject([{ firstOffset: 0, lastOffset: 0 }])
})

it('saves what was acknowledged though there was no room to record the new segment', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config: CONFIG })
  await appendUpTo(log, 2)
  await log.checkpoint()
  fs.failNext('open', 'ENOSPC', { path: /varve-segments/, persistent: true })
  await appendUpTo(log, 10)
  expect(log.durableEndOffset).toBe(10)
  const stopped = fs.restart('power', { unsynced: 'lost' })
  stopped.flipBit(pathOf(0), 66, 1)
  const { offsets, lost } = await salvaged(stopped)
  expect(offsets).toEqual(upTo(10).slice(1))
  expect(lost).toMatchObject([{ firstOffset: 0, lastOffset: 0 }])
})

it('tells what is missing at the end of a segment that was rolled since the record was written', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config: { ...CONFIG, flushMessages: 1000, flushMs: 60_000 } })
  await appendUpTo(log, 2)
  await log.flush()
  await log.checkpoint()
  await appendUpTo(log, 10)
  const stopped = fs.restart('process')
  const bytes = stopped.readFile(pathOf(0))
  // The last two batches of the segment are not there any more.
  stopped.writeFile(pathOf(0), bytes.subarray(0, bytes.length - 2 * 71))
  const { offsets, lost } = await salvaged(stopped)
  expect(offsets).toEqual([0, 1, 2, 3, 4, 7, 8, 9])
  expect(lost).toMatchObject([{ firstOffset: 5, lastOffset: 6 }])
})
