import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, expect, it } from 'vitest'
import { PartitionDirectories } from '../../lib/broker/partition-directory.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { crc32c } from '../../lib/record/crc32c.ts'
import { Log } from '../../lib/storage/log.ts'
import { SegmentRecordFile, type SegmentEntry } from '../../lib/storage/segment-record.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import {
  DIR,
  offsetsOf,
  openLog,
  pathOf,
  upTo,
  valuesOf,
  valuesUpTo,
  writtenLog,
} from './log-fixtures.ts'

const COUNT = 7
const RECORD = `${DIR}/varve-segments`

async function recordOf(fs: SimulatedFileSystem): Promise<readonly SegmentEntry[]> {
  const record = await new SegmentRecordFile(fs, DIR).read()
  return record?.segments ?? []
}

function logsOf(fs: SimulatedFileSystem): string[] {
  return [...fs.snapshot().keys()].filter((path) => path.endsWith('.log')).sort()
}

/** Log files and their indexes. */
function segmentFilesOf(fs: SimulatedFileSystem): string[] {
  return [...fs.snapshot().keys()].filter((path) => /\.(log|\w*index)$/.test(path)).sort()
}

/** Expects each entry to describe its file correctly. */
async function expectTrue(fs: SimulatedFileSystem): Promise<void> {
  const entries = await recordOf(fs)
  for (const [slot, entry] of entries.entries()) {
    const bytes = fs.readFile(pathOf(entry.baseOffset))
    const isActive = slot === entries.length - 1
    const counted = isActive ? bytes.subarray(0, entry.sizeBytes) : bytes
    expect(entry).toMatchObject({ sizeBytes: counted.length, crc: crc32c(counted), isDense: true })
    expect(entry.nextOffset).toBe(entries[slot + 1]?.baseOffset ?? entry.nextOffset)
  }
}

describe('the record of segments', () => {
  it('holds the size, offsets and checksum of every segment without a read of any log file', async () => {
    const fs = await writtenLog(COUNT)
    expect((await recordOf(fs)).map(({ baseOffset }) => baseOffset)).toEqual([0, 2, 4, 6])
    expect(fs.operations.filter((operation) => / read .*\.log/.test(operation))).toEqual([])
    await expectTrue(fs)
  })

  it.each(['close', 'crash'])(
    'describes all segments after a %s, an open and more appends',
    async (end) => {
      const written = await writtenLog(COUNT, { close: end === 'close' })
      const fs = end === 'close' ? written : written.restart('power', { unsynced: 'lost', seed: 1 })
      const log = await openLog(fs)
      for (let each = 0; each < 4; each += 1) await log.append([{ key: 'k', value: 'later' }])
      await log.close()
      await expectTrue(fs)
      expect(await log.verify().catch(() => 'closed')).toBe('closed')
    },
  )

  it('follows truncations, even into the middle of a batch, and the deletion of segments', async () => {
    const fs = await writtenLog(COUNT)
    const log = await openLog(fs)
    await log.append([{ value: 'a' }, { value: 'b' }, { value: 'c' }])
    await log.truncateTo(8)
    expect((await recordOf(fs)).at(-1)?.baseOffset).toBe(8)
    await log.truncateTo(5)
    await log.append([{ value: 'x' }])
    await log.advanceLogStartOffset(3)
    await log.close()
    expect((await recordOf(fs)).map(({ baseOffset }) => baseOffset)).toEqual([2, 4])
    await expectTrue(fs)
    expect(await offsetsOf(await openLog(fs))).toEqual([3, 4, 5])
  })

  it('keeps the files of deleted segments on disk until a record without them is written', async () => {
    const fs = (await writtenLog(COUNT, { close: false })).restart('process')
    await fs.unlink(RECORD)
    const text = '0\n1\norders 0 3\n'
    fs.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from(text))
    fs.failNext('write', 'EIO', { path: /varve-segments/, persistent: true })
    const log = await openLog(fs)
    fs.clearFaults()
    expect([log.logStartOffset, log.damage, logsOf(fs).at(0)]).toEqual([3, null, pathOf(0)])
    await log.close()
    const again = await openLog(fs)
    expect([await offsetsOf(again), again.damage]).toEqual([[3, 4, 5, 6], null])
    expect(logsOf(fs).at(0)).toBe(pathOf(2))
  })

  it('is written anew if it was damaged, and is reported as rebuilt', async () => {
    const fs = await writtenLog(COUNT)
    fs.flipBit(RECORD, 40, 1)
    const log = await openLog(fs)
    expect(log.recovery).toMatchObject({ damage: null, rebuiltIndexes: [RECORD] })
    expect(await valuesOf(log)).toEqual(valuesUpTo(COUNT))
    await log.append([{ value: 'x' }])
    expect(await recordOf(fs)).toHaveLength(4)
  })

  it('may be missing, as in a directory that a Kafka broker has left', async () => {
    const fs = await writtenLog(COUNT)
    await fs.unlink(RECORD)
    const log = await openLog(fs)
    expect(log.recovery).toEqual({
      truncations: [],
      rebuiltIndexes: [],
      failedSyncOffset: null,
      damage: null,
    })
    await log.close()
    expect((await recordOf(fs)).map(({ crc }) => crc === null)).toEqual([true, true, true, false])
  })
})

