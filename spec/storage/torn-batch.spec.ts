import { describe, expect, it } from 'vitest'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { stampBatch } from '../../lib/record/record-batch.ts'
import { Log } from '../../lib/storage/log.ts'
import { LogSegment } from '../../lib/storage/log-segment.ts'
import { findDamage } from '../../lib/storage/torn-tail.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, DIR, NOW, openLog, pathOf } from './log-fixtures.ts'

/** A batch of another log, as in a file: complete, and with the group start bit. */
const COPY = bytesOf({ baseOffset: 7, values: ['copied', 'copied'], groupStart: true })
const FIRST = bytesOf({ values: ['v0'], groupStart: true })

/** A batch with records that have these values; the first of its group unless `isRest`. */
function batchOf(values: readonly Buffer[], { baseOffset = 1, isRest = false } = {}): Buffer {
  const builder = new RecordBatchBuilder({})
  const headers = [{ key: 'from', value: Buffer.from('elsewhere') }]
  for (const value of values) builder.append(NOW, Buffer.from('k'), value, headers)
  const bytes = builder.buildUncompressed()
  stampBatch(bytes, { baseOffset, partitionLeaderEpoch: 0, groupStart: !isRest })
  return bytes
}

/** A batch with the copy in its second record. */
const HOLDER = batchOf([Buffer.from('small'), Buffer.concat([COPY, Buffer.alloc(300, 'x')])])
const COPY_AT = HOLDER.indexOf(COPY)

/** What an open finds in a log whose last write left `tail`. */
async function openBehind(tail: Buffer): Promise<{ logEndOffset: number; isDamaged: boolean }> {
  const fileSystem = new SimulatedFileSystem()
  fileSystem.writeFile(pathOf(0), Buffer.concat([FIRST, tail]))
  const log = await openLog(fileSystem, { config: { segmentBytes: 10_000 } })
  const found = { logEndOffset: log.logEndOffset, isDamaged: log.damage !== null }
  await log.close()
  return found
}

async function damageOf(bytes: Buffer): Promise<unknown> {
  const fileSystem = new SimulatedFileSystem()
  fileSystem.writeFile(pathOf(0), Buffer.concat([FIRST, bytes]))
  const options = { indexIntervalBytes: 32, segmentIndexBytes: 1024, readOnly: false }
  const segment = new LogSegment(0, { fileSystem, dir: DIR, ...options })
  const scan = { position: FIRST.length, nextOffset: 1, reason: 'bad' }
  const fileSizeBytes = FIRST.length + bytes.length
  const evidence = { fileSizeBytes, durableOffset: 0, nextBaseOffset: null }
  return findDamage(fileSystem, segment, scan, evidence)
}

describe('a torn batch with a record that contains a copy of a whole batch', () => {
  it.each([
    ['cut behind the copy', HOLDER.subarray(0, COPY_AT + COPY.length)],
    ['cut in the value', HOLDER.subarray(0, COPY_AT + COPY.length + 40)],
    ['cut in its headers', HOLDER.subarray(0, -3)],
    ['not written in its last bytes', Buffer.concat([HOLDER.subarray(0, -8), Buffer.alloc(8)])],
    [
      'cut behind another record with a copy',
      batchOf([COPY, Buffer.alloc(50), COPY]).subarray(0, -20),
    ],
  ])('is truncated: %s', async (_, tail) => {
    expect(await openBehind(tail)).toEqual({ logEndOffset: 1, isDamaged: false })
  })

  it('is truncated with the whole batch after it that contains the copy and is of the same write', async () => {
    const rest = { baseOffset: 3, isRest: true }
    const holder = batchOf([COPY, Buffer.alloc(50)], rest)
    const first = batchOf([Buffer.alloc(200, 'y'), Buffer.alloc(200, 'z')])
    first.fill(0, 150, 300)
    expect(await openBehind(Buffer.concat([first, holder]))).toEqual({
      ...{ logEndOffset: 1, isDamaged: false },
    })
    // A batch that begins a group proves that everything before it was written.
    const proof = batchOf([COPY], { baseOffset: 3 })
    expect(await openBehind(Buffer.concat([first, proof]))).toMatchObject({ isDamaged: true })
  })

  it('is damage if nothing that is left shows that the copy is a record value', async () => {
    const lost = Buffer.from(HOLDER)
    lost.fill(0, 0, 61)
    expect(await openBehind(lost)).toEqual({ logEndOffset: 1, isDamaged: true })
  })
})

