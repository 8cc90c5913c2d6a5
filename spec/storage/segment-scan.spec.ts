import { describe, expect, it } from 'vitest'
import type { File } from '../../lib/platform/file-system.ts'
import { RECORD_BATCH_OVERHEAD, stampBatch } from '../../lib/record/record-batch.ts'
import { findLastGroupStart, scanBatches, type ScanResult } from '../../lib/storage/segment-scan.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf } from './log-fixtures.ts'

const BATCH = bytesOf({ baseOffset: 10 })
const SIZE = BATCH.length

async function fileWith(bytes: Buffer): Promise<File> {
  const fileSystem = new SimulatedFileSystem()
  fileSystem.writeFile('/f', bytes)
  return fileSystem.open('/f', 'read')
}

async function scan(
  bytes: Buffer,
  range: { end?: number; nextOffset?: number; baseOffset?: number } = {},
): Promise<ScanResult & { offsets: number[] }> {
  const offsets: number[] = []
  const { end = bytes.length, nextOffset = 10, baseOffset = 10 } = range
  const result = await scanBatches(
    await fileWith(bytes),
    { position: 0, end, nextOffset, baseOffset },
    (batch) => offsets.push(batch.baseOffset),
  )
  return { ...result, offsets }
}

/** Two valid batches, with `change` applied to a copy of the second. */
function damaged(change: (second: Buffer) => Buffer): Buffer {
  return Buffer.concat([BATCH, change(Buffer.from(bytesOf({ baseOffset: 11 })))])
}

describe('scanBatches', () => {
  it('passes every batch up to the end to the callback', async () => {
    const bytes = Buffer.concat([BATCH, bytesOf({ baseOffset: 11, values: ['a', 'b'] })])
    expect(await scan(bytes)).toEqual({
      position: bytes.length,
      nextOffset: 13,
      reason: null,
      offsets: [10, 11],
    })
  })

  it('reports no problem for an empty file', async () => {
    expect(await scan(Buffer.alloc(0))).toMatchObject({ position: 0, nextOffset: 10, reason: null })
  })

  it('accepts gaps between offsets', async () => {
    const bytes = Buffer.concat([BATCH, bytesOf({ baseOffset: 99 })])
    expect(await scan(bytes)).toMatchObject({ offsets: [10, 99], nextOffset: 100 })
  })

  it('stops before a batch after a gap if the next batch contradicts its base offset', async () => {
    const [jumped, next] = [bytesOf({ baseOffset: 75 }), bytesOf({ baseOffset: 12 })]
    expect(await scan(Buffer.concat([BATCH, jumped, next]))).toMatchObject({
      position: SIZE,
      offsets: [10],
      reason: 'base offset 75 contradicts the next batch, which begins at 12',
    })
    const tail = next.subarray(0, 40)
    expect(await scan(Buffer.concat([BATCH, jumped, tail]))).toMatchObject({ offsets: [10, 75] })
    const noBatch = Buffer.alloc(SIZE)
    expect(await scan(Buffer.concat([BATCH, jumped, noBatch]))).toMatchObject({ offsets: [10, 75] })
    const large = bytesOf({ baseOffset: 75, values: ['x'.repeat(1024 * 1024)] })
    expect(await scan(Buffer.concat([BATCH, large, next]))).toMatchObject({ offsets: [10] })
  })

  it('reads batches that are larger than what is read at once', async () => {
    const large = bytesOf({ baseOffset: 11, values: ['x'.repeat(1024 * 1024)] })
    const bytes = Buffer.concat([BATCH, large, bytesOf({ baseOffset: 12 })])
    expect(await scan(bytes)).toMatchObject({ offsets: [10, 11, 12], reason: null })
  })

  it.each<[string, (second: Buffer) => Buffer, string]>([
    ['a header that is cut off', (b) => b.subarray(0, 20), '20 bytes are too few'],
    ['a body that is cut off', (b) => b.subarray(0, SIZE - 1), `claims ${SIZE} bytes, but`],
    ['zeros', (b) => b.fill(0), 'its magic is 0, not 2'],
    [
      'a length below that of a header',
      (b) => write(b, 8, RECORD_BATCH_OVERHEAD - 13),
      'claims 60',
    ],
    ['a length beyond the end', (b) => write(b, 8, 0x7fff_0000), 'claims 2147418124 bytes'],
    ['a length that takes in less', (b) => write(b, 8, SIZE - 13), 'the CRC is'],
    ['a flipped bit in a record', (b) => flip(b, SIZE - 1), 'the CRC is'],
    [
      'an offset that falls',
      (b) => write(b, 4, 10),
      'base offset 10 is below the next offset (11)',
    ],
    ['an offset beyond 2^53', (b) => write(b, 0, 0x7fff_ffff), 'outside ±(2^53 - 1)'],
    ['an offset too far away', (b) => write(b, 0, 1), 'too far from base offset 10'],
    ['an older format', (b) => Buffer.from(b.fill(1, 16, 17)), 'its magic is 1, not 2'],
  ])('stops before %s', async (_, change, reason) => {
    const result = await scan(damaged(change))
    expect(result).toMatchObject({ position: SIZE, nextOffset: 11, offsets: [10] })
    expect(result.reason).toContain(reason)
  })

  it('stops before a batch whose largest timestamp is invalid', async () => {
    const bytes = bytesOf({ baseOffset: 11 })
    bytes.writeInt32BE(-5, 35)
    stampBatch(bytes, { baseOffset: 11, partitionLeaderEpoch: 0 })
    expect((await scan(Buffer.concat([BATCH, bytes]))).reason).toContain('its largest timestamp')
  })

  it('stops at the end of a file that is shorter than the given range', async () => {
    expect(await scan(BATCH, { end: SIZE + 100 })).toMatchObject({
      position: SIZE,
      reason: '0 bytes are too few for a batch header',
    })
    expect(await scan(BATCH.subarray(0, SIZE - 1), { end: SIZE })).toMatchObject({ position: 0 })
  })

  it('rejects with the error of a failed read', async () => {
    const fileSystem = new SimulatedFileSystem()
    fileSystem.writeFile('/f', BATCH)
    const file = await fileSystem.open('/f', 'read')
    fileSystem.failNext('read', 'EIO')
    const range = { position: 0, end: SIZE, nextOffset: 10, baseOffset: 10 }
    await expect(scanBatches(file, range, () => undefined)).rejects.toMatchObject({ code: 'EIO' })
  })
})

