import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../../lib/errors.ts'
import { readSnappyLength } from '../../../lib/record/codecs/snappy-block.ts'
import { anyShare } from '../../helpers/any-share.ts'
import { CODECS, CONTENTS, noise, records } from './codec-cases.ts'

const MOST_BYTES = 1_000_000

describe.each(CODECS)('codec %s', (_name, codec) => {
  it.each(CONTENTS)('decompresses what it has compressed: %s', async (_content, bytes) => {
    const compressed = await codec.compress(bytes)
    expect((await codec.decompress(compressed, MOST_BYTES)).equals(bytes)).toBe(true)
  })

  it('decompresses any bytes that it has compressed', async () => {
    const repetitive = fc
      .array(fc.tuple(fc.uint8Array({ maxLength: 40 }), fc.nat(200)), { maxLength: 30 })
      .map((parts) => parts.flatMap(([part, times]) => Array<Uint8Array>(times).fill(part)))
    await fc.assert(
      fc.asyncProperty(repetitive, async (parts) => {
        const bytes = Buffer.concat(parts)
        const compressed = await codec.compress(bytes)
        expect((await codec.decompress(compressed, bytes.length + 1)).equals(bytes)).toBe(true)
      }),
      { numRuns: 60 },
    )
  })

  it('shrinks repetitive bytes, and hardly enlarges others', async () => {
    const text = records(4000)
    expect((await codec.compress(text)).length).toBeLessThan(text.length / 2)
    for (const length of [1, 100, 64 * 1024, 100_000]) {
      const bytes = noise(length)
      const grown = (await codec.compress(bytes)).length
      // The space that a producer leaves for it in a batch.
      expect(grown).toBeLessThanOrEqual((length * 7) / 6 + 64)
    }
  })

  it('returns as many bytes as are allowed, and rejects one more', async () => {
    const bytes = Buffer.alloc(200_000, 'abc')
    const compressed = await codec.compress(bytes)
    expect(await codec.decompress(compressed, bytes.length)).toHaveLength(bytes.length)
    const result = codec.decompress(compressed, bytes.length - 1)
    await expect(result).rejects.toThrow(CorruptRecordError)
    await expect(result).rejects.toThrow('bytes when decompressed')
  })

  it('rejects truncated bytes as corrupt, wherever they are cut', async () => {
    const compressed = await codec.compress(records(30))
    for (let length = 0; length < compressed.length; length += 1) {
      const outcome = codec.decompress(compressed.subarray(0, length), MOST_BYTES).then(
        (bytes) => ({ bytes }),
        (error: unknown) => ({ error }),
      )
      const known = await outcome
      // A stream that was cut between two blocks has fewer records. The batch counts those.
      if ('bytes' in known) expect(codec.type).toBe('snappy')
      else expect(known.error, `cut at ${length}`).toBeInstanceOf(CorruptRecordError)
    }
  })

  it('rejects changed bytes as corrupt, or decompresses them within the allowed size', async () => {
    const originals = await Promise.all(
      CONTENTS.map(([, bytes]) => codec.compress(bytes.subarray(0, 70_000))),
    )
    const change = fc.record({
      at: anyShare,
      bytes: fc.uint8Array({ minLength: 1, maxLength: 5 }),
      isInserted: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.nat(originals.length - 1),
        fc.array(change, { minLength: 1, maxLength: 4 }),
        async (slot, changes) => {
          let bytes = originals[slot] ?? Buffer.alloc(0)
          for (const { at, bytes: put, isInserted } of changes) {
            // Headers and lengths are at the beginning.
            const position = Math.floor(at ** 4 * bytes.length)
            const rest = bytes.subarray(position + (isInserted ? 0 : put.length))
            bytes = Buffer.concat([bytes.subarray(0, position), put, rest])
          }
          try {
            expect((await codec.decompress(bytes, 100_000)).length).toBeLessThanOrEqual(100_000)
          } catch (error) {
            expect(error).toBeInstanceOf(CorruptRecordError)
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  it('rejects arbitrary bytes as corrupt unless they happen to have its format', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
        const source = Buffer.from(bytes)
        const outcome = await codec.decompress(source, 1000).catch((error: unknown) => error)
        if (outcome instanceof CorruptRecordError) return
        // Only its initial length identifies a plain block of snappy.
        expect(codec.type).toBe('snappy')
        expect(outcome).toHaveLength(readSnappyLength(source)?.contentBytes ?? -1)
      }),
      { numRuns: 200 },
    )
  })

  it('handles several calls at once', async () => {
    const all = CONTENTS.map(([, bytes]) => bytes)
    const compressed = await Promise.all(all.map((bytes) => codec.compress(bytes)))
    const back = await Promise.all(compressed.map((bytes) => codec.decompress(bytes, MOST_BYTES)))
    back.forEach((bytes, slot) => {
      expect(bytes.equals(all[slot] ?? Buffer.alloc(1))).toBe(true)
    })
  })
})