describe.each(['clean', 'unclean'])('a log directory after a %s stop', (how) => {
  const left = async (): Promise<SimulatedFileSystem> => {
    const fs = await writtenLog(COUNT, { close: how === 'clean' })
    return how === 'clean' ? fs : fs.restart('process')
  }

  it.each([
    [0, 0],
    [1, 2],
    [3, 6],
  ])('reports missing segment %i as damage from offset %i on', async (slot, firstOffset) => {
    const fs = await left()
    await fs.unlink(logsOf(fs)[slot] ?? '')
    fs.writeFile(pathOf(firstOffset, 'txnindex'), Buffer.alloc(34))
    const before = segmentFilesOf(fs)
    const log = await openLog(fs)
    expect(log.damage).toBeInstanceOf(CorruptRecordError)
    expect(log.damage).toMatchObject({ firstOffset, lastOffset: COUNT - 1 })
    expect(log.damage?.reason).toContain(pathOf(firstOffset))
    expect(await log.read(0, 10_000).catch(() => [])).toHaveLength(Math.min(firstOffset, 2))
    await expect(log.read(firstOffset)).rejects.toBe(log.damage)
    await expect(log.append([{ value: 'x' }])).rejects.toBe(log.damage)
    await log.close()
    expect(segmentFilesOf(fs)).toEqual(before)
  })

  it.each([0, 1, 2])(
    'reports segment %i as damaged if its file is shorter or longer than recorded',
    async (slot) => {
      for (const edit of [
        (bytes: Buffer) => bytes.subarray(0, bytes.length / 2),
        (bytes: Buffer) => bytes.subarray(0, 0),
        (bytes: Buffer) => Buffer.concat([bytes, bytes]),
      ]) {
        const fs = await left()
        const path = logsOf(fs)[slot] ?? ''
        fs.writeFile(path, edit(fs.readFile(path)))
        const log = await openLog(fs)
        expect(log.damage).toMatchObject({ path, lastOffset: COUNT - 1 })
        const firstOffset = log.damage?.firstOffset ?? -1
        expect(await offsetsOf(log).catch(() => null)).toBeNull()
        for (const offset of upTo(firstOffset)) {
          expect(String((await log.read(offset, 1))[0]?.value)).toBe(`v${offset}`)
        }
      }
    },
  )

  it.each([
    ['no batches', () => Buffer.alloc(0)],
    ['those of another', (fs: SimulatedFileSystem) => fs.readFile(pathOf(4))],
  ])(
    'reports a file with %s that begins inside a segment as damage, and loses no record',
    async (_, contentIn) => {
      const fs = await left()
      const record = fs.readFile(RECORD)
      const intruder = pathOf(3)
      fs.writeFile(intruder, contentIn(fs))
      for (const readOnly of [true, false]) {
        const log = await openLog(fs, { readOnly })
        const { damage } = log
        expect(damage).toMatchObject({ path: intruder, position: 0, firstOffset: 4 })
        // The recorded entry of the previous segment tells where that one ends.
        const found = await log.read(0, 1000)
        expect(found.map(({ offset }) => offset)).toEqual([0, 1])
        expect((await log.read(2, 1000)).map(({ offset }) => offset)).toEqual([2, 3])
        await expect(log.read(4)).rejects.toBe(damage)
        if (!readOnly) await expect(log.append([{ value: 'x' }])).rejects.toBe(damage)
        await log.close()
      }
      expect(fs.readFile(RECORD)).toEqual(record)
      const saved = await Log.salvage(DIR, '/saved/orders-0', { fileSystem: fs })
      expect(saved).toMatchObject({ recordCount: COUNT, lost: [], logEndOffset: COUNT })
      await fs.unlink(intruder)
      const log = await openLog(fs)
      expect(log.damage).toBeNull()
      expect(await valuesOf(log)).toEqual(valuesUpTo(COUNT))
    },
  )

  it('keeps the recorded log start offset if the checkpoint of it is damaged', async () => {
    const fs = await left()
    const log = await openLog(fs)
    await log.advanceLogStartOffset(3)
    await log.close()
    for (const text of ['', '0\n1\norders 0 6\n', '0\n1\norders 0 2\n', 'x', '0\n0\n']) {
      const damaged = fs.fork()
      damaged.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from(text))
      expect(await offsetsOf(await openLog(damaged)), text).toEqual([3, 4, 5, 6])
    }
  })

  it('keeps all records if the recovery point is damaged', async () => {
    for (const text of ['', '0\n1\norders 0 99\n', '0\n1\norders 0 2\n', 'x', '0\n0\n']) {
      const fs = await left()
      fs.writeFile(`${DIR}/recovery-point-offset-checkpoint`, Buffer.from(text))
      const log = await openLog(fs)
      expect(log.recovery.damage, text).toBeNull()
      expect(await valuesOf(log), text).toEqual(valuesUpTo(COUNT))
    }
  })

  it('reports no damage if a Kafka broker has deleted segments and its log start checkpoint says so', async () => {
    const fs = await left()
    await fs.unlink(pathOf(0))
    fs.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from('0\n1\norders 0 2\n'))
    const log = await openLog(fs)
    expect([log.damage, log.recovery.damage]).toEqual([null, null])
    expect(await offsetsOf(log)).toEqual([2, 3, 4, 5, 6])
    expect(await log.verify()).toEqual([])
  })
})

