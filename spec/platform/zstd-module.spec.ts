import { createRequire } from 'node:module'
import { expect, it, vi } from 'vitest'
import { loadZstdWasm, ZSTD_PACKAGE, type ZstdWasm } from '../../lib/platform/zstd-module.ts'

it('the zstd package is initialized once for all callers, and again after a failure', async () => {
  const library = createRequire(import.meta.url)(ZSTD_PACKAGE) as ZstdWasm
  const init = vi.spyOn(library, 'init').mockRejectedValueOnce(new Error('no memory'))
  await expect(loadZstdWasm()).rejects.toThrow('no memory')
  const [first, second] = await Promise.all([loadZstdWasm(), loadZstdWasm()])
  expect(await loadZstdWasm()).toBe(first)
  expect(second).toBe(first)
  expect(init).toHaveBeenCalledTimes(2)
  const bytes = Buffer.from('varve '.repeat(100))
  const compressed = first.compress(bytes, 3)
  expect(Buffer.from(first.decompress(compressed, { defaultHeapSize: 1000 }))).toEqual(bytes)
})
