import fc from 'fast-check'
import { expect, it } from 'vitest'
import { BatchMarks } from '../../lib/record/batch-marks.ts'
import { decodeUncompressed } from '../../lib/record/decode.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch, writeCrc } from '../../lib/record/record-batch.ts'
import type { StoredRecord } from '../../lib/record/stored-record.ts'

const PLACE = { topic: 'orders', partition: 1 }
const BASE_OFFSET = 1000

function batchOf(
  sizes: readonly number[],
  headers: { key: string; value: Buffer }[] = [],
): RecordBatch {
  const builder = new RecordBatchBuilder({ baseOffset: BASE_OFFSET })
  for (const [slot, size] of sizes.entries()) {
    builder.append(slot, Buffer.from('key'), Buffer.alloc(size, slot), headers)
  }
  const buffer = builder.buildUncompressed()
  writeCrc(buffer)
  return new RecordBatch(buffer)
}

/** Decodes records from `offset` on, using only the bytes of the batch that the marks name. */
function read(
  marks: BatchMarks,
  batch: RecordBatch,
  offset: number,
  count: number,
): StoredRecord[] | null {
  const range = marks.rangeOf(offset, count)
  const bytes = Buffer.from(batch.buffer.subarray(range.start, range.end))
  return marks.recordsIn(bytes, range, PLACE, { offset, count })
}

it('leads to the records that decoding returns, whichever are requested', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 300 }),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 20 })), { maxLength: 20 }),
      (sizes, reads) => {
        const batch = batchOf(sizes)
        const marks = BatchMarks.of(batch)
        expect(marks === null).toBe(batch.sizeBytes < 4096)
        if (marks === null) return
        expect(marks.crc).toBe(batch.crc)
        for (const [at, width] of reads) {
          const delta = at % sizes.length
          const maxRecords = Math.min(width, sizes.length - delta)
          const fromOffset = BASE_OFFSET + delta
          const expected = decodeUncompressed(batch, PLACE, { fromOffset, maxRecords })
          expect(read(marks, batch, fromOffset, maxRecords)).toEqual(expected)
        }
      },
    ),
    { numRuns: 25 },
  )
})

it('requires at most 4 KiB of a large batch for a few records', () => {
  const batch = batchOf(Array.from({ length: 1000 }, () => 100))
  const marks = BatchMarks.of(batch) as BatchMarks
  for (let offset = BASE_OFFSET; offset <= batch.lastOffset - 10; offset += 1) {
    const { start, end } = marks.rangeOf(offset, 11)
    expect(end - start).toBeLessThanOrEqual(4096)
  }
  expect(marks.memoryBytes).toBeLessThan(batch.sizeBytes / 50)
})

it('returns null if the bytes have changed', () => {
  const batch = batchOf(Array.from({ length: 100 }, () => 100))
  const marks = BatchMarks.of(batch) as BatchMarks
  const { start, end } = marks.rangeOf(BASE_OFFSET + 50, 5)
  for (let position = start; position < end; position += 1) {
    const changed = new RecordBatch(Buffer.from(batch.buffer))
    changed.buffer[position] = (changed.buffer[position] as number) ^ 0x04
    expect(read(marks, changed, BASE_OFFSET + 50, 5), `byte ${position}`).toBeNull()
  }
})

it('returns null for an invalid record even if its checksum is right', () => {
  const batch = batchOf(Array.from({ length: 100 }, () => 100))
  const { start } = (BatchMarks.of(batch) as BatchMarks).rangeOf(BASE_OFFSET, 1)
  // The offset of the first record is wrong now.
  batch.buffer[start + 4] = 2
  writeCrc(batch.buffer)
  const marks = BatchMarks.of(batch) as BatchMarks
  expect(read(marks, batch, BASE_OFFSET, 1)).toBeNull()
})

it('returns no marks for batches that lack offsets, are compressed or have unusually long records', () => {
  const sizes = Array.from({ length: 100 }, () => 100)
  const whole = batchOf(sizes)
  expect(BatchMarks.of(whole)).not.toBeNull()
  const changes: ((buffer: Buffer) => void)[] = [
    (buffer) => buffer.writeInt32BE(100, 23),
    (buffer) => buffer.writeUInt16BE(1, 21),
    (buffer) => buffer.writeUInt16BE(0x20, 21),
    (buffer) => buffer.writeUInt8(1, 61),
    (buffer) =>
      buffer.writeInt32BE(buffer.length, 57) && buffer.writeInt32BE(buffer.length - 1, 23),
    (buffer) => buffer.writeInt32BE(98, 23) && buffer.writeInt32BE(99, 57),
  ]
  for (const [slot, change] of changes.entries()) {
    const batch = new RecordBatch(Buffer.from(whole.buffer))
    change(batch.buffer)
    expect(BatchMarks.of(batch), `change ${slot}`).toBeNull()
  }
  expect(BatchMarks.of(batchOf([2 ** 20, 10]))).toBeNull()
})
