import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CorruptRecordError, UnsupportedCompressionTypeError } from '../../lib/errors.ts'
import {
  ATTRIBUTES_POSITION,
  BASE_OFFSET_POSITION,
  LEADER_EPOCH_POSITION,
} from '../../lib/record/batch-layout.ts'
import {
  GROUP_START,
  LOG_OVERHEAD,
  MAGIC_V2,
  NO_TIMESTAMP,
  RecordBatch,
  RECORD_BATCH_OVERHEAD,
  stampBatch,
} from '../../lib/record/record-batch.ts'
import {
  APPEND_TIME_BATCH,
  COMMIT_MARKER,
  COMPRESSED_BATCHES,
  EMPTY_BATCH,
  GOLDEN_TIMESTAMP,
  PLAIN_BATCH,
} from './golden-vectors.ts'
import { rawBatch } from './raw-batch.ts'

const copyOf = (bytes: Buffer): Buffer => Buffer.from(bytes)

const changed = (bytes: Buffer, change: (copy: Buffer) => void): Buffer => {
  const copy = copyOf(bytes)
  change(copy)
  return copy
}

describe('the batch format', () => {
  it('has the constants of Kafka', () => {
    expect({ LOG_OVERHEAD, RECORD_BATCH_OVERHEAD, MAGIC_V2, NO_TIMESTAMP, GROUP_START }).toEqual({
      LOG_OVERHEAD: 12,
      RECORD_BATCH_OVERHEAD: 61,
      MAGIC_V2: 2,
      NO_TIMESTAMP: -1,
      GROUP_START: 1 << 14,
    })
  })
})

describe('a view of a batch', () => {
  it('returns every field of a plain batch', () => {
    expect(new RecordBatch(PLAIN_BATCH)).toMatchObject({
      baseOffset: 100,
      lastOffset: 102,
      nextOffset: 103,
      sizeBytes: 93,
      partitionLeaderEpoch: 0,
      crc: 0xdf9e_ec65,
      attributes: 0,
      compressionType: 'none',
      timestampType: 'CreateTime',
      isTransactional: false,
      isControl: false,
      deleteHorizonMs: null,
      isGroupStart: false,
      lastOffsetDelta: 2,
      baseTimestamp: GOLDEN_TIMESTAMP,
      maxTimestamp: GOLDEN_TIMESTAMP + 5,
      producerId: -1,
      producerEpoch: -1,
      baseSequence: -1,
      lastSequence: -1,
      recordCount: 3,
    })
  })

  it('returns append time, producer and sequence', () => {
    expect(new RecordBatch(APPEND_TIME_BATCH)).toMatchObject({
      baseOffset: 7,
      timestampType: 'LogAppendTime',
      maxTimestamp: 1_700_000_009_999,
      producerId: 4321,
      producerEpoch: 3,
      baseSequence: 2_147_483_646,
    })
  })

  it('returns the fields of a control batch and of an empty batch', () => {
    expect(new RecordBatch(COMMIT_MARKER)).toMatchObject({
      baseOffset: 55,
      attributes: 0x30,
      isTransactional: true,
      isControl: true,
    })
    expect(new RecordBatch(EMPTY_BATCH)).toMatchObject({
      baseOffset: 15,
      lastOffset: 37,
      nextOffset: 38,
      partitionLeaderEpoch: 15,
      producerId: 23_423,
      producerEpoch: 145,
      baseSequence: 983,
      lastSequence: 1005,
      baseTimestamp: NO_TIMESTAMP,
      recordCount: 0,
    })
  })

  it('returns the codec, and throws if it is unknown', () => {
    const codecs = Object.values(COMPRESSED_BATCHES).map(
      (bytes) => new RecordBatch(bytes).compressionType,
    )
    expect(codecs).toEqual(['snappy', 'lz4', 'zstd'])
    expect(() => rawBatch('', { attributes: 5 }).compressionType).toThrow(
      UnsupportedCompressionTypeError,
    )
  })

  it('returns the delete horizon and the group start bit', () => {
    const dated = rawBatch('', { attributes: 0x40, baseTimestamp: 5000 })
    expect(dated.deleteHorizonMs).toBe(5000)
    expect(rawBatch('', { attributes: 0x4000 })).toMatchObject({
      isGroupStart: true,
      compressionType: 'none',
    })
  })

  it('wraps sequences to 0 after 2^31 - 1', () => {
    expect(new RecordBatch(APPEND_TIME_BATCH).lastSequence).toBe(0)
  })

  it('covers only the first batch of the buffer, and shares its bytes', () => {
    const buffer = Buffer.concat([PLAIN_BATCH, EMPTY_BATCH])
    const batch = new RecordBatch(buffer)
    expect(batch.sizeBytes).toBe(PLAIN_BATCH.length)
    expect(batch.buffer).toEqual(PLAIN_BATCH)
    buffer.writeBigInt64BE(4711n, BASE_OFFSET_POSITION)
    expect(batch.baseOffset).toBe(4711)
  })

  it.each([
    ['no bytes', Buffer.alloc(0), 'a batch has at least 61 bytes, but there are 0'],
    ['a piece of a prefix', PLAIN_BATCH.subarray(0, 16), 'but there are 16'],
    [
      'a batch that is cut off',
      PLAIN_BATCH.subarray(0, 92),
      'the batch has 93 bytes, but there are 92',
    ],
    ['zeros', Buffer.alloc(100), 'its length 0 is below 49'],
    [
      'a length below a header',
      changed(PLAIN_BATCH, (copy) => copy.writeInt32BE(48, 8)),
      'its length 48 is below 49',
    ],
    [
      'a negative length',
      changed(PLAIN_BATCH, (copy) => copy.writeInt32BE(-1, 8)),
      'its length -1 is below 49',
    ],
    [
      'an older format',
      changed(PLAIN_BATCH, (copy) => copy.writeInt8(1, 16)),
      'its magic is 1, not 2',
    ],
  ])('throws CorruptRecordError for %s', (_name, bytes, reason) => {
    expect(() => new RecordBatch(bytes)).toThrow(CorruptRecordError)
    expect(() => new RecordBatch(bytes)).toThrow(reason)
  })

  it('throws CorruptRecordError for a 64-bit field that a number cannot hold', () => {
    const bytes = changed(PLAIN_BATCH, (copy) => copy.writeBigInt64BE(2n ** 60n, 0))
    expect(() => new RecordBatch(bytes).lastOffset).toThrow(CorruptRecordError)
  })
})

