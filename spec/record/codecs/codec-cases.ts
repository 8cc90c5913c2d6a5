import { nodeZstd } from '../../../lib/platform/zstd-module.ts'
import type { Codec } from '../../../lib/record/codecs/codec.ts'
import { GZIP } from '../../../lib/record/codecs/gzip.ts'
import { LZ4 } from '../../../lib/record/codecs/lz4.ts'
import { SNAPPY } from '../../../lib/record/codecs/snappy.ts'
import { zstdCodec } from '../../../lib/record/codecs/zstd.ts'
import { NodeZstdLibrary, WasmZstdLibrary } from '../../../lib/record/codecs/zstd-library.ts'

const zstd = nodeZstd()

/** Every codec; zstd both by the package and, if this Node.js has it, by Node.js. */
export const CODECS: readonly (readonly [string, Codec])[] = [
  ['gzip', GZIP],
  ['snappy', SNAPPY],
  ['lz4', LZ4],
  ['zstd of the package', zstdCodec(new WasmZstdLibrary())],
  ...(zstd === null ? [] : [['zstd of Node.js', zstdCodec(new NodeZstdLibrary(zstd))] as const]),
]

/** Contents that codecs treat differently, by name. */
export const CONTENTS: readonly (readonly [string, Buffer])[] = [
  ['no bytes', Buffer.alloc(0)],
  ['one byte', Buffer.from('x')],
  ['twelve bytes alike', Buffer.alloc(12, 'a')],
  ['text', Buffer.from('varve keeps what it is told, '.repeat(1000))],
  ['zeros of several blocks', Buffer.alloc(600_000)],
  ['noise', noise(100_000)],
  ['noise that repeats far apart', Buffer.concat([noise(30_000), noise(3000), noise(30_000)])],
  ['records', records(4000)],
]

/** Bytes without repetitions, the same in each run. */
export function noise(length: number): Buffer {
  let state = 1
  return Buffer.from(
    Array.from({ length }, () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return state >>> 24
    }),
  )
}

/** What events typically look like. */
export function records(count: number): Buffer {
  const lines = Array.from({ length: count }, (_, id) =>
    JSON.stringify({
      id,
      user: `user-${(id * 7919) % 997}`,
      action: 'update',
      at: 1.7e12 + id * 37,
    }),
  )
  return Buffer.from(lines.join('\n'))
}
