import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../../lib/errors.ts'
import { loadZstdWasm, nodeZstd, type ZstdWasm } from '../../../lib/platform/zstd-module.ts'
import {
  NodeZstdLibrary,
  nodeZstdError,
  WasmZstdLibrary,
  zstdLibrary,
  type ZstdLibrary,
} from '../../../lib/record/codecs/zstd-library.ts'
import { zstdCodec } from '../../../lib/record/codecs/zstd.ts'
import { COMPRESSED_BATCHES, GOLDEN_RECORDS } from '../golden-vectors.ts'
import { CODECS } from './codec-cases.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
/** A frame of Kafka's, without a content size. */
const FRAME = COMPRESSED_BATCHES.zstd.subarray(61)
const SKIPPABLE = hex('5a2a4d18 03000000 aabbcc')
/** Fails a test in which a codec passes frames on. */
const UNUSED_LIBRARY: ZstdLibrary = {
  isThere: () => true,
  compress: () => Promise.reject(new Error('compress was called')),
  decompress: () => Promise.reject(new Error('decompress was called')),
}

describe.each(CODECS.filter(([name]) => name.startsWith('zstd')))('codec %s', (_name, codec) => {
  it('reads several frames without a content size, and skips skippable frames', async () => {
    for (const frames of [[FRAME], [FRAME, FRAME], [SKIPPABLE, FRAME, SKIPPABLE, FRAME]]) {
      const count = frames.filter((frame) => frame === FRAME).length
      const back = await codec.decompress(Buffer.concat(frames), count * GOLDEN_RECORDS.length)
      expect(back).toEqual(Buffer.concat(Array<Buffer>(count).fill(GOLDEN_RECORDS)))
      const result = codec.decompress(Buffer.concat(frames), count * GOLDEN_RECORDS.length - 1)
      await expect(result).rejects.toThrow('bytes when decompressed')
    }
  })

  it('accepts every compression level of Kafka', async () => {
    const bytes = Buffer.from('varve keeps what it is told. '.repeat(50))
    for (const level of [-131_072, -1, 1, 3, 22]) {
      expect(await codec.decompress(await codec.compress(bytes, level), 5000)).toEqual(bytes)
    }
  })

  it('reads frames with a content size field of any width', async () => {
    const sizes = ['20 05', '60 0000', 'a0 05000000', 'e0 0500000000000000']
    for (const [slot, size] of sizes.entries()) {
      const length = slot === 1 ? 256 : 5
      // One block of one repeated byte.
      const block = ((length << 3) | 0b011).toString(16).padStart(4, '0')
      const header = `${block.slice(2)}${block.slice(0, 2)}00`
      const bytes = hex(`28b52ffd ${size} ${header} 61`)
      expect(await codec.decompress(bytes, 1000)).toEqual(Buffer.alloc(length, 'a'))
    }
  })

  it.each([
    ['begins like nothing known', hex('28b52ffe 00'), 'does not begin with the magic number'],
    ['sets a reserved bit', hex('28b52ffd 0858 010000'), 'reserved bit'],
    ['needs a dictionary', hex('28b52ffd 0158 07 010000'), 'dictionary'],
    ['has a block of no kind', hex('28b52ffd 0058 070000'), 'an unknown type'],
    ['has a block that is too large', hex('28b52ffd 0058 0b0010'), 'at most 131072 are allowed'],
    ['holds less than it says', hex('28b52ffd 2006 290000 6162636465'), 'claims 6 bytes'],
    ['holds more than it says', hex('28b52ffd 2005 310000 616263646566'), 'at most 5'],
    ['is cut off in a checksum', hex('28b52ffd 0458 090000 61 0000'), 'truncated'],
    ['is cut off in what is skipped', SKIPPABLE.subarray(0, -1), 'truncated'],
    ['has a damaged block', hex('28b52ffd 0058 2d0000 ffffffffff'), 'stream is damaged'],
    ['has a wrong checksum', hex('28b52ffd 0458 090000 61 00000000'), 'stream is damaged'],
  ])('rejects as corrupt a stream that %s', async (_reason, bytes, message) => {
    const result = codec.decompress(bytes, 1000)
    await expect(result).rejects.toThrow(CorruptRecordError)
    await expect(result).rejects.toThrow(message)
  })

  it('rejects by their headers alone frames that claim an impossible size or exceed the limit', async () => {
    const claim = hex('28b52ffd e0 0000000001000000 020010')
    const zeros = hex(`28b52ffd 0058 ${'020010 00'.repeat(8)} 030010 00`)
    for (const each of [codec, zstdCodec(UNUSED_LIBRARY)]) {
      // One block cannot expand to 2^32 bytes.
      await expect(each.decompress(claim, 1000)).rejects.toThrow(CorruptRecordError)
      await expect(each.decompress(zeros, 9 * 131_072 - 1)).rejects.toThrow('more than the allowed')
    }
    expect(await codec.decompress(zeros, 9 * 131_072)).toHaveLength(9 * 131_072)
  })
})