describe('validation of a batch', () => {
  it.each([
    ['plain', PLAIN_BATCH],
    ['append time', APPEND_TIME_BATCH],
    ['control', COMMIT_MARKER],
    ['empty', EMPTY_BATCH],
    ...Object.entries(COMPRESSED_BATCHES),
  ])('accepts the %s batch that Kafka wrote', (_name, bytes) => {
    const batch = new RecordBatch(bytes)
    expect(() => {
      batch.ensureValid()
    }).not.toThrow()
  })

  it('reports both checksums, and the position and base offset of the damage', () => {
    const batch = new RecordBatch(changed(PLAIN_BATCH, (copy) => copy.writeUInt32BE(0xabc, 17)))
    expect(() => {
      batch.ensureValid()
    }).toThrow(
      expect.objectContaining({
        reason: 'the CRC is 0x00000abc, but its bytes have 0xdf9eec65',
        path: null,
        position: 0,
        firstOffset: 100,
        lastOffset: null,
      }),
    )
  })

  it.each([
    ['a negative base offset', { baseOffset: -1 }, 'the base offset -1 is negative', 0],
    ['a negative last offset', { lastOffsetDelta: -1 }, 'lastOffsetDelta -1 is negative', 23],
    ['a negative count', { recordCount: -2 }, 'the record count -2 is negative', 57],
    [
      'a last offset without a successor',
      { baseOffset: Number.MAX_SAFE_INTEGER - 2, lastOffsetDelta: 2 },
      'the next offset is beyond 2^53 - 1',
      0,
    ],
  ])('reports %s even if the CRC matches', (_name, header, reason, position) => {
    const batch = rawBatch('', header)
    expect(() => {
      batch.ensureValid()
    }).toThrow(expect.objectContaining({ code: 'CORRUPT_MESSAGE', reason, position }))
  })

  it('accepts the highest offsets that a number can hold', () => {
    const batch = rawBatch('', { baseOffset: Number.MAX_SAFE_INTEGER - 3, lastOffsetDelta: 2 })
    expect(() => {
      batch.ensureValid()
    }).not.toThrow()
    expect(batch.nextOffset).toBe(Number.MAX_SAFE_INTEGER)
  })

  it('reports a length field that has changed since the view was created', () => {
    const batch = new RecordBatch(copyOf(PLAIN_BATCH))
    batch.buffer.writeInt32BE(80, 8)
    expect(() => {
      batch.ensureValid()
    }).toThrow('its length field says 92 bytes, but it has 93')
  })

  it('reports every single bit flip after the leader epoch', () => {
    const batch = new RecordBatch(copyOf(PLAIN_BATCH))
    for (let bit = 16 * 8; bit < PLAIN_BATCH.length * 8; bit++) {
      const flip = (): void => {
        const position = bit >>> 3
        batch.buffer.writeUInt8(batch.buffer.readUInt8(position) ^ (1 << (bit & 7)), position)
      }
      flip()
      expect(() => {
        batch.ensureValid()
      }, `bit ${bit}`).toThrow(CorruptRecordError)
      flip()
    }
    batch.ensureValid()
  })
})

