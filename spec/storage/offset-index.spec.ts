import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OffsetIndex } from '../../lib/storage/offset-index.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const PATH = '/d/00000000000000000050.index'

function indexIn(
  fileSystem: SimulatedFileSystem,
  maxIndexBytes = 80,
  baseOffset = 50,
): OffsetIndex {
  return new OffsetIndex({ fileSystem, path: PATH, baseOffset, maxIndexBytes })
}

async function filled(
  entries: readonly (readonly [number, number])[],
): Promise<{ fs: SimulatedFileSystem; index: OffsetIndex }> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory('/d')
  const index = indexIn(fs)
  for (const [offset, position] of entries) index.append(offset, position)
  return { fs, index }
}

describe('slotOf', () => {
  it('is -1 in an empty index and below the first entry', async () => {
    const { index } = await filled([])
    expect(index.slotOf(60)).toBe(-1)
    index.append(55, 100)
    expect(index.slotOf(54)).toBe(-1)
  })

  it('is the slot of the entry at or below an offset', async () => {
    const { index } = await filled([
      [55, 100],
      [59, 200],
    ])
    expect([54, 55, 58, 59, 60].map((offset) => index.slotOf(offset))).toEqual([-1, 0, 0, 1, 1])
    expect(index.slotOf(Number.MAX_SAFE_INTEGER)).toBe(1)
    expect(index.lastEntry).toEqual({ offset: 59, position: 200 })
  })

  it('is the same as by a linear search', () => {
    const gaps = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 40 })
    fc.assert(
      fc.property(gaps, fc.integer({ min: 0, max: 300 }), (steps, target) => {
        const index = indexIn(new SimulatedFileSystem(), 8 * 40, 0)
        let [offset, expected] = [0, -1]
        for (const step of steps) {
          offset += step
          index.append(offset, 10 * offset)
          if (offset <= target) expected += 1
        }
        expect(index.slotOf(target)).toBe(expected)
      }),
    )
  })

  it('is the same as by a linear search among many entries, whether or not their gaps are alike', () => {
    const alike = fc.integer({ min: 250, max: 260 })
    const unlike = fc.oneof(fc.constant(1), alike, fc.integer({ min: 1, max: 1_000_000 }))
    const sizes = { minLength: 30, maxLength: 200 }
    const gaps = fc.oneof(fc.array(alike, sizes), fc.array(unlike, sizes))
    fc.assert(
      fc.property(gaps, fc.integer({ min: 0, max: 9 }), (steps, before) => {
        const index = indexIn(new SimulatedFileSystem(), 8 * 200, 50)
        const offsets: number[] = []
        for (const step of steps) {
          offsets.push((offsets.at(-1) ?? 50 + before) + step)
          index.append(offsets.at(-1) as number, 100 * offsets.length)
        }
        for (const [slot, offset] of offsets.entries()) {
          const between = Math.floor((offset + (offsets[slot + 1] ?? offset + 9)) / 2)
          const targets = [offset - 1, offset, between]
          expect(targets.map((each) => index.slotOf(each))).toEqual([slot - 1, slot, slot])
          expect(index.entry(slot)).toEqual({ offset, position: 100 * (slot + 1) })
        }
        expect(index.slotOf(0)).toBe(-1)
        expect(index.slotOf(Number.MAX_SAFE_INTEGER)).toBe(offsets.length - 1)
      }),
    )
  })
})

describe('append', () => {
  it('throws for offsets that do not rise, and for offsets out of range of the segment', async () => {
    const { index } = await filled([[55, 100]])
    expect(() => {
      index.append(55, 200)
    }).toThrow('offset 55 is not above 55')
    expect(() => {
      index.append(49, 200)
    }).toThrow('offset 49 is out of range for base offset 50')
    expect(() => {
      index.append(50 + 0x8000_0000, 200)
    }).toThrow(RangeError)
    expect(index.count).toBe(1)
  })

  it('accepts the largest relative offset', async () => {
    const { index } = await filled([[50 + 0x7fff_ffff, 0x7fff_ffff]])
    expect(index.lastOffset).toBe(50 + 0x7fff_ffff)
    expect(index.entry(0).position).toBe(0x7fff_ffff)
  })

  it('throws for an entry that does not fit, with the size rounded down to whole entries', () => {
    const index = indexIn(new SimulatedFileSystem(), 8 * 2 + 7)
    index.append(51, 10)
    expect(index.isFull).toBe(false)
    index.append(52, 20)
    expect(index.isFull).toBe(true)
    expect(() => {
      index.append(53, 30)
    }).toThrow('is full: it holds 2 entries')
  })
})

