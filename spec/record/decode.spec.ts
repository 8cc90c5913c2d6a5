import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  CorruptRecordError,
  UnsupportedCompressionTypeError,
  VarveError,
} from '../../lib/errors.ts'
import { BASE_TIMESTAMP_POSITION, LOG_APPEND_TIME } from '../../lib/record/batch-layout.ts'
import { COMPRESSION_TYPES, type CompressionType } from '../../lib/record/compression.ts'
import { decodeRecords, type DecodeOptions, type StoredRecord } from '../../lib/record/decode.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch, writeCrc } from '../../lib/record/record-batch.ts'
import { withoutZstd } from '../helpers/missing-codec.ts'
import { content, timestamp } from './arbitraries.ts'
import {
  APPEND_TIME_BATCH,
  COMMIT_MARKER,
  COMPRESSED_BATCHES,
  EMPTY_BATCH,
  GOLDEN_CONTENT,
  GOLDEN_RECORDS,
  GOLDEN_TIMESTAMP,
  goldenBuilder,
  PLAIN_BATCH,
} from './golden-vectors.ts'
import { rawBatch } from './raw-batch.ts'

const PLACE = { topic: 'orders', partition: 3 }

const decodeNow = (batch: RecordBatch, options?: DecodeOptions): StoredRecord[] => {
  const records = decodeRecords(batch, PLACE, options)
  if (records instanceof Promise) throw new TypeError('the records were not there at once')
  return records
}

const golden = (baseOffset: number, timestamps: readonly number[]): unknown[] =>
  GOLDEN_CONTENT.map((record, delta) => ({
    ...PLACE,
    ...record,
    offset: baseOffset + delta,
    timestamp: timestamps[delta],
  }))

const GOLDEN_TIMESTAMPS = [GOLDEN_TIMESTAMP, GOLDEN_TIMESTAMP + 5, GOLDEN_TIMESTAMP - 10]

