import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../../lib/errors.ts'
import { GZIP, inflateError } from '../../../lib/record/codecs/gzip.ts'

const TEXT = Buffer.from('varve '.repeat(1000))

describe('codec gzip', () => {
  it('writes what any gunzip reads, and reads what any gzip writes', async () => {
    const compressed = await GZIP.compress(TEXT)
    expect(compressed.length).toBeLessThan(TEXT.length / 10)
    expect(gunzipSync(compressed)).toEqual(TEXT)
    expect(await GZIP.decompress(gzipSync(TEXT), TEXT.length)).toEqual(TEXT)
  })

  it('compresses at the given level', async () => {
    const noise = Buffer.from(Array.from({ length: 4000 }, (_, count) => (count * count) % 251))
    const fast = await GZIP.compress(noise, 1)
    const small = await GZIP.compress(noise, 9)
    expect(fast).not.toEqual(small)
    expect(await GZIP.compress(noise, -1)).toEqual(await GZIP.compress(noise))
  })

  it('stops at the allowed size instead of filling the memory', async () => {
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    expect(bomb.length).toBeLessThan(1100)
    const result = GZIP.decompress(bomb, 999_999)
    await expect(result).rejects.toThrow(CorruptRecordError)
    await expect(result).rejects.toThrow('more than the allowed 999999 bytes when decompressed')
    expect(await GZIP.decompress(bomb, 1_000_000)).toHaveLength(1_000_000)
  })

  it.each([
    ['no bytes', Buffer.alloc(0)],
    ['no gzip stream', Buffer.from('not gzip')],
    ['a stream that is cut off', gzipSync(TEXT).subarray(0, -5)],
    ['a stream with a bad checksum', Buffer.concat([gzipSync(TEXT).subarray(0, -8), TEXT])],
  ])('rejects %s as corrupt', async (_name, bytes) => {
    const result = GZIP.decompress(bytes, 10_000)
    await expect(result).rejects.toThrow(CorruptRecordError)
    await expect(result).rejects.toThrow('the gzip stream is damaged')
  })

  it('does not report a failed allocation as corrupt bytes', () => {
    const noMemory = Object.assign(new Error('out of memory'), { code: 'Z_MEM_ERROR' })
    expect(inflateError(noMemory, 1)).toBe(noMemory)
    expect(inflateError('not an error', 1)).toBe('not an error')
  })
})