describe('findLastGroupStart', () => {
  const GARBAGE = Buffer.alloc(77, 2)

  async function find(bytes: Buffer, nextOffset = 0): Promise<number | null> {
    const range = { position: 0, end: bytes.length, nextOffset, baseOffset: 0 }
    return (await findLastGroupStart(await fileWith(bytes), range))?.position ?? null
  }

  it('finds the last batch with the group start bit, at any position', async () => {
    const first = bytesOf({ baseOffset: 5, groupStart: true })
    const second = bytesOf({ baseOffset: 6, groupStart: true })
    const third = bytesOf({ baseOffset: 7 })
    expect(await find(Buffer.concat([GARBAGE, first, GARBAGE, second, third]))).toBe(
      2 * GARBAGE.length + first.length,
    )
  })

  it('skips batches that are damaged, below the next offset, or without the group start bit', async () => {
    const start = bytesOf({ baseOffset: 5, groupStart: true })
    expect(await find(Buffer.concat([GARBAGE, bytesOf({ baseOffset: 5 })]))).toBeNull()
    expect(await find(Buffer.concat([GARBAGE, start]), 6)).toBeNull()
    expect(await find(Buffer.concat([GARBAGE, flip(Buffer.from(start), SIZE - 1)]))).toBeNull()
    expect(await find(Buffer.concat([GARBAGE, start.subarray(0, -1)]))).toBeNull()
    expect(await find(Buffer.concat([GARBAGE, start.subarray(0, 40)]))).toBeNull()
    expect(await find(GARBAGE)).toBeNull()
  })

  it('does not read as many bytes at once as a damaged length claims', async () => {
    const rotten = write(bytesOf({ baseOffset: 5, groupStart: true }), 8, 6 * 1024 * 1024)
    const bytes = Buffer.concat([rotten, Buffer.alloc(7 * 1024 * 1024)])
    const file = await fileWith(bytes)
    const read = file.read.bind(file)
    let mostBytes = 0
    file.read = (buffer, position) => {
      mostBytes = Math.max(mostBytes, buffer.length)
      return read(buffer, position)
    }
    const range = { position: 0, end: bytes.length, nextOffset: 0, baseOffset: 0 }
    expect(await findLastGroupStart(file, range)).toBeNull()
    expect(mostBytes).toBeLessThan(2 * 1024 * 1024)
  })

  it('finds a batch that spans two reads', async () => {
    const start = bytesOf({ baseOffset: 5, groupStart: true })
    const padding = Buffer.alloc(1024 * 1024 - 30)
    expect(await find(Buffer.concat([padding, start]))).toBe(padding.length)
  })
})

function write(bytes: Buffer, position: number, value: number): Buffer {
  bytes.writeInt32BE(value, position)
  return bytes
}

function flip(bytes: Buffer, position: number): Buffer {
  bytes[position] = (bytes[position] ?? 0) ^ 1
  return bytes
}