it('reports a changed base offset in the last batch after an unclean stop', async () => {
  const written = await writtenLog(COUNT, { close: false })
  const fs = written.restart('process')
  fs.flipBit(pathOf(6), 6, 2)
  const log = await openLog(fs)
  expect(log.logEndOffset).toBe(6)
  expect(log.damage ?? log.recovery.truncations[0]?.reason).toBeDefined()
})

it('verify finds a changed segment file even if the checksums of all its batches match', async () => {
  const fs = await writtenLog(COUNT)
  // A batch's checksum does not cover its epoch.
  fs.flipBit(pathOf(2), 13, 0)
  const log = await openLog(fs)
  expect(log.damage).toBeNull()
  const [damage, ...others] = await log.verify()
  expect(others).toEqual([])
  expect(damage).toMatchObject({ path: pathOf(2), firstOffset: 2, lastOffset: 3 })
  expect(await (await openLog(await writtenLog(COUNT))).verify()).toEqual([])
})

it('verify finds the first damage of each segment', async () => {
  const fs = await writtenLog(COUNT)
  for (const base of [0, 4]) fs.flipBit(pathOf(base), 66, 3)
  const found = await (await openLog(fs)).verify()
  expect(found.map(({ path, position }) => [path, position])).toEqual([
    [pathOf(0), 0],
    [pathOf(4), 0],
  ])
})

