import { describe, expect, it } from 'vitest'
import { resolveProducerOptions, type ProducerOptions } from '../../lib/client/producer-options.ts'
import { UnsupportedCompressionTypeError } from '../../lib/errors.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { withoutZstd } from '../helpers/missing-codec.ts'

function resolve(options: object) {
  return resolveProducerOptions(options as ProducerOptions, new SeededRandom(1))
}

describe('resolveProducerOptions', () => {
  it("uses Kafka's defaults except for lingerMs and batchSize", () => {
    const { partitioner, keySerializer, valueSerializer, ...numbers } = resolve({})
    expect(numbers).toEqual({
      acks: 'all',
      lingerMs: 0,
      batchSize: 65_536,
      batchRecords: Infinity,
      bufferMemory: 33_554_432,
      maxBlockMs: 60_000,
      deliveryTimeoutMs: 120_000,
      compressionType: 'none',
      compressionGzipLevel: -1,
      compressionLz4Level: 9,
      compressionZstdLevel: 3,
    })
    expect(keySerializer.serialize('t', 'ä')).toEqual(Buffer.from('ä'))
    expect(valueSerializer.serialize('t', Buffer.of(7))).toEqual(Buffer.of(7))
    const key = Buffer.from('21')
    expect(partitioner({ topic: 't', key, value: null }, 10)).toBe(0)
  })

  it.each([
    ['lingerMS', { lingerMS: 5 }],
    ['acks', { acks: -1 }],
    ['lingerMs', { lingerMs: '5' }],
    ['batchSize', { batchSize: true }],
    ['compressionType', { compressionType: 'brotli' }],
    ['partitioner', { partitioner: 'murmur2' }],
    ['keySerializer', { keySerializer: () => null }],
    ['valueSerializer', { valueSerializer: { deserialize: () => null } }],
    ['producer options', null],
  ])('throws a TypeError that names the option for an invalid %s', (name, options) => {
    const attempt = () => resolve(options as object)
    expect(attempt).toThrow(TypeError)
    expect(attempt).toThrow(name)
  })

  it.each([
    ['lingerMs', -1],
    ['lingerMs', 0.5],
    ['batchSize', -1],
    ['batchSize', 2 ** 31],
    ['batchRecords', 0],
    ['batchRecords', 1.5],
    ['batchRecords', -Infinity],
    ['bufferMemory', 0],
    ['maxBlockMs', -1],
    ['deliveryTimeoutMs', 0],
    ['deliveryTimeoutMs', Number.NaN],
    ['compressionGzipLevel', 0],
    ['compressionLz4Level', 18],
    ['compressionZstdLevel', 23],
  ])('throws a RangeError that names the option and the value for %s %d', (name, value) => {
    const attempt = () => resolve({ [name]: value })
    expect(attempt).toThrow(RangeError)
    expect(attempt).toThrow(new RegExp(`${name} .*${value}$`))
  })

  it('throws unless deliveryTimeoutMs is above lingerMs, and raises the default for a long lingerMs', () => {
    const attempt = () => resolve({ lingerMs: 10, deliveryTimeoutMs: 10 })
    expect(attempt).toThrow('deliveryTimeoutMs must be more than lingerMs (10), got 10')
    expect(attempt).toThrow(RangeError)
    expect(resolve({ lingerMs: 10, deliveryTimeoutMs: 11 }).deliveryTimeoutMs).toBe(11)
    expect(resolve({ lingerMs: 90_000 }).deliveryTimeoutMs).toBe(120_000)
    expect(resolve({ lingerMs: 200_000 }).deliveryTimeoutMs).toBe(230_000)
  })

  it('accepts batchRecords: Infinity and batchSize: 0', () => {
    expect(resolve({ batchRecords: Infinity, batchSize: 0 })).toMatchObject({
      batchRecords: Infinity,
      batchSize: 0,
    })
  })

  it('throws UnsupportedCompressionTypeError for a codec that is not available', () => {
    withoutZstd()
    expect(() => resolve({ compressionType: 'zstd' })).toThrow(UnsupportedCompressionTypeError)
  })

  it('makes the default partitioner change the partition of keyless records after batchSize bytes', () => {
    const { partitioner } = resolve({ batchSize: 100 })
    const record = { topic: 't', key: null, value: Buffer.alloc(50) }
    const chosen = Array.from({ length: 40 }, () => partitioner(record, 1000))
    const pairs = Array.from({ length: 20 }, (_, pair) => chosen.slice(2 * pair, 2 * pair + 2))
    for (const [first, second] of pairs) expect(first).toBe(second)
    expect(new Set(chosen).size).toBeGreaterThan(10)
  })
})