describe('decodeRecords', () => {
  it('returns the records that Kafka wrote', () => {
    const records = decodeNow(new RecordBatch(PLAIN_BATCH))
    expect(records).toEqual(golden(100, GOLDEN_TIMESTAMPS))
  })

  it('returns the append time as every timestamp of a LogAppendTime batch', () => {
    const records = decodeNow(new RecordBatch(APPEND_TIME_BATCH))
    const time = 1_700_000_009_999
    expect(records).toEqual(golden(7, [time, time, time]))
  })

  it.each(['none', 'gzip'] as const)(
    'returns the append time even if the timestamps of the producer are out of range: %s',
    async (codec) => {
      const records = Buffer.from('1e00feffffffffffffffff01000101000c000202010100', 'hex')
      const body = codec === 'gzip' ? gzipSync(records) : records
      const attributes = LOG_APPEND_TIME | (codec === 'gzip' ? 1 : 0)
      const { buffer } = rawBatch(body, { attributes, recordCount: 2, maxTimestamp: 5000 })
      buffer.writeBigInt64BE(2n ** 63n - 1n, BASE_TIMESTAMP_POSITION)
      const decoded = await decodeRecords(new RecordBatch(buffer), PLACE)
      expect(decoded.map(({ offset, timestamp }) => [offset, timestamp])).toEqual([
        [0, 5000],
        [1, 5000],
      ])
    },
  )

  it('returns a promise for records that any gzip encoder has compressed', async () => {
    const batch = rawBatch(gzipSync(GOLDEN_RECORDS), {
      attributes: 1,
      baseOffset: 100,
      baseTimestamp: GOLDEN_TIMESTAMP,
      recordCount: 3,
    })
    const records = decodeRecords(batch, PLACE)
    expect(records).toBeInstanceOf(Promise)
    expect(await records).toEqual(golden(100, GOLDEN_TIMESTAMPS))
  })

  it.each(Object.entries(COMPRESSED_BATCHES))(
    'reads %s batches as Kafka compresses them',
    async (_type, bytes) => {
      const batch = new RecordBatch(bytes)
      batch.ensureValid()
      expect(await decodeRecords(batch, PLACE)).toEqual(golden(0, GOLDEN_TIMESTAMPS))
    },
  )

  it('rejects if the codec is missing, while the header can still be read', async () => {
    withoutZstd()
    const batch = new RecordBatch(COMPRESSED_BATCHES.zstd)
    const result = Promise.resolve(decodeRecords(batch, PLACE))
    await expect(result).rejects.toThrow(UnsupportedCompressionTypeError)
    await expect(result).rejects.toThrow(`'zstd'`)
    expect(batch).toMatchObject({ baseOffset: 0, nextOffset: 3, recordCount: 3 })
  })

  it('throws UnsupportedCompressionTypeError for a codec id that has no name', () => {
    expect(() => decodeNow(rawBatch('', { attributes: 7 }))).toThrow(
      UnsupportedCompressionTypeError,
    )
  })

  it('returns no records for control batches and for batches that compaction has emptied', async () => {
    expect(decodeNow(new RecordBatch(COMMIT_MARKER))).toEqual([])
    expect(decodeNow(new RecordBatch(EMPTY_BATCH))).toEqual([])
    expect(await decodeRecords(rawBatch('', { attributes: 1, recordCount: 0 }), PLACE)).toEqual([])
  })

  it('skips records below fromOffset', async () => {
    const offsetsFrom = async (
      fromOffset: number,
      compressionType: CompressionType,
    ): Promise<number[]> => {
      const bytes = await goldenBuilder({ baseOffset: 100, compressionType }).build()
      const records = await decodeRecords(new RecordBatch(bytes), PLACE, { fromOffset })
      return records.map((record) => record.offset)
    }
    for (const type of ['none', 'gzip'] as const) {
      expect(await offsetsFrom(0, type)).toEqual([100, 101, 102])
      expect(await offsetsFrom(101, type)).toEqual([101, 102])
      expect(await offsetsFrom(103, type)).toEqual([])
    }
  })

  it('returns at most maxRecords records', async () => {
    for (const compressionType of ['none', 'gzip'] as const) {
      const bytes = await goldenBuilder({ baseOffset: 100, compressionType }).build()
      const offsetsOf = async (options: DecodeOptions): Promise<number[]> =>
        (await decodeRecords(new RecordBatch(bytes), PLACE, options)).map(({ offset }) => offset)
      expect(await offsetsOf({ maxRecords: 1 })).toEqual([100])
      expect(await offsetsOf({ maxRecords: 1, fromOffset: 101 })).toEqual([101])
      expect(await offsetsOf({ maxRecords: 9, fromOffset: 101 })).toEqual([101, 102])
    }
  })

  it('throws for a record that claims -1 bytes instead of skipping it', () => {
    const batch = rawBatch('0100000000000000', { baseOffset: 0, recordCount: 1 })
    const decode = (): unknown => decodeNow(batch, { fromOffset: 1 })
    expect(decode).toThrow('a record claims -1 bytes')
  })

  it('returns views of the batch, and one frozen list for all records without headers', () => {
    const bytes = Buffer.from(PLAIN_BATCH)
    const [first, second, third] = decodeNow(new RecordBatch(bytes))
    bytes.fill(0x21)
    expect(first?.key?.toString()).toBe('!!')
    expect(first?.value?.toString()).toBe('!!')
    expect(first?.headers[0]?.value?.toString()).toBe('!')
    expect(second?.headers).toBe(third?.headers)
    expect(second?.headers).toSatisfy(Object.isFrozen)
  })

  it('keeps headers with repeated keys in order, and keys in any script', () => {
    const headers = [
      { key: 'ключ', value: Buffer.of(2) },
      { key: '', value: Buffer.alloc(0) },
      { key: 'ключ', value: null },
      { key: '__proto__', value: Buffer.of(1) },
    ]
    const builder = new RecordBatchBuilder()
    builder.append(0, null, null, headers)
    expect(decodeNow(new RecordBatch(builder.buildUncompressed()))[0]?.headers).toEqual(headers)
  })

  it('returns whatever was appended, with every codec', async () => {
    const record = fc.record({ timestamp, content, gap: fc.nat({ max: 3 }) })
    const records = fc.array(record, { minLength: 1, maxLength: 20 })
    const baseOffset = fc.nat()
    const type = fc.constantFrom(...COMPRESSION_TYPES)
    await fc.assert(
      fc.asyncProperty(records, baseOffset, type, async (appended, base, compressionType) => {
        const builder = new RecordBatchBuilder({ baseOffset: base, compressionType })
        let offset = base
        const expected = appended.map(({ timestamp: time, content: user, gap }) => {
          offset += gap
          builder.appendWithOffset(offset, time, user.key, user.value, user.headers)
          return { ...PLACE, offset: offset++, timestamp: time, ...user }
        })
        const sizeBytes = builder.sizeBytes
        const batch = new RecordBatch(await builder.build())
        batch.ensureValid()
        expect(await decodeRecords(batch, PLACE)).toEqual(expected)
        expect(batch.nextOffset).toBe(offset)
        expect(batch.maxTimestamp).toBe(Math.max(...appended.map((each) => each.timestamp)))
        if (compressionType === 'none') expect(batch.sizeBytes).toBe(sizeBytes)
      }),
    )
  })
})

