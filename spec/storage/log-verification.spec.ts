import { describe, expect, it } from 'vitest'
import { LEADER_EPOCH_POSITION } from '../../lib/record/batch-layout.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import type { Log } from '../../lib/storage/log.ts'
import {
  bytesOf,
  DIR,
  openLog,
  pathOf,
  recordOpenFiles,
  SMALL,
  valuesUpTo,
  writtenLog,
} from './log-fixtures.ts'

const CHECKPOINT = `${DIR}/leader-epoch-checkpoint`
const SIZE = bytesOf({ values: ['v0'] }).length

/**
 * Three segments of two records in three epochs, closed cleanly, but without a record of segments,
 * as another broker leaves them: no checksum covers the epochs.
 */
async function leftByOther(): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem()
  const log = await openLog(fs)
  for (const value of valuesUpTo(6)) await log.append([{ key: 'k', value }])
  await log.close()
  for (const offset of [2, 4]) {
    for (let each = 0; each < 2; each += 1) setEpoch(fs, offset, each, offset / 2)
  }
  fs.writeFile(CHECKPOINT, Buffer.from('0\n3\n0 0\n1 2\n2 4\n'))
  await fs.unlink(`${DIR}/varve-segments`)
  return fs
}

/** Changes the epoch of a batch, by its slot in a segment. */
function setEpoch(fs: SimulatedFileSystem, segment: number, slot: number, epoch: number): void {
  const bytes = fs.readFile(pathOf(segment))
  bytes.writeInt32BE(epoch, slot * SIZE + LEADER_EPOCH_POSITION)
  fs.writeFile(pathOf(segment), bytes)
}

describe('verify', () => {
  it('accepts epochs that match the checkpoint, and epochs that the checkpoint does not list', async () => {
    const fs = await leftByOther()
    expect(await (await openLog(fs.fork())).verify()).toEqual([])
    const log = await openLog(fs)
    await log.advanceLogStartOffset(3)
    await log.truncateTo(5)
    await log.append([{ key: 'k', value: 'v5' }])
    expect(await log.verify()).toEqual([])
    fs.writeFile(CHECKPOINT, Buffer.from('0\n0\n'))
    expect(await (await openLog(fs, { readOnly: true })).verify()).toEqual([])
  })

  it.each([
    ['higher', 3],
    ['lower', 0],
    ['unknown', -1],
  ])('reports a batch whose epoch became %s, which opening does not detect', async (_, epoch) => {
    const fs = await leftByOther()
    setEpoch(fs, 2, 1, epoch)
    const log = await openLog(fs)
    expect(log.damage).toBeNull()
    expect(await log.verify()).toMatchObject([
      {
        code: 'CORRUPT_MESSAGE',
        reason: `its leader epoch is ${epoch}, not 1`,
        path: pathOf(2),
        position: SIZE,
        firstOffset: 3,
        lastOffset: 3,
      },
    ])
  })

  it('reports epochs that decrease if the checkpoint is rebuilt from them', async () => {
    const fs = await leftByOther()
    setEpoch(fs, 2, 0, 7)
    await fs.unlink(CHECKPOINT)
    const found = await (await openLog(fs)).verify()
    expect(found.map(({ reason }) => reason)).toEqual([
      'its leader epoch is 1, not 7',
      'its leader epoch is 2, not 7',
    ])
  })
})

