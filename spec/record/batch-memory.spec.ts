import { describe, expect, it } from 'vitest'
import { BatchMemory, LARGEST_PIECE_BYTES } from '../../lib/record/batch-memory.ts'

const KIB = 1024

/** Memory with batches of a KiB in it, all of them still referenced. */
function filled(memory: BatchMemory, batchCount: number): Buffer[] {
  const piece = memory.take(64 * KIB)
  return Array.from({ length: batchCount }, (_, slot) => {
    const batch = piece.subarray(slot * KIB, (slot + 1) * KIB)
    memory.hold(batch)
    return batch
  })
}

describe('BatchMemory', () => {
  it('reuses memory once the last batch in it is released', () => {
    const memory = new BatchMemory()
    const batches = filled(memory, 3)
    const [first] = batches
    for (const batch of batches) {
      expect(memory.take(64 * KIB).buffer).not.toBe(first?.buffer)
      memory.letGo(batch)
    }
    expect(memory.spareBytes).toBe(64 * KIB)
    expect(memory.take(60 * KIB).buffer).toBe(first?.buffer)
    expect(memory.spareBytes).toBe(0)
  })

  it('returns at least as many bytes as requested, whatever the size', () => {
    const memory = new BatchMemory()
    for (const sizeBytes of [1, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, 65_537, 131_072, 131_073]) {
      expect(memory.take(sizeBytes).length, `${sizeBytes}`).toBeGreaterThanOrEqual(sizeBytes)
    }
  })

  it('reuses no piece that is smaller than requested', () => {
    const memory = new BatchMemory()
    for (const batch of filled(memory, 1)) memory.letGo(batch)
    expect(memory.take(65 * KIB).length).toBe(LARGEST_PIECE_BYTES)
    expect(memory.take(20 * KIB).length).toBe(32 * KIB)
    expect(memory.spareBytes).toBe(64 * KIB)
  })

  it('gives each small batch its own bytes, in memory that only small batches share', () => {
    const memory = new BatchMemory()
    const batches = Array.from({ length: 1000 }, (_, each) => {
      // What a program allocates between two appends.
      Buffer.from('x'.repeat(3000))
      return memory.take(70 + (each % 10)).fill(each % 251)
    })
    for (const [each, batch] of batches.entries()) {
      expect([...new Set(batch)], `${each}`).toEqual([each % 251])
      expect(batch).toHaveLength(70 + (each % 10))
    }
    const shared = new Set(batches.map(({ buffer }) => buffer))
    const totalBytes = [...shared].reduce((sum, { byteLength }) => sum + byteLength, 0)
    expect(totalBytes).toBeLessThan(2 * 80 * 1000)
    expect(shared).not.toContain(Buffer.from('x').buffer)
  })

  it('does not accept memory that it has not handed out', () => {
    const memory = new BatchMemory()
    const foreign = Buffer.alloc(64 * KIB)
    memory.hold(foreign)
    memory.letGo(foreign)
    const large = memory.take(LARGEST_PIECE_BYTES + 1)
    memory.hold(large)
    memory.letGo(large)
    expect(memory.spareBytes).toBe(0)
  })

  it('keeps at most 4 MiB for reuse', () => {
    const memory = new BatchMemory()
    const batches = Array.from({ length: 80 }, () => filled(memory, 1)).flat()
    for (const batch of batches) memory.letGo(batch)
    expect(memory.spareBytes).toBe(4 * KIB * KIB)
  })
})