it('reads the example of the record in docs/FORMAT.md', async () => {
  const format = readFileSync(new URL('../../docs/FORMAT.md', import.meta.url), 'latin1')
  const example = /```text\n(varve-segments [^`]*)```/.exec(format)?.[1] ?? ''
  const fs = new SimulatedFileSystem()
  await fs.createDirectory(DIR)
  fs.writeFile(RECORD, Buffer.from(example))
  expect(await new SegmentRecordFile(fs, DIR).read()).toMatchObject({
    logStartOffset: 0,
    segments: [{ nextOffset: 120 }, { nextOffset: 140 }, { nextOffset: 141 }],
  })
})

it.each(['write', 'sync', 'rename'] as const)(
  'does not fail a flush if a %s of the record fails, and tries again at the next flush',
  async (kind) => {
    const fs = await writtenLog(COUNT)
    const log = await openLog(fs)
    await log.roll()
    fs.failNext(kind, 'EIO', { path: `${RECORD}.tmp` })
    await log.append([{ value: 'x' }])
    expect(log.durableEndOffset).toBe(COUNT + 1)
    expect((await recordOf(fs)).at(-1)?.baseOffset).toBe(6)
    await log.flush()
    expect((await recordOf(fs)).at(-1)?.baseOffset).toBe(7)
    const again = await openLog(fs.restart('power', { unsynced: 'lost', seed: 1 }))
    expect([again.damage, again.logEndOffset]).toEqual([null, COUNT + 1])
  },
)

it('removes the record that an earlier topic left when a new topic takes over the directory', async () => {
  const fs = await writtenLog(COUNT)
  for (const path of logsOf(fs)) await fs.unlink(path)
  for (const path of fs.snapshot().keys()) {
    if (/\.(index|timeindex|snapshot)$/.test(path)) await fs.unlink(path)
  }
  fs.writeFile(`${DIR}/notes.txt`, Buffer.from('mine'))
  await new PartitionDirectories(fs, dirname(DIR)).create('orders', 0, 'AAAAAAAAAAAAAAAAAAAAAQ')
  const names = (await fs.list(DIR)).map(({ name }) => name).sort()
  expect(names).toEqual(['notes.txt', 'partition.metadata'])
  expect((await openLog(fs)).damage).toBeNull()
})

describe('a malformed record of segments', () => {
  const withChecksum = (body: string, version = 1): string =>
    `varve-segments ${version} ${crc32c(Buffer.from(body, 'latin1')).toString(16).padStart(8, '0')}\n${body}`

  it.each([
    ['an empty file', '', /the first line/],
    ['another file', 'varve-topics 1 00000000\n', /the first line/],
    ['another version', withChecksum('start 0\n', 2), /version 2 is unsupported/],
    ['another checksum', 'varve-segments 1 00000000\nstart 0\n', /the checksum/],
    [
      'a line that is none',
      withChecksum('start 0\nsealed 0 x\n'),
      /'sealed 0 x' does not describe a segment/,
    ],
    ['no start', withChecksum('\nactive 0 1 71 - dense\n'), /no start line or no segments/],
    ['no segment', withChecksum('start 0\n'), /no start line or no segments/],
  ])('is rejected as damaged, and the log opens without it: %s', async (_, text, reason) => {
    const fs = await writtenLog(2)
    fs.writeFile(RECORD, Buffer.from(text))
    await expect(new SegmentRecordFile(fs, DIR).read()).rejects.toThrow(reason)
    expect(await valuesOf(await openLog(fs))).toEqual(valuesUpTo(2))
  })
})

describe('verify', () => {
  it('finds no damage in an intact log, even if no checksum is on record', async () => {
    const fs = await writtenLog(COUNT)
    await fs.unlink(RECORD)
    const log = await openLog(fs)
    expect(await log.verify()).toEqual([])
    await log.close()
  })

  it('reports known damage besides what it finds, and rejects if the disk cannot be read', async () => {
    const fs = await writtenLog(COUNT)
    await fs.unlink(pathOf(4))
    fs.flipBit(pathOf(0), 66, 3)
    const log = await openLog(fs)
    const found = await log.verify()
    expect(found.map(({ firstOffset }) => firstOffset)).toEqual([0, 4])
    fs.failNext('read', 'EIO')
    await expect(log.verify()).rejects.toMatchObject({ cause: { code: 'EIO' } })
  })
})

it('keeps deleted segments on disk if the record cannot be written without them, and removes them in the next open', async () => {
  const fs = await writtenLog(COUNT)
  // Stopped during a deletion, as a broker may be. A deleted file proves the checkpoint right.
  await fs.unlink(pathOf(0))
  fs.writeFile(`${DIR}/log-start-offset-checkpoint`, Buffer.from('0\n1\norders 0 4\n'))
  fs.failNext('open', 'ENOSPC', { path: `${RECORD}.tmp` })
  await openLog(fs)
  expect(logsOf(fs)).toEqual([2, 4, 6].map((base) => pathOf(base)))
  const next = fs.restart('process')
  const log = await openLog(next)
  expect(logsOf(next)).toEqual([4, 6].map((base) => pathOf(base)))
  expect([log.damage, await offsetsOf(log)]).toEqual([null, [4, 5, 6]])
})