describe('the zstd library', () => {
  it('is the one built into Node.js if there is one, and the package otherwise', () => {
    const zlib = { zstdCompress: () => undefined, zstdDecompress: () => undefined }
    expect(zstdLibrary(nodeZstd(zlib))).toBeInstanceOf(NodeZstdLibrary)
    expect(zstdLibrary(nodeZstd({}))).toBeInstanceOf(WasmZstdLibrary)
  })

  it('is looked up again while it is missing, and not any more once it is found', () => {
    const answers = [false, true]
    const library = new WasmZstdLibrary(() => answers.shift() ?? false)
    expect([library.isThere(), library.isThere(), library.isThere()]).toEqual([false, true, true])
  })

  it('is loaded once, and again only if loading has failed', async () => {
    let loads = 0
    const library = new WasmZstdLibrary(
      () => true,
      (): Promise<ZstdWasm> => {
        loads += 1
        return loads === 1 ? Promise.reject(new Error('EMFILE')) : loadZstdWasm()
      },
    )
    await expect(library.compress(Buffer.from('a'), 3)).rejects.toThrow('EMFILE')
    expect(await zstdCodec(library).decompress(FRAME, 100)).toEqual(GOLDEN_RECORDS)
    await library.compress(Buffer.from('a'), 3)
    expect(loads).toBe(2)
  })

  it.each([
    ['Failed to compress with code -20', 'CORRUPT_MESSAGE'],
    ['Failed to compress with code -70', 'CORRUPT_MESSAGE'],
    ['Failed to compress with code -64', undefined],
    ['memory access out of bounds', undefined],
  ])('maps errors of the package about the input, and no others: %s', async (message, code) => {
    const zstd: ZstdWasm = {
      init: () => Promise.resolve(),
      compress: () => Buffer.alloc(0),
      decompress: () => {
        throw new Error(message)
      },
    }
    const library = new WasmZstdLibrary(
      () => true,
      () => Promise.resolve(zstd),
    )
    const error = await library.decompress(FRAME, 100).catch((reason: unknown) => reason)
    expect((error as { code?: string }).code).toBe(code)
  })

  it('gives Node.js a level that it does not take for none', async () => {
    const levels: number[] = []
    const library = new NodeZstdLibrary({
      zstdCompress: (_bytes, { params }, callback) => {
        levels.push(params[100] ?? NaN)
        callback(null, Buffer.alloc(0))
      },
      zstdDecompress: () => undefined,
      constants: { ZSTD_c_compressionLevel: 100 },
    })
    for (const level of [-3, -1, 3]) await library.compress(Buffer.alloc(0), level)
    expect(levels).toEqual([-3, -2, 3])
  })

  it('maps errors of Node.js about the input to CorruptRecordError, and passes others on', () => {
    const withCode = (code: string): Error => Object.assign(new Error('no'), { code })
    expect(nodeZstdError(withCode('ERR_BUFFER_TOO_LARGE'), 7)).toMatchObject({
      reason: 'the records take more than the allowed 7 bytes when decompressed',
    })
    for (const code of ['ZSTD_error_corruption_detected', 'Z_BUF_ERROR']) {
      expect(nodeZstdError(withCode(code), 7)).toBeInstanceOf(CorruptRecordError)
    }
    const noMemory = withCode('ZSTD_error_memory_allocation')
    expect(nodeZstdError(noMemory, 7)).toBe(noMemory)
    expect(nodeZstdError('other', 7)).toBe('other')
  })

  it('passes the compression level and the size limit to Node.js', async () => {
    const asked: unknown[] = []
    const library = new NodeZstdLibrary({
      zstdCompress: (_bytes, options, done) => {
        asked.push(options)
        done(null, FRAME)
      },
      zstdDecompress: (_bytes, options, done) => {
        asked.push(options)
        if (asked.length < 4) done(null, GOLDEN_RECORDS)
        else done(Object.assign(new Error('corrupt'), { code: 'ZSTD_error_x' }), Buffer.alloc(0))
      },
      constants: { ZSTD_c_compressionLevel: 100 },
    })
    expect(library.isThere()).toBe(true)
    expect(await library.compress(GOLDEN_RECORDS, 5)).toBe(FRAME)
    expect(await library.decompress(FRAME, 32)).toBe(GOLDEN_RECORDS)
    expect(await library.decompress(FRAME, 0)).toBe(GOLDEN_RECORDS)
    await expect(library.decompress(FRAME, 9)).rejects.toThrow('the zstd stream is damaged')
    expect(asked).toEqual([
      { params: { 100: 5 } },
      ...[32, 1, 9].map((maxOutputLength) => ({ maxOutputLength })),
    ])
  })
})
