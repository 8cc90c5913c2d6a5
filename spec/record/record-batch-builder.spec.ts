import { describe, expect, it } from 'vitest'
import {
  IllegalStateError,
  InvalidTimestampError,
  RecordTooLargeError,
  UnsupportedCompressionTypeError,
} from '../../lib/errors.ts'
import { BatchMemory } from '../../lib/record/batch-memory.ts'
import { emptyBatch } from '../../lib/record/batch-properties.ts'
import { decodeRecords } from '../../lib/record/decode.ts'
import { RecordBatchBuilder, sizeOfRecord } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch, stampBatch } from '../../lib/record/record-batch.ts'
import { withoutZstd } from '../helpers/missing-codec.ts'
import {
  APPEND_TIME_BATCH,
  EMPTY_BATCH,
  goldenBuilder,
  GOLDEN_RECORDS,
  GOLDEN_TIMESTAMP,
  PLAIN_BATCH,
} from './golden-vectors.ts'

const PLACE = { topic: 't', partition: 0 }

const offsetsOf = async (buffer: Buffer): Promise<number[]> => {
  const records = await decodeRecords(new RecordBatch(buffer), PLACE)
  return records.map((record) => record.offset)
}

describe('a built batch', () => {
  it('is byte for byte what Kafka writes', async () => {
    const builder = goldenBuilder({ baseOffset: 100, partitionLeaderEpoch: 0 })
    expect(await builder.build()).toEqual(PLAIN_BATCH)
  })

  it('is byte for byte what Kafka writes with append time and a producer', async () => {
    const builder = goldenBuilder({
      baseOffset: 7,
      partitionLeaderEpoch: 0,
      timestampType: 'LogAppendTime',
      logAppendTime: 1_700_000_009_999,
      producerId: 4321,
      producerEpoch: 3,
      baseSequence: 2_147_483_646,
    })
    expect(builder.maxTimestamp).toBe(1_700_000_009_999)
    expect(await builder.build()).toEqual(APPEND_TIME_BATCH)
  })

  it('is byte for byte what Kafka writes after buildUncompressed and stampBatch', () => {
    const buffer = goldenBuilder({}).buildUncompressed()
    expect(new RecordBatch(buffer)).toMatchObject({ crc: 0, baseOffset: 0 })
    expect(new RecordBatch(buffer).partitionLeaderEpoch).toBe(-1)
    stampBatch(buffer, { baseOffset: 100, partitionLeaderEpoch: 0 })
    expect(buffer).toEqual(PLAIN_BATCH)
  })

  it('holds all appended records in fewer bytes when it is compressed', async () => {
    const options = { compressionType: 'gzip', compressionLevel: 9, baseOffset: 100 } as const
    const builder = goldenBuilder(options)
    for (let count = 0; count < 100; count++) builder.append(GOLDEN_TIMESTAMP, null, GOLDEN_RECORDS)
    const before = builder.sizeBytes
    const batch = new RecordBatch(await builder.build())
    batch.ensureValid()
    expect(batch).toMatchObject({ compressionType: 'gzip', recordCount: 103, lastOffset: 202 })
    expect(batch.sizeBytes).toBeLessThan(before / 4)
    const records = await decodeRecords(batch, PLACE)
    expect(records).toHaveLength(103)
    expect(records[102]).toMatchObject({ offset: 202, value: GOLDEN_RECORDS })
  })

  it('has the requested attribute bits', async () => {
    const transactional = goldenBuilder({ isTransactional: true })
    expect(new RecordBatch(await transactional.build()).attributes).toBe(0x10)
    const control = goldenBuilder({ isControl: true, timestampType: 'LogAppendTime' })
    expect(new RecordBatch(await control.build()).attributes).toBe(0x28)
  })

  it('has the largest timestamp of its records if the append time is not known yet', () => {
    const builder = goldenBuilder({ timestampType: 'LogAppendTime' })
    expect(new RecordBatch(builder.buildUncompressed()).maxTimestamp).toBe(GOLDEN_TIMESTAMP + 5)
  })

  it('stores timestamps relative to the delete horizon if it has one', () => {
    const builder = goldenBuilder({ deleteHorizonMs: 5000 })
    const batch = new RecordBatch(builder.buildUncompressed())
    expect(batch).toMatchObject({ deleteHorizonMs: 5000, baseTimestamp: 5000 })
    const records = decodeRecords(batch, PLACE) as { timestamp: number }[]
    expect(records.map((record) => record.timestamp)).toEqual([
      GOLDEN_TIMESTAMP,
      GOLDEN_TIMESTAMP + 5,
      GOLDEN_TIMESTAMP - 10,
    ])
  })
})

