import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { CorruptRecordError, UnsupportedCompressionTypeError } from '../../lib/errors.ts'
import {
  codecFor,
  compressionIdOf,
  compressionTypeOf,
  COMPRESSION_TYPES,
  inflateError,
  registerCodec,
  type Codec,
} from '../../lib/record/compression.ts'

const TEXT = Buffer.from('varve '.repeat(1000))

describe('compression ids', () => {
  it('are those of Kafka', () => {
    expect(COMPRESSION_TYPES.map(compressionIdOf)).toEqual([0, 1, 2, 3, 4])
    expect([0, 1, 2, 3, 4].map(compressionTypeOf)).toEqual(COMPRESSION_TYPES)
  })

  it.each([5, 6, 7])('%d is not known', (id) => {
    expect(() => compressionTypeOf(id)).toThrow(UnsupportedCompressionTypeError)
    expect(() => compressionTypeOf(id)).toThrow(`compression id ${id} is not known`)
  })
})

describe('codec none', () => {
  it('hands the bytes through', async () => {
    const codec = codecFor('none')
    expect(await codec.compress(TEXT)).toBe(TEXT)
    expect(await codec.decompress(TEXT, TEXT.length)).toBe(TEXT)
  })

  it('keeps the limit', async () => {
    await expect(codecFor('none').decompress(TEXT, TEXT.length - 1)).rejects.toThrow(
      'more than the allowed 5999 bytes',
    )
  })

  it('cannot be replaced', () => {
    expect(() => {
      registerCodec(codecFor('none'))
    }).toThrow("the codec 'none' cannot be replaced")
  })
})

describe('codec gzip', () => {
  const codec = codecFor('gzip')

  it('writes what any gunzip reads, and reads what any gzip writes', async () => {
    const compressed = await codec.compress(TEXT)
    expect(compressed.length).toBeLessThan(TEXT.length / 10)
    expect(gunzipSync(compressed)).toEqual(TEXT)
    expect(await codec.decompress(gzipSync(TEXT), TEXT.length)).toEqual(TEXT)
  })

  it('passes the level on', async () => {
    const noise = Buffer.from(Array.from({ length: 4000 }, (_, count) => (count * count) % 251))
    const fast = await codec.compress(noise, 1)
    const small = await codec.compress(noise, 9)
    expect(fast).not.toEqual(small)
    expect(await codec.compress(noise, -1)).toEqual(await codec.compress(noise))
  })

  it.each([-2, 0, 10, 1.5])('refuses level %d', async (level) => {
    await expect(codec.compress(TEXT, level)).rejects.toThrow(RangeError)
    await expect(codec.compress(TEXT, level)).rejects.toThrow(
      `compressionLevel ${level} of gzip must be -1, or 1 to 9`,
    )
  })

  it('stops at the limit instead of filling the memory', async () => {
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    expect(bomb.length).toBeLessThan(1100)
    const result = codec.decompress(bomb, 999_999)
    await expect(result).rejects.toThrow(CorruptRecordError)
    await expect(result).rejects.toThrow('more than the allowed 999999 bytes when decompressed')
    expect(await codec.decompress(bomb, 1_000_000)).toHaveLength(1_000_000)
  })

  it.each([
    ['no bytes', Buffer.alloc(0)],
    ['no gzip stream', Buffer.from('not gzip')],
    ['a stream that is cut off', gzipSync(TEXT).subarray(0, -5)],
    ['a stream with a bad checksum', Buffer.concat([gzipSync(TEXT).subarray(0, -8), TEXT])],
  ])('calls %s corrupt', async (_name, bytes) => {
    const result = codec.decompress(bytes, 10_000)
    await expect(result).rejects.toThrow(CorruptRecordError)
    await expect(result).rejects.toThrow('the gzip stream is damaged')
  })

  it('does not blame the bytes for a failed allocation', () => {
    const noMemory = Object.assign(new Error('out of memory'), { code: 'Z_MEM_ERROR' })
    expect(inflateError(noMemory, 1)).toBe(noMemory)
    expect(inflateError('not an error', 1)).toBe('not an error')
  })
})

describe('other codecs', () => {
  it.each(['snappy', 'lz4', 'zstd'] as const)('%s is named as missing', (type) => {
    expect(() => codecFor(type)).toThrow(UnsupportedCompressionTypeError)
    expect(() => codecFor(type)).toThrow(
      `there is no codec for compression type '${type}' here, only for 'none', 'gzip'`,
    )
  })

  it('can be registered, the last one for a type wins', () => {
    const codec = (): Codec => ({
      type: 'zstd',
      compress: (bytes) => Promise.resolve(bytes),
      decompress: (bytes) => Promise.resolve(bytes),
    })
    const first = codec()
    const second = codec()
    registerCodec(first)
    expect(codecFor('zstd')).toBe(first)
    registerCodec(second)
    expect(codecFor('zstd')).toBe(second)
  })
})