describe('a log during its verification', () => {
  it('reports batches that are sound in themselves, but not those whose checksum was recorded', async () => {
    const fs = await writtenLog(6)
    const epoch = fs.readFile(pathOf(2)).readInt32BE(LEADER_EPOCH_POSITION)
    const others = [2, 3].map((baseOffset) => bytesOf({ values: ['v9'], baseOffset, epoch }))
    fs.writeFile(pathOf(2), Buffer.concat(others))
    const log = await openLog(fs, { readOnly: true })
    const [found] = await log.verify()
    expect(found).toMatchObject({ path: pathOf(2), position: 0 })
    expect(found?.message).toMatch(/the checksum of the file is 0x[0-9a-f]{8}, but the/)
  })

  it('accepts appends, which do not wait for the verification', async () => {
    const log = await openLog(await writtenLog(40))
    const order: string[] = []
    const verifying = log.verify().then((found) => order.push(`verified ${found.length}`))
    const appending = log.append([{ value: 'v' }]).then(() => order.push('appended'))
    await Promise.all([verifying, appending])
    expect(order).toEqual(['appended', 'verified 0'])
  })

  it('is verified to the end even while appends continue', async () => {
    const log = await openLog(await writtenLog(40), { config: { ...SMALL, segmentBytes: 100_000 } })
    const found: unknown[] = []
    const verifying = log.verify().then((damages) => found.push(damages))
    for (let each = 0; each < 200 && found.length === 0; each += 1) {
      await log.append([{ value: 'v' }])
    }
    expect(found).toEqual([[]])
    await verifying
  })

  it.each<[string, (log: Log) => Promise<unknown>]>([
    ['truncated', (log) => log.truncateTo(3)],
    ['deleted from', (log) => log.advanceLogStartOffset(35)],
    ['compacted', (log) => log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 1024 * 1024 })],
    [
      'rolled, in a new epoch',
      (log) => log.truncateTo(40).then(() => log.append([{ key: 'k', value: 'v' }])),
    ],
  ])('is reported as sound if it is %s at any moment', async (_, change) => {
    const fs = await writtenLog(40)
    for (let after = 0; after < 60; after += 3) {
      const forked = fs.fork()
      const log = await openLog(forked, { config: { ...SMALL, cleanupPolicy: 'compact' } })
      let calls = 0
      const changes: Promise<unknown>[] = []
      forked.observe(() => {
        if (calls++ === after) changes.push(change(log))
      })
      expect(await log.verify(), `after ${after} calls`).toEqual([])
      forked.observe(null)
      await Promise.all(changes)
      expect(await log.verify()).toEqual([])
      await log.close()
    }
  })

  it('can be closed without waiting for the verification, which leaves no file open', async () => {
    const fs = await writtenLog(40)
    const openFiles = recordOpenFiles(fs)
    const log = await openLog(fs)
    const verifying = log.verify()
    const rejected = expect(verifying).rejects.toMatchObject({ code: 'CLOSED' })
    await log.close()
    expect(openFiles()).toEqual([])
    await rejected
  })
})

describe('a log that is verified while another process writes it', () => {
  it.each<[string, (log: Log) => Promise<unknown>]>([
    ['appended to', (log) => log.append([{ key: 'k', value: 'v' }])],
    ['truncated', (log) => log.truncateTo(3)],
    ['deleted from', (log) => log.advanceLogStartOffset(35)],
    ['compacted', (log) => log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 1024 * 1024 })],
  ])('is reported as sound if it is %s at any moment', async (_, change) => {
    const fs = await writtenLog(40)
    for (let after = 0; after < 60; after += 3) {
      const forked = fs.fork()
      const writer = await openLog(forked, { config: { ...SMALL, cleanupPolicy: 'compact' } })
      const reader = await openLog(forked, { readOnly: true })
      let calls = 0
      const changes: Promise<unknown>[] = []
      forked.observe(() => {
        if (calls++ === after) changes.push(change(writer))
      })
      expect(await reader.verify(), `after ${after} calls`).toEqual([])
      forked.observe(null)
      await Promise.all(changes)
      expect(await reader.verify()).toEqual([])
      await Promise.all([writer.close(), reader.close()])
    }
  })

  it('is reported as damaged at a damaged batch, and at a missing segment', async () => {
    const fs = await writtenLog(6)
    const reader = await openLog(fs, { readOnly: true })
    fs.flipBit(pathOf(2), 66, 1)
    expect(await reader.verify()).toMatchObject([{ path: pathOf(2), firstOffset: 2 }])
    await fs.unlink(pathOf(2))
    expect(await reader.verify()).toMatchObject([{ path: DIR, firstOffset: 2 }])
  })
})
