import { describe, expect, it } from 'vitest'
import { TimeIndex } from '../../lib/storage/time-index.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const PATH = '/d/00000000000000000050.timeindex'

function indexIn(fileSystem: SimulatedFileSystem, maxIndexBytes = 120): TimeIndex {
  return new TimeIndex({ fileSystem, path: PATH, baseOffset: 50, maxIndexBytes })
}

async function filled(
  entries: readonly (readonly [number, number])[],
): Promise<{ fs: SimulatedFileSystem; index: TimeIndex }> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory('/d')
  const index = indexIn(fs)
  for (const [timestamp, offset] of entries) index.maybeAppend(timestamp, offset)
  return { fs, index }
}

const ENTRIES = [
  [1000, 55],
  [2000, 59],
  [4000, 70],
] as const

describe('lookup', () => {
  it('finds nothing in an empty index', async () => {
    const { index } = await filled([])
    expect(index.lookup(100)).toEqual({ timestamp: -1, offset: 50 })
    expect(index.lastEntry).toEqual({ timestamp: -1, offset: 50 })
  })

  it.each([
    [999, { timestamp: -1, offset: 50 }],
    [1000, { timestamp: 1000, offset: 55 }],
    [1999, { timestamp: 1000, offset: 55 }],
    [4000, { timestamp: 4000, offset: 70 }],
    [9999, { timestamp: 4000, offset: 70 }],
  ])('finds the largest timestamp at or below %i', async (target, expected) => {
    expect((await filled(ENTRIES)).index.lookup(target)).toEqual(expected)
  })
})

describe('maybeAppend', () => {
  it('skips timestamps that are not above the last one', async () => {
    const { index } = await filled(ENTRIES)
    index.maybeAppend(4000, 80)
    index.maybeAppend(10, 81)
    expect(index.lastEntry).toEqual({ timestamp: 4000, offset: 70 })
  })

  it('accepts a larger timestamp at the same offset', async () => {
    const { index } = await filled(ENTRIES)
    index.maybeAppend(4001, 70)
    expect(index.count).toBe(4)
  })

  it('throws for an offset below that of the last entry, or before the segment', async () => {
    const { index } = await filled(ENTRIES)
    expect(() => {
      index.maybeAppend(5000, 69)
    }).toThrow('offset 69 is below 70')
    expect(() => {
      indexIn(new SimulatedFileSystem()).maybeAppend(5000, 49)
    }).toThrow('offset 49 is out of range for base offset 50')
  })

  it('keeps one slot free for the entry that a roll writes', () => {
    const index = indexIn(new SimulatedFileSystem(), 36)
    index.maybeAppend(1, 51)
    expect(index.isFull).toBe(false)
    index.maybeAppend(2, 52)
    expect(index.isFull).toBe(true)
    expect(() => {
      index.maybeAppend(3, 53)
    }).toThrow('is full: it holds 2 entries')
    index.maybeAppend(3, 53, true)
    expect(index.lastEntry).toEqual({ timestamp: 3, offset: 53 })
    expect(() => {
      index.maybeAppend(4, 54, true)
    }).toThrow('is full')
  })
})

describe('truncateTo', () => {
  it.each([
    [50, 0],
    [59, 1],
    [60, 2],
    [71, 3],
  ])('drops the entries at or above offset %i', async (offset, count) => {
    const { index } = await filled(ENTRIES)
    index.truncateTo(offset)
    expect(index.count).toBe(count)
  })
})

describe('the time index file', () => {
  it('restores the entries that were written', async () => {
    const { fs, index } = await filled([ENTRIES[0], ENTRIES[1]])
    expect(await index.write()).toBe(true)
    expect(fs.readFile(PATH).toString('hex')).toBe(
      '00000000000003e8' + '00000005' + '00000000000007d0' + '00000009',
    )
    const again = indexIn(fs)
    expect(await again.load()).toBe(true)
    expect(again.lastEntry).toEqual({ timestamp: 2000, offset: 59 })
  })

  it.each([
    ['a part of an entry', '00000000000003e8' + '0000'],
    ['timestamps that do not rise', '00000000000003e800000005' + '00000000000003e800000009'],
    ['offsets that fall', '00000000000003e800000005' + '00000000000007d000000004'],
    ['a negative timestamp', 'ffffffffffffffff00000005'],
    ['a timestamp beyond 2^53', '002000000000000000000005'],
    ['a negative offset', '00000000000003e8ffffffff'],
  ])('is reported as corrupt if it contains %s', async (_, hex) => {
    const { fs, index } = await filled([])
    fs.writeFile(PATH, Buffer.from(hex, 'hex'))
    expect(await index.load()).toBe(false)
    expect(index.count).toBe(0)
  })

  it('may be preallocated with zeros after the entries', async () => {
    const { fs, index } = await filled([])
    const bytes = Buffer.alloc(120)
    bytes.write('00000000000003e800000005', 'hex')
    fs.writeFile(PATH, bytes)
    expect(await index.load()).toBe(true)
    expect(index.count).toBe(1)
    fs.writeFile(PATH, Buffer.alloc(120))
    expect(await index.load()).toBe(true)
    expect(index.count).toBe(0)
  })

  it('may begin with timestamp 0', async () => {
    const { fs, index } = await filled([])
    index.maybeAppend(0, 50)
    await index.write()
    const again = indexIn(fs)
    await again.load()
    expect(again.lastEntry).toEqual({ timestamp: 0, offset: 50 })
  })
})
