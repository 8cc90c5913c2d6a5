import { describe, expect, it } from 'vitest'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, NOW, offsetsOf, openLog, pathOf } from './log-fixtures.ts'

const ENTRY_BYTES = 34

/** What a broker records about an aborted transaction. */
function entry(producerId: number, lastOffset = 0): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES)
  bytes.writeBigInt64BE(BigInt(producerId), 2)
  bytes.writeBigInt64BE(BigInt(lastOffset), 18)
  return bytes
}

/** The last offsets of the entries, segment by segment. */
function notedIn(fs: SimulatedFileSystem): number[] {
  const noted: number[] = []
  for (const [path, bytes] of fs.snapshot()) {
    if (!path.endsWith('.txnindex')) continue
    const entries = Buffer.from(bytes)
    for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
      noted.push(Number(entries.readBigInt64BE(at + 18)))
    }
  }
  return noted.sort((a, b) => a - b)
}

/** Segments at 0, 2, 4 and 6; compaction merges the first three. */
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

describe('transaction index entries of a Kafka broker', () => {
  it('are kept durably in the segment that replaces theirs in a compaction', async () => {
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

  it('are kept wherever a crash interrupts the compaction', async () => {
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

  it('are joined by a compaction without the partial entries that a killed broker has left', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await written(fs)
    fs.writeFile(pathOf(0, 'txnindex'), Buffer.concat([entry(1), entry(2).subarray(0, 30)]))
    fs.writeFile(pathOf(2, 'txnindex'), entry(2).subarray(0, 30))
    await log.cleaner.compact(OPTIONS)
    expect(fs.readFile(pathOf(0, 'txnindex'))).toEqual(Buffer.concat([entry(1), entry(3)]))
    expect(await offsetsOf(log)).toEqual([5])
    await log.close()
  })

  it('are truncated at the next open to whole entries if a broker was killed while it wrote one', async () => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    fs.writeFile(pathOf(0), Buffer.concat([bytesOf({ baseOffset: 0 }), bytesOf({ baseOffset: 1 })]))
    fs.writeFile(pathOf(0, 'txnindex'), Buffer.concat([entry(1, 1), entry(2, 2).subarray(0, 30)]))
    await openLog(fs)
    expect(fs.readFile(pathOf(0, 'txnindex'))).toEqual(entry(1, 1))
  })
})

describe('transaction index entries beyond the end of a truncated log', () => {
  const ENDS = [1, 3, 4, 5, 7]

  /** Two records per segment, from 0 to 7, in a log that was closed cleanly. */
  async function closedLog(): Promise<SimulatedFileSystem> {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs)
    for (let each = 0; each < 8; each += 1) await log.append([{ value: `v${each}` }])
    await log.close()
    for (const base of [0, 2, 4, 6]) {
      const ends = ENDS.filter((each) => each >= base && each < base + 2)
      if (ends.length > 0) {
        fs.writeFile(pathOf(base, 'txnindex'), Buffer.concat(ends.map((each) => entry(each, each))))
      }
    }
    return fs
  }

  it.each([0, 1, 4, 5, 6, 7, 8])('are removed durably by a truncation to %i', async (offset) => {
    const fs = await closedLog()
    const log = await openLog(fs)
    await log.truncateTo(offset)
    const kept = ENDS.filter((each) => each < offset)
    expect(notedIn(fs)).toEqual(kept)
    expect(notedIn(fs.restart('power', { unsynced: 'lost', seed: 1 }))).toEqual(kept)
  })

  it('are removed at the next open, and no others, wherever a crash interrupts the truncation', async () => {
    const fs = await closedLog()
    const whole = fs.fork()
    const log = await openLog(whole)
    const before = whole.operationCount
    await log.truncateTo(1)
    const steps = whole.operationCount - before
    for (let step = 1; step <= steps; step += 1) {
      const crashed = fs.fork()
      const broken = await openLog(crashed)
      crashed.crashAt(step, { when: 'after' })
      await broken.truncateTo(1).catch(() => undefined)
      for (const [seed, kind] of (['process', 'power', 'power'] as const).entries()) {
        const after = crashed.restart(kind, { seed })
        const again = await openLog(after)
        const { logEndOffset } = again
        const expected = ENDS.filter((each) => each < logEndOffset)
        expect(notedIn(after), `step ${step}, ${kind}`).toEqual(expected)
        await again.append([{ value: 'in the place of another' }])
        const lost = after.restart('power', { unsynced: 'lost', seed })
        expect(notedIn(lost), `step ${step}, ${kind}, and power`).toEqual(expected)
      }
    }
  })

  it('are removed if the end of the log is torn', async () => {
    const fs = await closedLog()
    const dirty = fs.restart('process', { seed: 1 })
    const bytes = dirty.readFile(pathOf(6))
    dirty.writeFile(pathOf(6), bytes.subarray(0, -1))
    for (const name of ['varve-segments', 'recovery-point-offset-checkpoint']) {
      await dirty.unlink(`${DIR}/${name}`).catch(() => undefined)
    }
    await dirty.unlink(`${DIR}/.kafka_cleanshutdown`)
    const log = await openLog(dirty)
    expect(log.logEndOffset).toBe(7)
    expect(notedIn(dirty)).toEqual([1, 3, 4, 5])
  })
})