describe('a whole batch that follows a damaged one', () => {
  it('proves the batch before it to be damaged, whichever of its bits is flipped', async () => {
    const next = bytesOf({ baseOffset: 3, values: ['next'], groupStart: true })
    const missed: number[] = []
    for (let bit = 0; bit < 8 * HOLDER.length; bit += 1) {
      const rotten = Buffer.from(HOLDER)
      rotten[bit >> 3] = (rotten[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      if ((await damageOf(Buffer.concat([rotten, next]))) === null) missed.push(bit)
    }
    expect(missed).toEqual([])
  })

  it('counts as a batch of the log if the value that seems to hold it does not fit its record or batch', async () => {
    const next = bytesOf({ baseOffset: 3, values: ['next'], groupStart: true })
    const tail = Buffer.concat([HOLDER, next])
    const grown = Buffer.from(tail)
    // Only the batch's length claims what follows.
    grown.writeInt32BE(tail.length - 12, 8)
    expect(await damageOf(grown)).not.toBeNull()
    // Its last record claims it as well, but that record's value does not.
    const recordAt = HOLDER.indexOf(Buffer.from('small')) + 'small'.length
    const lengthAt = HOLDER.indexOf(Buffer.from('elsewhere'), recordAt) + 'elsewhere'.length
    expect(HOLDER.readUInt8(lengthAt + 1)).toBeLessThan(0x80)
    grown[lengthAt + 1] = 0x7f
    expect(await damageOf(grown)).not.toBeNull()
  })
})

describe('a salvage', () => {
  it('saves no copy of a batch that lies in a torn record', async () => {
    const fileSystem = new SimulatedFileSystem()
    // Bytes that look like a header but are none come before the copy.
    const decoy = Buffer.from(COPY.subarray(0, 61))
    decoy.writeInt32BE(60, 8)
    const value = Buffer.concat([decoy, COPY, Buffer.alloc(300, 'x')])
    const torn = batchOf([Buffer.from('small'), value]).subarray(0, -20)
    fileSystem.writeFile(pathOf(0), Buffer.concat([FIRST, torn]))
    const report = await Log.salvage(DIR, '/salvaged', { fileSystem })
    expect(report).toMatchObject({ batchCount: 1, recordCount: 1, logEndOffset: 1 })
    expect(report.lost).toMatchObject([{ firstOffset: 1, lastOffset: null }])
  })

  it('saves no copy of a batch from the batches that follow a torn one', async () => {
    const fileSystem = new SimulatedFileSystem()
    const first = batchOf([Buffer.alloc(200, 'y'), Buffer.alloc(200, 'z')])
    first.fill(0, 150, 300)
    const last = batchOf([COPY, Buffer.alloc(300, 'x')], { baseOffset: 3, isRest: true })
    const torn = Buffer.concat([first, last.subarray(0, -20)])
    fileSystem.writeFile(pathOf(0), Buffer.concat([FIRST, torn]))
    const report = await Log.salvage(DIR, '/salvaged', { fileSystem })
    expect(report).toMatchObject({ batchCount: 1, recordCount: 1, logEndOffset: 1 })
  })

  it('continues after a damaged record that contains a copy of a batch', async () => {
    const fileSystem = new SimulatedFileSystem()
    const rotten = Buffer.from(HOLDER)
    rotten[HOLDER.length - 1] = 0xff
    const next = bytesOf({ baseOffset: 3, values: ['next'], groupStart: true })
    fileSystem.writeFile(pathOf(0), Buffer.concat([FIRST, rotten, next]))
    const report = await Log.salvage(DIR, '/salvaged', { fileSystem })
    expect(report).toMatchObject({ batchCount: 2, logEndOffset: 4 })
    expect(report.lost).toMatchObject([{ firstOffset: 1, lastOffset: 2 }])
  })
})
