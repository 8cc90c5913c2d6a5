import { describe, expect, it } from 'vitest'
import type { TopicConfig } from '../../lib/config.ts'
import { crc32c } from '../../lib/record/crc32c.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SegmentRecordFile, type SegmentRecord } from '../../lib/storage/segment-record.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, openLog, pathOf, valuesOf, valuesUpTo, writtenLog } from './log-fixtures.ts'
import { batchBounds } from './rot.ts'

const FILE = `${DIR}/leader-epoch-checkpoint`
const RECORD = `${DIR}/varve-segments`
/** The position of the epoch in a batch. */
const EPOCH_AT = 12
/** All batches in one file. */
const LARGE: TopicConfig = { segmentBytes: 5000 }

/** Three records of epoch 0, and those from offset 3 on of epoch 1. */
async function twoEpochs(
  end: 'closed' | 'killed',
  config: TopicConfig = LARGE,
): Promise<SimulatedFileSystem> {
  const fs = (await writtenLog(3, { config, close: false })).restart('process')
  const log = await openLog(fs, { config })
  for (const value of ['v3', 'v4', 'v5']) await log.append([{ value }])
  if (end === 'closed') await log.close()
  return fs.restart('process')
}

function write(fs: SimulatedFileSystem, text: string): SimulatedFileSystem {
  fs.writeFile(FILE, Buffer.from(text))
  return fs
}

function setEpoch(fs: SimulatedFileSystem, batch: number, epoch: number): SimulatedFileSystem {
  const bytes = Buffer.from(fs.readFile(pathOf(0)))
  bytes.writeInt32BE(epoch, (batchBounds(bytes)[batch] ?? 0) + EPOCH_AT)
  fs.writeFile(pathOf(0), bytes)
  return fs
}

describe.each(['closed', 'killed'] as const)('a log that was %s', (end) => {
  it.each([[LARGE], [{ segmentBytes: 200 }]])(
    'opens without damage whichever digit of its epoch checkpoint is wrong, with %o',
    async (config) => {
      const sound = await twoEpochs(end, config)
      const text = sound.readFile(FILE).toString()
      expect(text).toBe('0\n2\n0 0\n1 3\n')
      let believed = 0
      for (let at = 0; at < text.length; at += 1) {
        for (const digit of '0123456789') {
          if (!/\d/.test(text.charAt(at)) || text.charAt(at) === digit) continue
          const rotten = `${text.slice(0, at)}${digit}${text.slice(at + 1)}`
          const fs = write(sound.fork(), rotten)
          const log = await openLog(fs, { config })
          expect(log.damage, rotten).toBeNull()
          expect(log.recovery.truncations, rotten).toEqual([])
          expect(await valuesOf(log), rotten).toEqual(valuesUpTo(6))
          if (log.recovery.rebuiltIndexes.includes(FILE)) {
            expect([0, 2, 3, 5].map((offset) => log.reader.epochOf(offset))).toEqual([0, 0, 1, 1])
            expect(log.leaderEpoch, rotten).toBeGreaterThan(1)
          } else believed += 1
          await log.append([{ value: 'v6' }])
          await log.close()
          const again = await openLog(fs, { config })
          expect(again.recovery, rotten).toEqual({
            ...{ truncations: [], rebuiltIndexes: [], failedSyncOffset: null, damage: null },
          })
          expect(await valuesOf(again), rotten).toEqual(valuesUpTo(7))
        }
      }
      // Parts that an open does not read may be wrong unnoticed.
      expect(believed).toBeLessThan(20)
    },
  )

  it('is followed without a truncation whichever digit of its epoch checkpoint is wrong', async () => {
    const fs = await twoEpochs(end)
    const writer = await openLog(fs, { config: LARGE })
    await writer.append([{ value: 'v6' }])
    const text = fs.readFile(FILE).toString()
    const endsIn = (log: Log): unknown =>
      [0, 1, 2].map((epoch) => log.reader.endOffsetForEpoch(epoch))
    let count = 7
    let followed = 0
    for (let at = 0; at < text.length; at += 1) {
      for (const digit of '0123456789') {
        if (!/\d/.test(text.charAt(at)) || text.charAt(at) === digit) continue
        const rotten = `${text.slice(0, at)}${digit}${text.slice(at + 1)}`
        write(fs, rotten)
        const reader = await openLog(fs, { config: LARGE, readOnly: true })
        expect(reader.damage, rotten).toBeNull()
        if (!reader.recovery.rebuiltIndexes.includes(FILE)) continue
        followed += 1
        for (let each = 0; each < 2; each += 1) {
          await writer.append([{ value: `v${count++}` }])
          await reader.refresh()
          expect(await valuesOf(reader), rotten).toEqual(valuesUpTo(count))
          expect(endsIn(reader), rotten).toEqual(endsIn(writer))
        }
        await reader.close()
      }
    }
    expect(followed).toBeGreaterThan(20)
    write(fs, text.replace('1 3', '7 3'))
    const reader = await openLog(fs, { config: LARGE, readOnly: true })
    expect(reader.recovery.rebuiltIndexes).toEqual([FILE])
    await writer.truncateTo(count - 1)
    await writer.append([{ value: 'new' }])
    await reader.refresh()
    expect(endsIn(reader)).toEqual(endsIn(writer))
    expect((await valuesOf(reader)).at(-1)).toBe('new')
  })

  it('opens read-only with a wrong epoch checkpoint, which is reported but not rewritten', async () => {
    const fs = write(await twoEpochs(end), '0\n2\n0 0\n5 3\n')
    const before = fs.snapshot()
    const log = await openLog(fs, { config: LARGE, readOnly: true })
    expect(log.recovery).toEqual({
      truncations: [],
      rebuiltIndexes: [FILE],
      failedSyncOffset: null,
      damage: null,
    })
    expect(await valuesOf(log)).toEqual(valuesUpTo(6))
    expect(fs.snapshot()).toEqual(before)
  })
})