/** Bytes of records, the header that claims to describe them, and the error. */
const DAMAGE: readonly (readonly [string, string, Record<string, number>, string])[] = [
  ['a negative count', '0c000000010100', { recordCount: -1 }, 'claims -1 records'],
  ['a count that no size allows', '0c000000010100', { recordCount: 2 }, '7 bytes can hold 0 to 1'],
  [
    'a count above the records that are there',
    '1c 00 00 00 01 10 0000000000000000 00',
    { recordCount: 2 },
    '1 bytes are expected, but 0 remain',
  ],
  [
    'a count below the records that are there',
    '0c000000010100 0c000002010100',
    { lastOffsetDelta: 1 },
    '7 bytes after the last record',
  ],
  ['no record at all, but bytes', '0c000000010100', { recordCount: 0 }, '7 bytes after'],
  ['a negative record size', '0d000000010100', {}, 'a record claims -7 bytes'],
  ['a record size past the end', '0e000000010100', {}, 'a record claims 7 bytes, but 6 remain'],
  [
    'a record that is smaller than its size',
    '0e00000001010000',
    {},
    'claims 7 bytes, but its fields take 6',
  ],
  [
    'a record that is larger than its size',
    '0a000000010100',
    {},
    'claims 5 bytes, but its fields take 6',
  ],
  ['a key past the end', '0c000000080100', {}, '4 bytes are expected, but 2 remain'],
  ['a negative key size', '0c000000030100', {}, 'the length -2 is negative'],
  ['a value past the end', '0c000000010400', {}, '2 bytes are expected, but 1 remain'],
  ['a negative value size', '0c000000010500', {}, 'the length -3 is negative'],
  ['a negative header count', '0c000000010101', {}, 'a record claims -1 headers'],
  [
    'a header count that no size allows',
    '0c000000010102',
    {},
    'a record claims 1 headers, but 0 to 0 can follow',
  ],
  [
    'a header count above the headers that are there',
    '10 00 00 00 01 01 04 00 01',
    {},
    'a record claims 2 headers, but 0 to 1 can follow',
  ],
  [
    'a header count below the headers that are there',
    '14 00 00 00 01 01 02 00 01 00 01',
    {},
    'claims 10 bytes, but its fields take 8',
  ],
  ['a header without a key', '10 00 00 00 01 01 02 01 01', {}, 'the length -1 is negative'],
  ['a header key past the end', '10 00 00 00 01 01 02 08 01', {}, '4 bytes are expected'],
  ['a header value past the end', '10 00 00 00 01 01 02 00 02', {}, '1 bytes are expected'],
  ['a negative header value size', '10 00 00 00 01 01 02 00 03', {}, 'the length -2 is negative'],
  ['an offset below the batch', '0c000001010100', {}, 'offset delta -1 must be above -1'],
  [
    'an offset above the batch',
    '0c000002010100',
    {},
    'offset delta 1 must be above -1 and at most 0',
  ],
  [
    'an offset that repeats',
    '0c000002010100 0c000002010100',
    { recordCount: 2 },
    'offset delta 1 must be above 1',
  ],
  [
    'a timestamp that a number cannot hold',
    '0c000200010100',
    { baseTimestamp: Number.MAX_SAFE_INTEGER },
    'a timestamp is beyond 2^53 - 1',
  ],
  [
    'a last offset without a successor',
    '0c000000010100',
    { baseOffset: Number.MAX_SAFE_INTEGER },
    'the last offset is beyond 2^53 - 2',
  ],
  ['a number that never ends', 'ffffffffffffffffffff', {}, 'does not fit 32 bits'],
]

