import CRC32C from 'crc-32/crc32c.js'
import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { continueCrc32c, crc32c } from '../../lib/record/crc32c.ts'
import { Crc32cFolder, FEWEST_FOLDED_BYTES } from '../../lib/record/crc32c-folder.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { crc32cModule } from './crc32c-module.ts'

const bytes = randomBytes(300_000)

function randomBytes(count: number): Buffer {
  const random = new SeededRandom(20_261_127)
  return Buffer.from(Uint8Array.from({ length: count }, () => random.integer(256)))
}

function folder(): Crc32cFolder {
  const created = Crc32cFolder.create()
  if (created === null) throw new Error('there is no WebAssembly with vectors here')
  return created
}

describe('Crc32cFolder', () => {
  afterEach(() => {
    vi.unstubAllGlobals()
  })

  it('matches the table-based checksum for every length around its minimum and its step size', () => {
    const folding = folder()
    for (let length = 0; length < FEWEST_FOLDED_BYTES + 64; length += 1) {
      const part = bytes.subarray(length, 2 * length)
      expect(folding.continue(0, part), `${length} bytes`).toBe(CRC32C.buf(part, 0))
    }
  })

  it('matches the table-based checksum for any previous checksum, start and number of bytes', () => {
    const folding = folder()
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 140_000 }),
        fc.integer({ min: 0, max: 1000 }),
        fc.integer(),
        (length, start, before) => {
          const part = bytes.subarray(start, start + length)
          expect(folding.continue(before, part)).toBe(CRC32C.buf(part, before))
        },
      ),
      { numRuns: 60 },
    )
  })

  it('processes input larger than its memory in pieces', () => {
    expect(folder().continue(7, bytes)).toBe(CRC32C.buf(bytes, 7))
  })

  it('returns a different checksum when a bit of the input flips', () => {
    const folding = folder()
    const part = Buffer.from(bytes.subarray(0, 2000))
    const crc = folding.continue(0, part)
    for (let slot = 0; slot < part.length; slot += 7) {
      const byte = part[slot] ?? 0
      part[slot] = byte ^ (1 << (slot % 8))
      expect(folding.continue(0, part), `byte ${slot}`).not.toBe(crc)
      part[slot] = byte
    }
  })

  it('leaves the input bytes unchanged', () => {
    const part = Buffer.from(bytes.subarray(0, 20_000))
    folder().continue(1, part)
    expect(part.equals(bytes.subarray(0, 20_000))).toBe(true)
  })

  it('is made of the instructions that are written out for it', () => {
    let bytes = new Uint8Array()
    vi.stubGlobal('WebAssembly', {
      Module: function (given: Uint8Array<ArrayBuffer>): void {
        bytes = given
      },
    })
    expect(Crc32cFolder.create()).toBeNull()
    expect(Buffer.from(bytes).toString('hex')).toBe(Buffer.from(crc32cModule()).toString('hex'))
  })

  it('is not available without WebAssembly', () => {
    vi.stubGlobal('WebAssembly', undefined)
    expect(Crc32cFolder.create()).toBeNull()
  })
})

describe('crc32c of many bytes', () => {
  afterEach(() => {
    vi.unstubAllGlobals()
    vi.resetModules()
  })

  it('is the same whether computed in parts or at once', () => {
    const first = crc32c(bytes, 0, 5000)
    expect(continueCrc32c(first, bytes.subarray(5000, 50_000))).toBe(crc32c(bytes, 0, 50_000))
    expect(crc32c(bytes, 0, 50_000)).toBe(CRC32C.buf(bytes.subarray(0, 50_000), 0) >>> 0)
  })

  it('needs nothing to be created any more once it is prepared', async () => {
    vi.resetModules()
    const { Crc32cFolder: Folder } = await import('../../lib/record/crc32c-folder.ts')
    const creating = vi.spyOn(Folder, 'create')
    const fresh = await import('../../lib/record/crc32c.ts')
    expect(creating).not.toHaveBeenCalled()
    fresh.prepareCrc32c()
    expect(creating).toHaveBeenCalledTimes(1)
    expect(fresh.crc32c(bytes, 0, 5000)).toBe(crc32c(bytes, 0, 5000))
    fresh.prepareCrc32c()
    expect(creating).toHaveBeenCalledTimes(1)
  })

  it('is the same without WebAssembly', async () => {
    vi.resetModules()
    vi.stubGlobal('WebAssembly', undefined)
    const { crc32c: withTables } = await import('../../lib/record/crc32c.ts')
    expect(withTables(bytes, 0, 50_000)).toBe(crc32c(bytes, 0, 50_000))
  })
})
