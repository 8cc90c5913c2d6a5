import fc from 'fast-check'
import { expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import { decodeUncompressed, type StoredRecord } from '../../lib/record/decode.ts'
import { copyRecords } from '../../lib/record/record-copies.ts'
import { RecordBatch, writeCrc } from '../../lib/record/record-batch.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'

const PLACE = { topic: 'orders', partition: 1 }

function batchOf(values: readonly (Buffer | null)[], withHeaders = false): RecordBatch {
  const builder = new RecordBatchBuilder()
  const headers = withHeaders ? [{ key: 'h', value: Buffer.from('v') }] : []
  for (const value of values) builder.append(1, Buffer.from('key'), value, headers)
  return new RecordBatch(builder.buildUncompressed())
}

it('returns the same records as decoding, for any range', () => {
  fc.assert(
    fc.property(
      fc.array(fc.option(fc.integer({ min: 0, max: 300 })), { minLength: 1, maxLength: 40 }),
      fc.boolean(),
      fc.nat(50),
      fc.integer({ min: 1, max: 50 }),
      (sizes, withHeaders, fromOffset, maxRecords) => {
        const values = sizes.map((size) => (size === null ? null : Buffer.alloc(size, size)))
        const batch = batchOf(values, withHeaders)
        const range = { fromOffset, maxRecords }
        expect(copyRecords(batch, PLACE, range)).toEqual(decodeUncompressed(batch, PLACE, range))
      },
    ),
  )
})

it('returns copies that can be changed without changing the batch', () => {
  for (const values of [[Buffer.from('a'), Buffer.from('b')], [Buffer.alloc(2 ** 21, 'a')]]) {
    const batch = batchOf(values)
    const before = Buffer.from(batch.buffer)
    for (const { key, value } of copyRecords(batch, PLACE, { fromOffset: 0, maxRecords: 5 })) {
      key?.fill(0)
      value?.fill(0)
    }
    expect(batch.buffer.equals(before)).toBe(true)
  }
})

/** The records that are read, or the position of the damage. */
function outcomeOf(read: () => StoredRecord[]): StoredRecord[] | number {
  try {
    return read()
  } catch (error) {
    expect(error).toBeInstanceOf(CorruptRecordError)
    return (error as CorruptRecordError).position
  }
}

it('reports damage at the same position in the batch as decoding, except in records that it skips', () => {
  const whole = batchOf([Buffer.from('first'), Buffer.from('second'), Buffer.from('third')])
  const secondAt = batchOf([Buffer.from('first')]).sizeBytes
  for (const fromOffset of [0, 1]) {
    const range = { fromOffset, maxRecords: 1 }
    const intact = decodeUncompressed(whole, PLACE, range)
    for (let position = 61; position < whole.sizeBytes; position += 1) {
      // Only the length of a skipped record is read, which is its first byte.
      const isSkipped = fromOffset === 1 && position > 61 && position < secondAt
      for (const wrong of [0x00, 0x01, 0x03, 0x7f, 0xff]) {
        const batch = new RecordBatch(Buffer.from(whole.buffer))
        batch.buffer[position] = wrong
        writeCrc(batch.buffer)
        const copied = outcomeOf(() => copyRecords(batch, PLACE, range))
        const decoded = outcomeOf(() => decodeUncompressed(batch, PLACE, range))
        expect(copied).toEqual(isSkipped ? intact : decoded)
      }
    }
  }
})