describe('decodeRecords of a damaged batch', () => {
  it.each(DAMAGE)('throws CorruptRecordError for %s', (_name, hex, header, reason) => {
    const batch = rawBatch(hex, header)
    expect(() => decodeNow(batch)).toThrow(CorruptRecordError)
    expect(() => decodeNow(batch)).toThrow(reason)
  })

  it.each(DAMAGE)(
    'rejects with CorruptRecordError for %s inside compressed records',
    async (_name, hex, header, reason) => {
      const records = Buffer.from(hex.replaceAll(' ', ''), 'hex')
      const batch = rawBatch(gzipSync(records), { ...header, attributes: 1 })
      const result = Promise.resolve(decodeRecords(batch, PLACE))
      await expect(result).rejects.toThrow(CorruptRecordError)
      await expect(result).rejects.toThrow(reason)
    },
  )

  it('reports the position of the damage in the batch, and the offsets of the batch', async () => {
    const damaged = Buffer.concat([GOLDEN_RECORDS, Buffer.of(0)])
    const header = { baseOffset: 100, recordCount: 3 }
    const place = { path: null, firstOffset: 100, lastOffset: 102 }
    expect(() => decodeNow(rawBatch(damaged, header))).toThrow(
      expect.objectContaining({ ...place, position: 93 }),
    )
    const compressed = rawBatch(gzipSync(damaged), { ...header, attributes: 1 })
    await expect(decodeRecords(compressed, PLACE)).rejects.toThrow(
      expect.objectContaining({ ...place, position: 61 }),
    )
  })

  it('reports a damaged compressed stream', async () => {
    const batch = rawBatch('1f8b', { attributes: 1 })
    await expect(decodeRecords(batch, PLACE)).rejects.toThrow(
      expect.objectContaining({
        code: 'CORRUPT_MESSAGE',
        reason: 'the gzip stream is damaged: unexpected end of file',
      }),
    )
  })
})

describe('hostile bytes', () => {
  const edits = fc.array(fc.record({ position: fc.nat(), byte: fc.nat({ max: 255 }) }), {
    minLength: 1,
    maxLength: 6,
  })
  const samples = fc.constantFrom(
    PLAIN_BATCH,
    APPEND_TIME_BATCH,
    COMMIT_MARKER,
    EMPTY_BATCH,
    rawBatch(gzipSync(GOLDEN_RECORDS), { attributes: 1, recordCount: 3 }).buffer,
    ...Object.values(COMPRESSED_BATCHES),
  )

  it.each([
    ['with a CRC that covers up for them', true],
    ['without', false],
  ])('decode to records within the batch or throw a VarveError, %s', async (_name, isCrcRight) => {
    await fc.assert(
      fc.asyncProperty(samples, edits, async (sample, changes) => {
        const bytes = Buffer.from(sample)
        for (const { position, byte } of changes) bytes[position % bytes.length] = byte
        try {
          const batch = new RecordBatch(bytes)
          if (isCrcRight) writeCrc(batch.buffer)
          const records = await decodeRecords(batch, PLACE)
          for (const { offset } of records) {
            expect(offset).toBeLessThan(batch.nextOffset)
            expect(offset).toBeGreaterThanOrEqual(batch.baseOffset)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(VarveError)
        }
      }),
      { numRuns: 1000 },
    )
  })

  it('throw if they claim more records than they have bytes for', () => {
    const batch = rawBatch('0c000000010100', { recordCount: 2 ** 31 - 1 })
    expect(() => decodeNow(batch)).toThrow('claims 2147483647 records, but 7 bytes can hold 0 to 1')
  })
})
