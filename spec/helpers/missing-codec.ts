import { onTestFinished } from 'vitest'
import { zstdCodec } from '../../lib/record/codecs/zstd.ts'
import { WasmZstdLibrary } from '../../lib/record/codecs/zstd-library.ts'
import { codecFor, registerCodec } from '../../lib/record/compression.ts'

/** For the rest of the test neither Node.js nor a package does zstd. */
export function withoutZstd(): void {
  const before = codecFor('zstd')
  onTestFinished(() => {
    registerCodec(before)
  })
  registerCodec(zstdCodec(new WasmZstdLibrary(() => false)))
}
