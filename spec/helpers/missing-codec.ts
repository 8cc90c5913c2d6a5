import { onTestFinished } from 'vitest'
import { zstdCodec } from '../../lib/record/codecs/zstd.ts'
import { WasmZstdLibrary } from '../../lib/record/codecs/zstd-library.ts'
import { codecFor, registerCodec } from '../../lib/record/compression.ts'

/** Makes zstd unavailable for the rest of the test, in Node.js and as a package. */
export function withoutZstd(): void {
  const before = codecFor('zstd')
  onTestFinished(() => {
    registerCodec(before)
  })
  registerCodec(zstdCodec(new WasmZstdLibrary(() => false)))
}
