import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  MIN_RECORD_BYTES,
  sizeOfRecord,
  sizeOfRecordBody,
  upperBoundOfRecord,
  writeRecord,
} from '../../lib/record/record-encoding.ts'
import { content, type Content } from './arbitraries.ts'

const INT32_MAX = 2 ** 31 - 1

const encoded = (offsetDelta: number, timestampDelta: number, record: Content): Buffer => {
  const { key, value, headers } = record
  const bodySize = sizeOfRecordBody(offsetDelta, timestampDelta, key, value, headers)
  const buffer = Buffer.alloc(bodySize + 10, 0xee)
  const end = writeRecord(buffer, 2, bodySize, offsetDelta, timestampDelta, key, value, headers)
  expect(buffer.subarray(end)).toEqual(Buffer.alloc(buffer.length - end, 0xee))
  return buffer.subarray(2, end)
}

describe('an encoded record', () => {
  it('has the minimum size if it has no key, value and headers', () => {
    const bytes = encoded(0, 0, { key: null, value: null, headers: [] })
    expect(bytes.toString('hex')).toBe('0c000000010100')
    expect(bytes).toHaveLength(MIN_RECORD_BYTES)
  })

  it('has the computed size, which never exceeds the upper bound', () => {
    const offsetDelta = fc.integer({ min: 0, max: INT32_MAX })
    fc.assert(
      fc.property(offsetDelta, fc.maxSafeInteger(), content, (offset, timestamp, record) => {
        const { key, value, headers } = record
        const bytes = encoded(offset, timestamp, record)
        expect(bytes).toHaveLength(sizeOfRecord(offset, timestamp, key, value, headers))
        expect(bytes.length).toBeLessThanOrEqual(upperBoundOfRecord(key, value, headers))
      }),
    )
  })

  it('has an upper bound of 21 bytes plus its key, value and headers', () => {
    const value = Buffer.alloc(64)
    expect(upperBoundOfRecord(null, value, [])).toBe(21 + 1 + (2 + 64) + 1)
    expect(upperBoundOfRecord(Buffer.alloc(3), null, [{ key: 'ä', value }])).toBe(
      21 + (1 + 3) + 1 + 1 + (1 + 2) + (2 + 64),
    )
  })

  it.each([
    [INT32_MAX + 1, 0],
    [0, 2 ** 53],
  ])('cannot have offset delta %d and timestamp delta %d', (offsetDelta, timestampDelta) => {
    expect(() => sizeOfRecord(offsetDelta, timestampDelta, null, null, [])).toThrow(RangeError)
  })
})