describe('appending to a builder', () => {
  it('returns offset deltas and updates count, size and largest timestamp', () => {
    const builder = new RecordBatchBuilder({ baseOffset: 10 })
    expect(builder).toMatchObject({ recordCount: 0, sizeBytes: 61, maxTimestamp: -1 })
    expect(builder.append(20, null, Buffer.of(1))).toBe(0)
    expect(builder.append(30, null, null)).toBe(1)
    expect(builder.append(25, null, null)).toBe(2)
    const sizeBytes =
      61 +
      sizeOfRecord(0, 0, null, Buffer.of(1), []) +
      sizeOfRecord(1, 10, null, null, []) +
      sizeOfRecord(2, 5, null, null, [])
    expect(builder).toMatchObject({ recordCount: 3, sizeBytes, maxTimestamp: 30 })
  })

  it('accepts records without a timestamp', () => {
    const builder = new RecordBatchBuilder()
    builder.append(-1, null, null)
    expect(new RecordBatch(builder.buildUncompressed())).toMatchObject({
      baseTimestamp: -1,
      maxTimestamp: -1,
    })
  })

  it('grows from any initial capacity without losing a byte', () => {
    const built = (capacityBytes: number): Buffer => {
      const builder = new RecordBatchBuilder({ capacityBytes })
      const bytes = Buffer.alloc(40, 0xff)
      for (let count = 0; count < 20; count++) {
        builder.append(count, bytes, bytes, [{ key: 'last', value: bytes }])
      }
      return builder.buildUncompressed()
    }
    const atOnce = built(10_000)
    for (let capacity = 0; capacity < 400; capacity += 7) {
      expect(built(capacity).equals(atOnce), `capacity ${capacity}`).toBe(true)
    }
  })

  it('returns an outgrown buffer to the pool, and builds the batch in the larger one', () => {
    const pool = new BatchMemory()
    const builder = new RecordBatchBuilder({ pool, capacityBytes: 4096 })
    for (let count = 0; count < 3; count++) builder.append(0, null, Buffer.alloc(2000, count))
    expect(pool.spareBytes).toBe(4096)
    expect(pool.take(4096).length).toBe(4096)
    expect(pool.spareBytes).toBe(0)
    pool.letGo(builder.buildUncompressed())
    expect(pool.spareBytes).toBe(8192)
  })

  it('copies the bytes of the record', () => {
    const value = Buffer.from('v1')
    const builder = new RecordBatchBuilder()
    builder.append(0, null, value)
    value.fill(0)
    const [record] = decodeRecords(new RecordBatch(builder.buildUncompressed()), PLACE) as {
      value: Buffer
    }[]
    expect(record?.value.toString()).toBe('v1')
  })

  it.each([
    ['a timestamp below -1', -2, InvalidTimestampError],
    ['a timestamp with a fraction', 0.5, RangeError],
    ['no number as a timestamp', Number.NaN, RangeError],
  ])('throws for %s and leaves the builder unchanged', async (_name, timestamp, error) => {
    const builder = goldenBuilder({ baseOffset: 100, partitionLeaderEpoch: 0 })
    expect(() => builder.append(timestamp, null, null)).toThrow(error)
    expect(await builder.build()).toEqual(PLAIN_BATCH)
  })

  it('throws RecordTooLargeError before copying anything if a record exceeds the format', () => {
    const builder = new RecordBatchBuilder()
    const half = Buffer.allocUnsafe(2 ** 30)
    expect(() => builder.append(0, half, half)).toThrow(RecordTooLargeError)
    expect(builder).toMatchObject({ recordCount: 0, sizeBytes: 61 })
    expect(builder.append(7, null, null)).toBe(0)
    expect(new RecordBatch(builder.buildUncompressed()).baseTimestamp).toBe(7)
  })
})

