import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { NOW, offsetsOf, openLog, pathOf } from './log-fixtures.ts'

const ENTRY_BYTES = 34

/** What a broker notes of an aborted transaction; which one it is counts here only. */
function entry(producerId: number): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES)
  bytes.writeBigInt64BE(BigInt(producerId), 2)
  return bytes
}

/** Segments at 0, 2, 4 and 6, the first three of which compaction makes one of. */
async function written(fs: SimulatedFileSystem): Promise<Log> {
  const log = await openLog(fs, { config: { segmentBytes: 200, cleanupPolicy: 'compact' } })
  for (let each = 0; each < 6; each += 1) {
    await log.append([{ key: 'k', value: `v${each}`, timestamp: NOW }])
  }
  await log.roll()
  log.config = { ...log.config, segmentBytes: 2000 }
  fs.writeFile(pathOf(0, 'txnindex'), Buffer.concat([entry(1), entry(2)]))
  fs.writeFile(pathOf(2, 'txnindex'), Buffer.alloc(0))
  fs.writeFile(pathOf(4, 'txnindex'), entry(3))
  return log
}

const OPTIONS = { checkpoint: 0, dedupeBufferBytes: 4096 }

describe('transactions that a broker has noted as aborted', () => {
  it('stay so in the segment that takes the place of theirs, also when the power goes', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await written(fs)
    await log.cleaner.compact(OPTIONS)
    expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 6])
    const noted = Buffer.concat([entry(1), entry(2), entry(3)])
    for (const disk of [fs, fs.restart('power', { unsynced: 'lost', seed: 1 })]) {
      expect(disk.readFile(pathOf(0, 'txnindex'))).toEqual(noted)
      const names = [...disk.snapshot().keys()].filter((path) => path.includes('txnindex'))
      expect(names).toEqual([pathOf(0, 'txnindex')])
    }
  })

  it('stay so wherever a crash ends the pass', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    await (await written(fs)).close()
    const config = { segmentBytes: 2000, cleanupPolicy: 'compact' } as const
    const whole = fs.fork()
    const log = await openLog(whole, { config })
    const before = whole.operationCount
    await log.cleaner.compact(OPTIONS)
    const steps = whole.operationCount - before
    for (let step = 1; step <= steps; step += 1) {
      const crashed = fs.fork()
      const broken = await openLog(crashed, { config })
      crashed.crashAt(step, { when: 'after' })
      await broken.cleaner.compact(OPTIONS).catch(() => undefined)
      for (const [seed, kind] of (['process', 'power', 'power', 'power'] as const).entries()) {
        const after = crashed.restart(kind, { seed })
        const { segments } = await openLog(after, { config })
        const noted = [0, 2, 4].map((each) => after.snapshot().get(pathOf(each, 'txnindex')))
        const found = noted.map((bytes) => bytes ?? Buffer.alloc(0))
        expect(Buffer.concat(found), `step ${step}, ${kind}, ${segments.length}`).toEqual(
          Buffer.concat([entry(1), entry(2), entry(3)]),
        )
      }
    }
  })

  it('end a pass where they are damaged, and leave the log as it was', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await written(fs)
    fs.writeFile(pathOf(4, 'txnindex'), entry(3).subarray(0, 30))
    const pass = log.cleaner.compact(OPTIONS)
    await expect(pass).rejects.toBeInstanceOf(CorruptRecordError)
    await expect(pass).rejects.toMatchObject({ path: pathOf(4, 'txnindex'), position: 0 })
    expect(await offsetsOf(log)).toEqual([0, 1, 2, 3, 4, 5])
    expect([...fs.snapshot().keys()].filter((path) => path.endsWith('.cleaned'))).toEqual([])
  })
})
