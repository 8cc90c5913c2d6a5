import { describe, expect, it, onTestFinished } from 'vitest'
import { UnsupportedCompressionTypeError } from '../../lib/errors.ts'
import {
  codecFor,
  compressionIdOf,
  compressionTypeOf,
  COMPRESSION_TYPES,
  registerCodec,
  type Codec,
} from '../../lib/record/compression.ts'
import { withoutZstd } from '../helpers/missing-codec.ts'

describe('conversion of compression ids', () => {
  it('uses the ids of Kafka', () => {
    expect(COMPRESSION_TYPES.map(compressionIdOf)).toEqual([0, 1, 2, 3, 4])
    expect([0, 1, 2, 3, 4].map(compressionTypeOf)).toEqual(COMPRESSION_TYPES)
  })

  it('stays as it is when an application sorts the list of types', () => {
    const list = COMPRESSION_TYPES as unknown as string[]
    expect(() => list.sort()).toThrow(TypeError)
    expect(compressionIdOf('zstd')).toBe(4)
  })

  it.each([5, 6, 7])('throws UnsupportedCompressionTypeError for the unknown id %d', (id) => {
    expect(() => compressionTypeOf(id)).toThrow(UnsupportedCompressionTypeError)
    expect(() => compressionTypeOf(id)).toThrow(`compression id ${id} is unknown`)
  })
})

describe('the codec registry', () => {
  it('throws an error that names what to install if a codec is missing', () => {
    withoutZstd()
    expect(() => codecFor('zstd')).toThrow(UnsupportedCompressionTypeError)
    expect(() => codecFor('zstd')).toThrow(
      `compression type 'zstd' needs Node.js 22.15 (or 23.8) or later, but this is ` +
        `${process.versions.node}; for older versions, install the package '@bokuweb/zstd-wasm'`,
    )
  })

  it('returns the codec that was registered last for its type', () => {
    const before = codecFor('zstd')
    onTestFinished(() => {
      registerCodec(before)
    })
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