describe('truncateTo', () => {
  const entries = [
    [55, 100],
    [59, 200],
    [70, 300],
  ] as const

  it.each([
    ['below all entries', 50, 0, 50],
    ['at an entry', 59, 1, 55],
    ['between entries', 60, 2, 59],
    ['above all entries', 71, 3, 70],
  ])('%s drops the entries at or above the offset', async (_, offset, count, lastOffset) => {
    const { index } = await filled(entries)
    index.truncateTo(offset)
    expect(index.count).toBe(count)
    expect(index.lastOffset).toBe(lastOffset)
  })

  it('takes effect in the file with the next write, together with new entries', async () => {
    const { fs, index } = await filled(entries)
    expect(await index.write()).toBe(true)
    index.truncateTo(59)
    index.append(58, 150)
    expect(await index.write()).toBe(false)
    expect(fs.readFile(PATH).toString('hex')).toBe('0000000500000064' + '0000000800000096')
  })
})

describe('the index file', () => {
  it('restores the entries that were written', async () => {
    const { fs, index } = await filled([
      [50, 10],
      [59, 200],
    ])
    await index.write()
    const again = indexIn(fs)
    expect(await again.load()).toBe(true)
    expect(again.entry(0)).toEqual({ offset: 50, position: 10 })
    expect(again.lastEntry).toEqual({ offset: 59, position: 200 })
    again.append(60, 300)
    expect(again.count).toBe(3)
  })

  it('is not written again if nothing has changed', async () => {
    const { fs, index } = await filled([[55, 100]])
    await index.write()
    const { operationCount } = fs
    expect(await index.write()).toBe(false)
    expect(fs.operationCount).toBe(operationCount)
  })

  it('leaves the index empty if it is missing', async () => {
    const { fs, index } = await filled([[55, 100]])
    expect(await index.load()).toBe(false)
    expect(index.count).toBe(0)
    expect(fs.snapshot().size).toBe(0)
  })

  it.each([
    ['a part of an entry', '0000000500000064' + '00000009'],
    ['offsets that do not rise', '0000000500000064' + '00000005000000c8'],
    ['positions that do not rise', '0000000500000064' + '0000000900000064'],
    ['a negative offset', 'ffffffff00000064'],
    ['an entry for the first batch', '0000000500000000'],
    ['garbage', 'deadbeefdeadbeef'],
    ['zeros before entries', '0000000500000064' + '0000000000000000' + '00000009000000c8'],
  ])('is corrupt if it holds %s', async (_, hex) => {
    const { fs, index } = await filled([])
    fs.writeFile(PATH, Buffer.from(hex, 'hex'))
    expect(await index.load()).toBe(false)
    expect(index.count).toBe(0)
  })

  it.each([0, 1, 2])('may be preallocated with zeros after %i entries', async (count) => {
    const { fs, index } = await filled([])
    const bytes = Buffer.alloc(80)
    for (let slot = 0; slot < count; slot += 1) {
      bytes.writeInt32BE(5 + slot, slot * 8)
      bytes.writeInt32BE(100 + slot, slot * 8 + 4)
    }
    fs.writeFile(PATH, bytes)
    expect(await index.load()).toBe(true)
    expect(index.count).toBe(count)
    index.append(99, 999)
    await index.write()
    expect(fs.readFile(PATH)).toHaveLength(8 * (count + 1))
  })

  it('is written as a whole after a failed write', async () => {
    const { fs, index } = await filled([[55, 100]])
    await index.write()
    index.append(59, 200)
    fs.failNext('datasync', 'EIO')
    await expect(index.write()).rejects.toMatchObject({ code: 'EIO' })
    index.truncateTo(59)
    await index.write()
    expect(fs.readFile(PATH).toString('hex')).toBe('0000000500000064')
    const lost = fs.restart('power', { unsynced: 'lost' })
    expect(lost.snapshot().get(PATH)?.toString('hex') ?? '').toBe('')
  })
})