describe('offset gaps in a batch', () => {
  it('are kept between records and after the last one', async () => {
    const builder = new RecordBatchBuilder({ baseOffset: 10, baseSequence: 5 })
    expect(builder.appendWithOffset(12, 0, null, null)).toBe(2)
    expect(builder.appendWithOffset(15, 0, null, null)).toBe(5)
    expect(builder.append(0, null, null)).toBe(6)
    builder.overrideLastOffset(20)
    const bytes = await builder.build()
    expect(await offsetsOf(bytes)).toEqual([12, 15, 16])
    expect(new RecordBatch(bytes)).toMatchObject({
      baseOffset: 10,
      lastOffset: 20,
      nextOffset: 21,
      lastSequence: 15,
      recordCount: 3,
    })
  })

  it('can be as wide as the format allows', async () => {
    const builder = new RecordBatchBuilder({ baseOffset: 10 })
    builder.append(0, null, null)
    builder.appendWithOffset(10 + 2 ** 31 - 1, 0, null, null)
    expect(await offsetsOf(await builder.build())).toEqual([10, 10 + 2 ** 31 - 1])
  })

  it.each([9, 10, 11.5, 10 + 2 ** 31])('cannot lead to the invalid offset %d', (offset) => {
    const builder = new RecordBatchBuilder({ baseOffset: 10 })
    builder.append(0, null, null)
    expect(() => builder.appendWithOffset(offset, 0, null, null)).toThrow(
      `offset ${offset} must be from 11 to 2147483657`,
    )
  })

  it('cannot end before the last record', () => {
    const builder = goldenBuilder({ baseOffset: 10 })
    builder.overrideLastOffset(12)
    expect(() => {
      builder.overrideLastOffset(11)
    }).toThrow(RangeError)
    expect(builder.append(0, null, null)).toBe(3)
  })
})

describe('tryAppend', () => {
  const value = Buffer.alloc(100)
  const headers = [{ key: 'trace', value }]

  it('accepts a first record of any size', () => {
    const builder = new RecordBatchBuilder()
    expect(builder.tryAppend(10, 0, value, value, headers)).toBe(0)
    expect(builder.sizeBytes).toBeGreaterThan(10)
  })

  it.each([
    { what: 'a value', key: null, extra: [] },
    { what: 'key, value and headers', key: value, extra: headers },
  ])(
    'counts $what of a later record to the byte, and adds nothing if the limit is exceeded',
    ({ key, extra }) => {
      const builder = new RecordBatchBuilder()
      builder.append(0, null, null)
      const before = builder.sizeBytes
      const limitBytes = before + sizeOfRecord(1, 5, key, value, extra)
      expect(builder.tryAppend(limitBytes - 1, 5, key, value, extra)).toBe(-1)
      expect(builder).toMatchObject({ sizeBytes: before, recordCount: 1, maxTimestamp: 0 })
      expect(builder.tryAppend(limitBytes, 5, key, value, extra)).toBe(1)
      expect(builder.sizeBytes).toBe(limitBytes)
    },
  )

  it('appends records up to the limit, but not beyond it', () => {
    const builder = new RecordBatchBuilder()
    const limitBytes = 1000
    builder.append(0, null, null)
    let slot = 1
    while (builder.tryAppend(limitBytes, 2 ** 50, value, value, headers) === slot) slot += 1
    expect(builder.recordCount).toBe(slot)
    expect(slot).toBeGreaterThan(2)
    expect(builder.sizeBytes).toBeLessThanOrEqual(limitBytes)
  })
})