describe('stampBatch', () => {
  it('sets base offset and leader epoch and changes nothing else', () => {
    const buffer = copyOf(PLAIN_BATCH)
    stampBatch(buffer, { baseOffset: 2 ** 40, partitionLeaderEpoch: 9 })
    const batch = new RecordBatch(buffer)
    batch.ensureValid()
    expect(batch).toMatchObject({ baseOffset: 2 ** 40, lastOffset: 2 ** 40 + 2 })
    expect(batch.partitionLeaderEpoch).toBe(9)
    expect(buffer.subarray(16)).toEqual(PLAIN_BATCH.subarray(16))
  })

  it('sets or clears the group start bit, and updates the CRC', () => {
    const buffer = copyOf(PLAIN_BATCH)
    const batch = new RecordBatch(buffer)
    stampBatch(buffer, { baseOffset: 100, partitionLeaderEpoch: 0, groupStart: true })
    expect(batch).toMatchObject({ isGroupStart: true, attributes: GROUP_START })
    batch.ensureValid()
    expect(batch.crc).not.toBe(0xdf9e_ec65)
    stampBatch(buffer, { baseOffset: 100, partitionLeaderEpoch: 0, groupStart: false })
    expect(buffer).toEqual(PLAIN_BATCH)
    stampBatch(buffer, { baseOffset: 100, partitionLeaderEpoch: 0, groupStart: true })
    stampBatch(buffer, { baseOffset: 100, partitionLeaderEpoch: 0 })
    expect(buffer).toEqual(PLAIN_BATCH)
  })

  it('replaces create time with append time, and updates the CRC', () => {
    const buffer = copyOf(PLAIN_BATCH)
    const batch = new RecordBatch(buffer)
    stampBatch(buffer, { baseOffset: 100, partitionLeaderEpoch: 0, logAppendTime: 1234 })
    expect(batch).toMatchObject({
      timestampType: 'LogAppendTime',
      maxTimestamp: 1234,
      baseTimestamp: GOLDEN_TIMESTAMP,
    })
    batch.ensureValid()
    expect(buffer.subarray(61)).toEqual(PLAIN_BATCH.subarray(61))
  })

  it('keeps the timestamps of the batch if the append time is null', () => {
    const buffer = copyOf(PLAIN_BATCH)
    stampBatch(buffer, { baseOffset: 100, partitionLeaderEpoch: 0, logAppendTime: null })
    expect(buffer).toEqual(PLAIN_BATCH)
  })

  it('keeps the attribute bits that it does not set', () => {
    const buffer = changed(PLAIN_BATCH, (copy) => copy.writeUInt16BE(0xbff0, ATTRIBUTES_POSITION))
    stampBatch(buffer, { baseOffset: 3, partitionLeaderEpoch: 1, groupStart: true })
    const batch = new RecordBatch(buffer)
    expect(batch.attributes).toBe(0xfff0)
    batch.ensureValid()
    stampBatch(buffer, { baseOffset: 3, partitionLeaderEpoch: 1, logAppendTime: 1234 })
    expect(batch.attributes).toBe(0xbff8)
    batch.ensureValid()
  })

  it('leaves the bytes after the batch unchanged', () => {
    const buffer = Buffer.concat([PLAIN_BATCH, EMPTY_BATCH])
    stampBatch(buffer, { baseOffset: 3, partitionLeaderEpoch: 1, groupStart: true })
    new RecordBatch(buffer).ensureValid()
    expect(buffer.subarray(93)).toEqual(EMPTY_BATCH)
  })

  it.each([
    ['offset', { baseOffset: 2 ** 53, partitionLeaderEpoch: 0 }],
    ['epoch', { baseOffset: 100, partitionLeaderEpoch: 2 ** 31 }],
    ['append time', { baseOffset: 100, partitionLeaderEpoch: 0, logAppendTime: 0.5 }],
  ])(
    'throws RangeError for an %s that does not fit, and leaves the batch unchanged',
    (_name, stamp) => {
      const buffer = copyOf(PLAIN_BATCH)
      expect(() => {
        stampBatch(buffer, stamp)
      }).toThrow(RangeError)
      expect(buffer).toEqual(PLAIN_BATCH)
    },
  )

  it('throws CorruptRecordError for an incomplete batch', () => {
    expect(() => {
      stampBatch(PLAIN_BATCH.subarray(0, 80), { baseOffset: 0, partitionLeaderEpoch: 0 })
    }).toThrow(CorruptRecordError)
  })
})

describe('changing only the offset or the epoch', () => {
  it('keeps the CRC valid', () => {
    const offset = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 3 })
    fc.assert(
      fc.property(offset, fc.integer(), (baseOffset, partitionLeaderEpoch) => {
        const buffer = copyOf(PLAIN_BATCH)
        buffer.writeBigInt64BE(BigInt(baseOffset), BASE_OFFSET_POSITION)
        buffer.writeInt32BE(partitionLeaderEpoch, LEADER_EPOCH_POSITION)
        const batch = new RecordBatch(buffer)
        expect(batch).toMatchObject({ baseOffset, partitionLeaderEpoch, crc: 0xdf9e_ec65 })
        batch.ensureValid()
      }),
    )
  })
})