describe('a batch with a damaged leader epoch', () => {
  it.each([0, 2, 7])('is reported as damage if the batch is on record: epoch %i', async (epoch) => {
    const fs = setEpoch(await twoEpochs('closed'), 4, epoch)
    const log = await openLog(fs, { config: LARGE })
    expect(log.damage?.reason).toContain('its leader epoch is')
    expect(log.recovery.rebuiltIndexes).toEqual([])
  })

  it('is reported as damage even if the checkpoint is damaged in the same way', async () => {
    const fs = setEpoch(write(await twoEpochs('closed'), '0\n2\n0 0\n2 3\n'), 5, 2)
    expect((await openLog(fs, { config: LARGE })).damage?.reason).toContain('its leader epoch is 1')
  })

  it.each([
    ['is cut at the end of a log that was killed, where it may never have been durable', 5, 7],
    ['is damage before a batch that says it was durable', 4, 7],
    ['is damage where it is lower than the one before', 4, 0],
  ])('%s', async (_, batch, epoch) => {
    const log = await openLog(setEpoch(await twoEpochs('killed'), batch, epoch), { config: LARGE })
    expect(log.logEndOffset).toBe(batch)
    expect(log.damage === null).toBe(batch === 5)
    expect(log.recovery.truncations).toHaveLength(batch === 5 ? 1 : 0)
  })
})

describe('a wrong epoch checkpoint', () => {
  it('is rebuilt even if the log has a torn tail, which is truncated as usual', async () => {
    const fs = write(await twoEpochs('killed'), '0\n2\n0 0\n9 3\n')
    fs.writeFile(pathOf(0), Buffer.concat([fs.readFile(pathOf(0)), Buffer.alloc(40, 0xa7)]))
    const log = await openLog(fs, { config: LARGE })
    expect(log.recovery).toMatchObject({ truncations: [{ sizeBytes: 40 }], rebuiltIndexes: [FILE] })
    expect(await valuesOf(log)).toEqual(valuesUpTo(6))
  })

  it('leaves the log damaged if the segment differs from its record', async () => {
    const fs = write(await twoEpochs('closed'), '0\n2\n0 0\n9 3\n')
    fs.flipBit(pathOf(0), 66, 1)
    expect((await openLog(fs, { config: LARGE })).damage).not.toBeNull()
  })

  it('leaves the log damaged if a segment before the last one cannot be read to its end', async () => {
    const config = { segmentBytes: 200 }
    const fs = write(await twoEpochs('closed', config), '0\n2\n0 0\n9 3\n')
    fs.flipBit(pathOf(0), 66, 1)
    expect((await openLog(fs, { config })).damage).not.toBeNull()
  })

  it('is rebuilt even with several wrong digits if the segment record covers the batches', async () => {
    const fs = write(await twoEpochs('closed'), '0\n3\n0 0\n13 4\n77 5\n')
    const log = await openLog(fs, { config: LARGE })
    expect(log.damage).toBeNull()
    expect([2, 3, 4, 5].map((offset) => log.reader.epochOf(offset))).toEqual([0, 1, 1, 1])
  })

  it('keeps its latest epoch from being reused: the log continues with a higher one', async () => {
    const fs = write(await twoEpochs('closed'), '0\n3\n0 0\n3 3\n7 6\n')
    const log = await openLog(fs, { config: LARGE })
    expect([log.damage, log.leaderEpoch]).toEqual([null, 8])
    await log.append([{ value: 'v6' }])
    expect([5, 6].map((offset) => log.reader.epochOf(offset))).toEqual([1, 8])
  })

  it('is detected and rebuilt if the segment still holds deleted records', async () => {
    const fs = await twoEpochs('closed')
    const log = await openLog(fs, { config: LARGE })
    await log.advanceLogStartOffset(2)
    await log.close()
    const again = await openLog(write(fs, '0\n2\n0 2\n3 3\n'), { config: LARGE })
    expect(again.recovery).toMatchObject({ damage: null, rebuiltIndexes: [FILE] })
    expect([2, 3].map((offset) => again.reader.epochOf(offset))).toEqual([0, 1])
  })
})

