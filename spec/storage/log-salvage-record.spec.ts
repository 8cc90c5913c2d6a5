import { describe, expect, it } from 'vitest'
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

it('saves a segment that was rolled after the record of segments was written, on a relaxed topic', async () => {
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

it('saves acknowledged records even if there was no room to record their segment', async () => {
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

it('reports what is missing at the end of a segment rolled after the record of segments was written', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config: { ...CONFIG, flushMessages: 1000, flushMs: 60_000 } })
  await appendUpTo(log, 2)
  await log.flush()
  await log.checkpoint()
  await appendUpTo(log, 10)
  const stopped = fs.restart('process')
  const bytes = stopped.readFile(pathOf(0))
  // The last two batches of the segment are lost.
  stopped.writeFile(pathOf(0), bytes.subarray(0, bytes.length - 2 * 71))
  const { offsets, lost } = await salvaged(stopped)
  expect(offsets).toEqual([0, 1, 2, 3, 4, 7, 8, 9])
  expect(lost).toMatchObject([{ firstOffset: 5, lastOffset: 6 }])
})

describe('a damaged base offset, which no checksum covers', () => {
  const SIZE = 71

  /** Ten records in segments of seven and three. */
  async function closed(): Promise<SimulatedFileSystem> {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs, { config: CONFIG })
    await appendUpTo(log, 10)
    await log.close()
    return fs
  }

  it('moves no batch beyond its segment, even if the next segment is missing', async () => {
    const fs = await closed()
    fs.flipBit(pathOf(0), 6 * SIZE + 5, 4)
    await fs.unlink(pathOf(7))
    const { offsets, lost } = await salvaged(fs)
    expect(offsets).toEqual(upTo(6))
    expect(lost).toMatchObject([
      { firstOffset: 6, lastOffset: 6, path: pathOf(0) },
      { firstOffset: 7, lastOffset: 9 },
    ])
  })

  it('moves no batch into a gap that did not exist', async () => {
    const fs = await closed()
    fs.flipBit(pathOf(7), 2 * SIZE + 6, 2)
    const { offsets, lost } = await salvaged(fs)
    expect(offsets).toEqual(upTo(9))
    expect(lost).toMatchObject([
      { firstOffset: 9, lastOffset: 9, reason: 'its base offset is 1033, not 9' },
    ])
  })
})

it.each([3, 8])(
  'loses nothing to an empty file whose base offset is inside a recorded segment: %i',
  async (base) => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs, { config: CONFIG })
    await appendUpTo(log, 10)
    expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 7])
    await log.close()
    fs.writeFile(pathOf(base), Buffer.alloc(0))
    expect(await salvaged(fs)).toEqual({ offsets: upTo(10), lost: [] })
  },
)

it('reports an unknown last offset for damage that extends beyond the recorded length', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config: CONFIG })
  await appendUpTo(log, 2)
  await log.checkpoint()
  await appendUpTo(log, 4)
  const stopped = fs.restart('process')
  stopped.writeFile(pathOf(0), stopped.readFile(pathOf(0)).fill(7, 71))
  const { offsets, lost } = await salvaged(stopped)
  expect(offsets).toEqual([0])
  expect(lost).toMatchObject([{ firstOffset: 1, lastOffset: null }])
})

it('continues with an unused leader epoch if one is damaged in a batch or has lost its records', async () => {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config: CONFIG })
  await appendUpTo(log, 7)
  await log.truncateTo(5)
  await appendUpTo(log, 10)
  expect(log.leaderEpoch).toBe(1)
  await log.close()
  // The epoch of the first batch rots, and everything that epoch 1 has written.
  fs.flipBit(pathOf(0), 13, 0)
  for (const [path, from] of [[pathOf(0), 5 * 71] as const, [pathOf(7), 0] as const]) {
    fs.writeFile(path, fs.readFile(path).fill(7, from))
  }
  await salvaged(fs)
  const saved = await Log.open(TARGET, { fileSystem: fs, config: CONFIG })
  expect(await offsetsOf(saved)).toEqual(upTo(5))
  expect(saved.leaderEpoch).toBeGreaterThan(1)
  expect(saved.leaderEpoch).toBeLessThan(10)
  // The rotten epoch is corrected.
  expect(await saved.verify()).toEqual([])
})