describe('a builder', () => {
  it.each([-1, 0.5, 2 ** 53])('throws for base offset %d', (baseOffset) => {
    expect(() => new RecordBatchBuilder({ baseOffset })).toThrow(
      `baseOffset ${baseOffset} must be an integer from 0 to 2^53 - 1`,
    )
  })

  it('throws on creation if the codec is missing', () => {
    withoutZstd()
    expect(() => new RecordBatchBuilder({ compressionType: 'zstd' })).toThrow(
      UnsupportedCompressionTypeError,
    )
  })

  it('throws IllegalStateError when it is built without records', async () => {
    await expect(new RecordBatchBuilder().build()).rejects.toThrow(IllegalStateError)
    expect(() => new RecordBatchBuilder().buildUncompressed()).toThrow('has no records')
  })

  it('throws on any further use after the batch was built', async () => {
    const builder = goldenBuilder({})
    await builder.build()
    expect(() => builder.append(0, null, null)).toThrow(IllegalStateError)
    await expect(builder.build()).rejects.toThrow('the batch has already been built')
    expect(() => builder.buildUncompressed()).toThrow('the batch has already been built')
  })

  it.each([
    { partitionLeaderEpoch: 2 ** 31 },
    { producerId: 2 ** 53 },
    { producerEpoch: 2 ** 15 },
    { producerEpoch: -(2 ** 15) - 1 },
    { baseSequence: 2 ** 31 },
    { timestampType: 'LogAppendTime', logAppendTime: 0.5 } as const,
  ])('throws RangeError when an option does not fit its field: %j', (options) => {
    expect(() => goldenBuilder(options).buildUncompressed()).toThrow(RangeError)
  })

  it('throws from buildUncompressed if the batch is compressed, and can still build it', async () => {
    const builder = goldenBuilder({ compressionType: 'gzip' })
    expect(() => builder.buildUncompressed()).toThrow("compressed with 'gzip' needs build()")
    expect(await offsetsOf(await builder.build())).toEqual([0, 1, 2])
  })
})

describe('an empty batch', () => {
  it('is byte for byte what Kafka writes', () => {
    const bytes = emptyBatch({
      baseOffset: 15,
      lastOffset: 37,
      maxTimestamp: GOLDEN_TIMESTAMP,
      partitionLeaderEpoch: 15,
      producerId: 23_423,
      producerEpoch: 145,
      baseSequence: 983,
    })
    expect(bytes).toEqual(EMPTY_BATCH)
  })

  it('cannot end before it starts', () => {
    expect(() => emptyBatch({ baseOffset: 5, lastOffset: 4, maxTimestamp: -1 })).toThrow(
      'lastOffset 4 must be at least baseOffset (5)',
    )
  })

  it('cannot cover more offsets than an int32 counts', () => {
    const empty = { baseOffset: 5, maxTimestamp: -1 }
    expect(new RecordBatch(emptyBatch({ ...empty, lastOffset: 2 ** 31 + 4 })).lastOffset).toBe(
      2 ** 31 + 4,
    )
    expect(() => emptyBatch({ ...empty, lastOffset: 2 ** 31 + 5 })).toThrow(RangeError)
  })

  it('has producer id, producer epoch and sequence -1 if no producer is named', () => {
    const bytes = emptyBatch({
      baseOffset: 0,
      lastOffset: 0,
      maxTimestamp: -1,
      timestampType: 'LogAppendTime',
      isTransactional: true,
      isControl: true,
    })
    const batch = new RecordBatch(bytes)
    batch.ensureValid()
    expect(batch).toMatchObject({
      attributes: 0x38,
      partitionLeaderEpoch: -1,
      producerId: -1,
      producerEpoch: -1,
      baseSequence: -1,
    })
  })
})