it('trusts batches without a recorded checksum only if one wrong digit explains the checkpoint', async () => {
  const sound = await twoEpochs('killed')
  const entry = /^active 0 \d+ (\d+)/m.exec(sound.readFile(RECORD).toString())
  expect(Number(entry?.[1])).toBeLessThanOrEqual(batchBounds(sound.readFile(pathOf(0)))[3] ?? 0)
  for (const [text, isBelieved] of [
    ['0\n2\n0 0\n4 3\n', true],
    ['0\n2\n0 0\n1 4\n', true],
    ['0\n2\n0 0\n1 9\n', true],
    ['0\n3\n0 0\n4 3\n5 6\n', true],
    ['0\n3\n0 0\n1 3\n5 5\n', true],
    ['0\n3\n0 0\n1 4\n5 5\n', false],
    ['0\n4\n0 0\n1 3\n2 4\n3 5\n', false],
    ['0\n2\n0 0\n4 4\n', false],
    ['0\n2\n0 0\n44 3\n', false],
    ['0\n1\n0 0\n', false],
  ] as const) {
    const log = await openLog(write(sound.fork(), text), { config: LARGE })
    expect(log.recovery.rebuiltIndexes.includes(FILE), text).toBe(isBelieved)
    expect(log.logEndOffset === 6, text).toBe(isBelieved)
  }
})

it('compares the epochs of a log with its checkpoint from the log start offset on', async () => {
  const fs = await twoEpochs('killed')
  const log = await openLog(fs, { config: LARGE })
  await log.advanceLogStartOffset(4)
  await log.append([{ value: 'v6' }])
  const stopped = fs.restart('process')
  expect(stopped.readFile(FILE).toString()).toBe('0\n2\n1 4\n2 6\n')
  const again = await openLog(write(stopped, '0\n2\n1 4\n7 6\n'), { config: LARGE })
  expect(again.recovery).toMatchObject({ damage: null, rebuiltIndexes: [FILE] })
  expect([4, 5, 6].map((offset) => again.reader.epochOf(offset))).toEqual([1, 1, 2])
})

it.each<[string, (body: string) => string]>([
  ['no checksum of the segment', (body) => body.replace(/[0-9a-f]{8} dense/g, '- dense')],
  [
    'nothing of the last segment',
    (body) => body.replace(/\nactive.*/, '').replace('sealed', 'active'),
  ],
])(
  'trusts batches only if one wrong digit explains the checkpoint when the segment record holds %s',
  async (_, edit) => {
    const config = { segmentBytes: 220 }
    const sound = await twoEpochs('killed', config)
    const file = new SegmentRecordFile(sound, DIR)
    const record = (await file.read()) as SegmentRecord
    file.distrust()
    await file.write(record)
    const [, ...lines] = sound.readFile(RECORD).toString().split('\n')
    const body = edit(lines.join('\n'))
    const sum = crc32c(Buffer.from(body)).toString(16).padStart(8, '0')
    sound.writeFile(RECORD, Buffer.from(`varve-segments 1 ${sum}\n${body}`))
    for (const [text, isBelieved] of [
      ['0\n2\n0 0\n4 3\n', true],
      ['0\n2\n0 0\n14 3\n', false],
    ] as const) {
      const log = await openLog(write(sound.fork(), text), { config })
      expect(log.recovery.rebuiltIndexes.includes(FILE), text).toBe(isBelieved)
      expect(log.damage === null, text).toBe(isBelieved)
    }
  },
)