describe('leader epochs of batches, which no batch checksum covers', () => {
  /** Three segments of two epochs, the second from offset 5 on. */
  async function ofTwoEpochs(): Promise<SimulatedFileSystem> {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs, { config: CONFIG })
    await appendUpTo(log, 7)
    await log.truncateTo(5)
    await appendUpTo(log, 15)
    expect(log.segments.map(({ baseOffset }) => baseOffset)).toEqual([0, 7, 13])
    await log.close()
    return fs
  }

  const logsOf = (fs: SimulatedFileSystem, dir: string): string[] =>
    [0, 7, 13].map((base) => fs.readFile(pathOf(base).replace(DIR, dir)).toString('hex'))

  it.each([0, 7, 13])(
    'are corrected in the copy of segment %i if one is damaged there, and unchanged in the other copies',
    async (base) => {
      const fs = await ofTwoEpochs()
      const sound = logsOf(fs, DIR)
      fs.flipBit(pathOf(base), 15, 3)
      const { offsets, lost } = await salvaged(fs)
      expect([offsets, lost]).toEqual([upTo(15), []])
      expect(logsOf(fs, TARGET)).toEqual(sound)
      const saved = await Log.open(TARGET, { fileSystem: fs, config: CONFIG })
      expect(await saved.verify()).toEqual([])
    },
  )

  // The log is damaged, so that no recorded checksum matches.
  it.each([
    ['has rotted', '\n1 5\n', '\n3 5\n'],
    ['is behind', '\n2\n0 0\n1 5\n', '\n1\n0 0\n'],
  ])('are trusted if they are in sequence and the checkpoint %s', async (_, now, then) => {
    const fs = await ofTwoEpochs()
    const checkpoint = `${DIR}/leader-epoch-checkpoint`
    const text = fs.readFile(checkpoint).toString()
    expect(text).toContain(now)
    fs.writeFile(checkpoint, Buffer.from(text.replace(now, then)))
    for (const base of [0, 7, 13]) fs.flipBit(pathOf(base), 70, 1)
    const sound = [0, 7, 13].map((base) => {
      const bytes = fs.readFile(pathOf(base))
      return bytes.subarray(bytes.readInt32BE(8) + 12).toString('hex')
    })
    const { offsets } = await salvaged(fs)
    expect(offsets).toEqual(upTo(15).filter((offset) => ![0, 7, 13].includes(offset)))
    expect(logsOf(fs, TARGET)).toEqual(sound)
    const saved = await Log.open(TARGET, { fileSystem: fs, config: CONFIG })
    expect(await saved.verify()).toEqual([])
    expect(saved.leaderEpoch).toBeGreaterThanOrEqual(1)
  })

  it('are trusted if the recorded checksum covers them and the checkpoint is damaged', async () => {
    const fs = await ofTwoEpochs()
    const sound = logsOf(fs, DIR)
    const checkpoint = `${DIR}/leader-epoch-checkpoint`
    const text = fs.readFile(checkpoint).toString()
    expect(text).toContain('\n1 5\n')
    fs.writeFile(checkpoint, Buffer.from(text.replace('\n1 5\n', '\n3 5\n')))
    const { offsets, lost } = await salvaged(fs)
    expect([offsets, lost]).toEqual([upTo(15), []])
    expect(logsOf(fs, TARGET)).toEqual(sound)
    const saved = await Log.open(TARGET, { fileSystem: fs, config: CONFIG })
    expect(await saved.verify()).toEqual([])
  })
})

describe('records that compaction has removed', () => {
  /** Of the first segment 0, 2 and 4 are left. */
  async function compacted(): Promise<SimulatedFileSystem> {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const config = { ...CONFIG, cleanupPolicy: 'compact' } as const
    const log = await openLog(fs, { config })
    const keys = ['a', 'b', 'c', 'b', 'd', 'x', 'x', 'x', 'b']
    for (const key of keys) await log.append([{ key, value: 'v' }])
    await log.roll()
    await log.append([{ key: 'last', value: 'v' }])
    await log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 1024 * 1024 })
    expect(await offsetsOf(log)).toEqual([0, 2, 4, 7, 8, 9])
    await log.close()
    return fs
  }

  it('are not reported as lost', async () => {
    const { offsets, lost } = await salvaged(await compacted())
    expect([offsets, lost]).toEqual([[0, 2, 4, 7, 8, 9], []])
  })

  it('do not hide a batch that is lost', async () => {
    const fs = await compacted()
    const size = fs.readFile(pathOf(0)).readInt32BE(8) + 12
    fs.flipBit(pathOf(0), 2 * size - 1, 2)
    const { offsets, lost } = await salvaged(fs)
    expect(offsets).toEqual([0, 4, 7, 8, 9])
    expect(lost).toMatchObject([{ firstOffset: 1, lastOffset: 3, position: size }])
  })

  it('are not reported as lost if the end of the file is missing', async () => {
    const fs = await compacted()
    const bytes = fs.readFile(pathOf(0))
    const size = bytes.readInt32BE(8) + 12
    fs.writeFile(pathOf(0), bytes.subarray(0, 2 * size))
    const { offsets, lost } = await salvaged(fs)
    expect(offsets).toEqual([0, 2, 7, 8, 9])
    expect(lost).toMatchObject([{ firstOffset: 3, lastOffset: 6 }])
  })

  it('are reported as lost if a damaged base offset makes the recorded checksum mismatch', async () => {
    const fs = await compacted()
    const size = fs.readFile(pathOf(0)).readInt32BE(8) + 12
    // The batch at 2 claims to be at 3.
    fs.flipBit(pathOf(0), size + 7, 0)
    const { offsets, lost } = await salvaged(fs)
    expect(offsets).toEqual([0, 3, 4, 7, 8, 9])
    expect(lost).toMatchObject([
      { firstOffset: 1, lastOffset: 2 },
      { firstOffset: 5, lastOffset: 5 },
    ])
  })
})
