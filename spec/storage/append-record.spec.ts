import { describe, expect, it, vi } from 'vitest'
import { resolveTopicConfig, type TopicConfig } from '../../lib/config.ts'
import { InvalidRecordError, RecordTooLargeError } from '../../lib/errors.ts'
import { decodeRecords } from '../../lib/record/decode.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import {
  checkTimestamp,
  fillLimitOf,
  storedCompressionType,
  timestampOf,
  toBytes,
  toHeaders,
  type AppendRecord,
} from '../../lib/storage/append-record.ts'
import { encodeRecords } from '../../lib/storage/encode-records.ts'

async function encode(
  records: readonly AppendRecord[],
  config: TopicConfig = {},
): Promise<Buffer[]> {
  return encodeRecords(records, resolveTopicConfig(config), 1000)
}

describe('encodeRecords', () => {
  it('puts records into one batch until it would grow too large', async () => {
    const records = Array.from({ length: 10 }, () => ({ value: 'x'.repeat(100) }))
    expect(await encode(records)).toHaveLength(1)
    const batches = await encode(records, { maxMessageBytes: 400 })
    expect(batches.length).toBeGreaterThan(3)
    const counts = batches.map((bytes) => new RecordBatch(bytes).recordCount)
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(10)
    expect(Math.max(...batches.map((bytes) => bytes.length))).toBeLessThanOrEqual(400)
  })

  it('allocates no more memory for large records than they need', async () => {
    const records = Array.from({ length: 3 }, () => ({ value: Buffer.alloc(200_000) }))
    for (const { buffer } of await encode(records)) expect(buffer.byteLength).toBeLessThan(201_000)
  })

  it('keeps at most twice the memory of a batch if its first record is far larger than the others', async () => {
    const records = [5000, ...new Array<number>(115).fill(1)].map((size) => ({
      value: Buffer.alloc(size),
    }))
    const [batch] = await encode(records)
    expect(new RecordBatch(batch as Buffer).recordCount).toBe(116)
    expect(batch?.buffer.byteLength).toBeLessThanOrEqual(2 * (batch?.length ?? 0))
    const place = { topic: 't', partition: 0 }
    const stored = await decodeRecords(new RecordBatch(batch as Buffer), place)
    expect(stored.map(({ value }) => value?.length)).toEqual(
      records.map(({ value }) => value.length),
    )
  })

  it('gives the append time to records without a timestamp', async () => {
    const [bytes] = await encode([{ value: 'a' }, { value: 'b', timestamp: -1 }, { timestamp: 7 }])
    const batch = new RecordBatch(bytes ?? Buffer.alloc(0))
    expect([batch.baseTimestamp, batch.maxTimestamp]).toEqual([1000, 1000])
  })

  it('copies the records before it returns', async () => {
    const value = Buffer.from('before')
    const encoding = encode([{ value }])
    value.fill('x')
    const [bytes] = await encoding
    expect(bytes?.includes('before')).toBe(true)
  })

  it('encodes short header text without creating a Buffer or measuring the text', async () => {
    const value = Buffer.from('v')
    const headers = [
      { trace: 'abc' },
      [['trace', 'abc']],
      [{ key: 'trace', value: 'abc' }],
    ] as const
    const records = headers.map((each) => ({ value, headers: each as never }))
    const calls = [
      vi.spyOn(Buffer, 'from'),
      vi.spyOn(Buffer, 'byteLength'),
      vi.spyOn(Buffer.prototype, 'write'),
    ]
    const encoding = encode(records)
    const counts = calls.map(({ mock }) => mock.calls.length)
    for (const each of calls) each.mockRestore()
    expect(counts).toEqual([0, 0, 0])
    const [bytes] = await encoding
    const batch = new RecordBatch(bytes ?? Buffer.alloc(0))
    const stored = await decodeRecords(batch, { topic: 't', partition: 0 })
    const expected = [{ key: 'trace', value: Buffer.from('abc') }]
    expect(stored.map((record) => record.headers)).toEqual(records.map(() => expected))
  })

  const SHORT = 'a'.repeat(31)
  it.each(['', SHORT, `${SHORT}b`, `${SHORT}bc`, 'é', `${SHORT}é`, 'é'.repeat(40), '\ud800', '😀'])(
    'stores the header text %j as UTF-8',
    async (text) => {
      const [bytes] = await encode([{ headers: [[text, text]] }, { headers: [['next', text]] }])
      const batch = new RecordBatch(bytes ?? Buffer.alloc(0))
      const [record, next] = await decodeRecords(batch, { topic: 't', partition: 0 })
      const value = Buffer.from(text)
      expect(record?.headers).toEqual([{ key: value.toString(), value }])
      expect(next?.headers).toEqual([{ key: 'next', value }])
    },
  )

  it.each<[string, unknown, string]>([
    ['no array', 'records', 'records must be an array, got "records"'],
    ['nothing', [], 'an append must hold at least one record'],
    ['something else', [7], 'a record must be an object, got 7'],
    ['null', [null], 'a record must be an object, got null'],
    ['a number for a key', [{ key: 7 }], 'key must be a string, a Uint8Array or null, got 7'],
    [
      'an object for a value',
      [{ value: {} }],
      'value must be a string, a Uint8Array or null, got an object',
    ],
    ['text for a timestamp', [{ timestamp: '7' }], 'timestamp must be a number, got "7"'],
    ['a fraction for a timestamp', [{ timestamp: 1.5 }], 'timestamp must be a whole number'],
    ['a timestamp before 1970', [{ timestamp: -2 }], 'timestamp must be a whole number'],
  ])('rejects invalid input: %s', async (_, records, message) => {
    await expect(encode(records as AppendRecord[])).rejects.toThrow(message)
  })

  it('rejects records that are too large for the topic, or have no key in a compacted topic', async () => {
    const large = { value: 'x'.repeat(200) }
    await expect(encode([large], { maxMessageBytes: 200 })).rejects.toThrow(RecordTooLargeError)
    await expect(encode([large], { segmentBytes: 200 })).rejects.toThrow('segmentBytes')
    for (const cleanupPolicy of ['compact', 'compact,delete'] as const) {
      await expect(encode([{ value: 'a' }], { cleanupPolicy })).rejects.toThrow(InvalidRecordError)
      await encode([{ key: '' }], { cleanupPolicy })
    }
  })

  it.each(['gzip', 'snappy', 'lz4', 'zstd'] as const)(
    'keeps batches within the limit even if %s cannot make the records smaller',
    async (compressionType) => {
      const random = new SeededRandom(7)
      for (let round = 0; round < 20; round += 1) {
        const records = Array.from({ length: 30 }, () => ({ value: random.bytes(268 + round) }))
        for (const limit of [{ maxMessageBytes: 1500 }, { segmentBytes: 1500 }]) {
          const batches = await encode(records, { ...limit, compressionType })
          const counts = batches.map((bytes) => new RecordBatch(bytes).recordCount)
          expect(counts.reduce((sum, count) => sum + count, 0)).toBe(30)
        }
      }
    },
  )

  it('fills compressed batches no further than a reader decompresses them', () => {
    const config = resolveTopicConfig({ maxMessageBytes: 2 ** 30 })
    expect(fillLimitOf(config, 'zstd')).toBe(64 * 1024 * 1024)
    expect(fillLimitOf(config, 'none')).toBe(2 ** 30)
  })

  it('checks the size limit after compression', async () => {
    const config = { maxMessageBytes: 300, compressionType: 'gzip' } as const
    const [bytes, ...rest] = await encode([{ value: 'x'.repeat(1000) }], config)
    expect(rest).toEqual([])
    expect(new RecordBatch(bytes ?? Buffer.alloc(0)).compressionType).toBe('gzip')
  })
})

it.each([
  ['producer', 'gzip', 'gzip'],
  ['producer', 'none', 'none'],
  ['uncompressed', 'gzip', 'none'],
  ['gzip', 'none', 'gzip'],
] as const)(
  'a topic with compression type %s stores a batch that arrives as %s as %s',
  (compressionType, choice, stored) => {
    expect(storedCompressionType(resolveTopicConfig({ compressionType }), choice)).toBe(stored)
  },
)

describe('toBytes', () => {
  it('encodes text as UTF-8, and returns bytes without a copy', () => {
    expect(toBytes('x', 'é')?.toString('hex')).toBe('c3a9')
    const view = new Uint8Array([1, 2, 3]).subarray(1)
    expect(toBytes('x', view)).toEqual(Buffer.from([2, 3]))
    expect(toBytes('x', view)?.buffer).toBe(view.buffer)
    const buffer = Buffer.from('a')
    expect(toBytes('x', buffer)).toBe(buffer)
    expect([toBytes('x', null), toBytes('x', undefined)]).toEqual([null, null])
  })
})

describe('toHeaders', () => {
  const expected = [
    { key: 'a', value: Buffer.from('1') },
    { key: '__proto__', value: null },
  ]

  it.each([
    [
      'a list of objects',
      [
        { key: 'a', value: '1' },
        { key: '__proto__', value: null },
      ],
    ],
    [
      'a list of pairs',
      [
        ['a', '1'],
        ['__proto__', null],
      ] as [string, string | null][],
    ],
    [
      'a map',
      new Map([
        ['a', '1'],
        ['__proto__', null],
      ]),
    ],
    [
      'an object',
      Object.fromEntries([
        ['a', '1'],
        ['__proto__', null],
      ]),
    ],
  ])('accepts %s', (_, headers) => {
    expect(toHeaders(headers)).toEqual(expected)
  })

  it('keeps repeated keys in order', () => {
    expect(
      toHeaders([
        ['a', '1'],
        ['a', '2'],
      ]).map(({ value }) => String(value)),
    ).toEqual(['1', '2'])
    expect(toHeaders(undefined)).toEqual([])
  })

  it.each<[unknown, string]>([
    ['text', 'headers must be an array or an object, got "text"'],
    [null, 'headers must be an array or an object, got null'],
    [['a'], 'a header must be { key, value } or [key, value], got "a"'],
    [[['a']], 'a header must be { key, value } or [key, value], got an array'],
    [[{ key: 'a' }], 'a header must be { key, value } or [key, value], got an object'],
    [[[7, '1']], "a header's key must be a string, got 7"],
    [{ a: 7 }, "value of header 'a' must be a string, a Uint8Array or null, got 7"],
  ])('throws for %j', (headers, message) => {
    expect(() => toHeaders(headers as never)).toThrow(message)
  })
})

it('stores the timestamp -0 as 0', () => {
  expect(timestampOf(-0, 5)).toBe(0)
})

it('accepts the largest safe integer as a timestamp', () => {
  expect(checkTimestamp(Number.MAX_SAFE_INTEGER)).toBe(Number.MAX_SAFE_INTEGER)
  expect(checkTimestamp(0)).toBe(0)
})
