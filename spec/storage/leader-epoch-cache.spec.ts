import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import { LeaderEpochCache } from '../../lib/storage/leader-epoch-cache.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const PATH = '/d/leader-epoch-checkpoint'

async function cacheWith(
  ...entries: readonly (readonly [number, number])[]
): Promise<{ fs: SimulatedFileSystem; cache: LeaderEpochCache }> {
  const fs = new SimulatedFileSystem()
  await fs.createDirectory('/d')
  const cache = new LeaderEpochCache(fs, '/d')
  for (const [epoch, startOffset] of entries) cache.assign(epoch, startOffset)
  return { fs, cache }
}

function listed(cache: LeaderEpochCache): [number, number][] {
  return cache.entries.map(({ epoch, startOffset }) => [epoch, startOffset])
}

describe('assign', () => {
  it('records the first offset of each epoch', async () => {
    const { cache } = await cacheWith([0, 0], [0, 5], [2, 9], [2, 12])
    expect(listed(cache)).toEqual([
      [0, 0],
      [2, 9],
    ])
    expect(cache.latestEpoch).toBe(2)
  })

  it('drops entries that a lower start offset contradicts', async () => {
    const { cache } = await cacheWith([0, 0], [1, 10], [2, 20], [3, 10])
    expect(listed(cache)).toEqual([
      [0, 0],
      [3, 10],
    ])
  })

  it('moves the start of an epoch back if a lower offset is assigned to it', async () => {
    const { cache } = await cacheWith([0, 0], [1, 10], [1, 6])
    expect(listed(cache)).toEqual([
      [0, 0],
      [1, 6],
    ])
  })

  it('keeps all entries if a known epoch is assigned again, even if later ones are known', async () => {
    const known: [number, number][] = [
      [0, 0],
      [1, 10],
      [2, 20],
      [4, 30],
      [5, 40],
    ]
    const { cache } = await cacheWith(...known)
    for (const [epoch, startOffset] of known) {
      cache.assign(epoch, startOffset)
      cache.assign(epoch, startOffset + 5)
      expect(listed(cache)).toEqual(known)
    }
    cache.assign(1, 9)
    expect(listed(cache)).toEqual([
      [0, 0],
      [1, 9],
    ])
  })

  it('skips batches without an epoch', async () => {
    const { cache } = await cacheWith([-1, 0])
    expect(cache.entries).toEqual([])
    expect(cache.latestEpoch).toBe(-1)
  })
})

it('returns the epoch that wrote an offset', async () => {
  const { cache } = await cacheWith([1, 10], [4, 20])
  expect([9, 10, 19, 20, 99].map((offset) => cache.epochOf(offset))).toEqual([-1, 1, 1, 4, 4])
})

it('looks up epochs and end offsets without reading all entries', async () => {
  const { cache } = await cacheWith()
  for (let slot = 0; slot < 1000; slot += 1) cache.assign(2 * slot, 3 * slot)
  let looks = 0
  for (const entry of cache.entries) {
    const { epoch, startOffset } = entry
    const look = (value: number) => () => ((looks += 1), value)
    Object.defineProperty(entry, 'epoch', { get: look(epoch) })
    Object.defineProperty(entry, 'startOffset', { get: look(startOffset) })
  }
  for (let slot = 0; slot < 1000; slot += 1) {
    for (const offset of [3 * slot, 3 * slot + 2]) expect(cache.epochOf(offset)).toBe(2 * slot)
    for (const epoch of [2 * slot, 2 * slot + 1]) {
      expect(cache.endOffsetFor(epoch)).toBe(slot < 999 ? 3 * slot + 3 : null)
    }
  }
  expect(looks).toBeLessThan(4 * 1000 * 20)
})

it('returns the end offset of an epoch', async () => {
  const { cache } = await cacheWith([1, 10], [4, 20])
  expect([0, 1, 2, 3, 4, 5].map((epoch) => cache.endOffsetFor(epoch))).toEqual([
    10,
    20,
    20,
    20,
    null,
    null,
  ])
})

describe('truncation', () => {
  it('from the end drops the entries above, but keeps the latest epoch so that it is not reused', async () => {
    const { cache } = await cacheWith([0, 0], [1, 10], [2, 20])
    cache.truncateFromEnd(20)
    expect(listed(cache)).toHaveLength(3)
    cache.truncateFromEnd(10)
    expect(listed(cache)).toEqual([
      [0, 0],
      [2, 10],
    ])
    cache.truncateFromEnd(0)
    expect(listed(cache)).toEqual([[2, 0]])
  })

  it.each<[number, [number, number][]]>([
    [
      0,
      [
        [0, 5],
        [1, 10],
        [2, 20],
      ],
    ],
    [
      5,
      [
        [0, 5],
        [1, 10],
        [2, 20],
      ],
    ],
    [
      7,
      [
        [0, 7],
        [1, 10],
        [2, 20],
      ],
    ],
    [
      10,
      [
        [1, 10],
        [2, 20],
      ],
    ],
    [
      15,
      [
        [1, 15],
        [2, 20],
      ],
    ],
    [99, [[2, 99]]],
  ])(
    'from the start at %i keeps the epoch that covers this offset',
    async (startOffset, expected) => {
      const { cache } = await cacheWith([0, 5], [1, 10], [2, 20])
      cache.truncateFromStart(startOffset)
      expect(listed(cache)).toEqual(expected)
    },
  )
})

describe('the epoch checkpoint', () => {
  it('stores the entries, and is written only if they have changed', async () => {
    const { fs, cache } = await cacheWith([0, 0], [3, 7])
    await cache.write()
    expect(fs.readFile(PATH).toString()).toBe('0\n2\n0 0\n3 7\n')
    const { operationCount } = fs
    await cache.write()
    expect(fs.operationCount).toBe(operationCount)
    const again = new LeaderEpochCache(fs, '/d')
    await again.load()
    expect(listed(again)).toEqual(listed(cache))
  })

  it.each([
    ['epochs that do not rise', '0\n2\n3 0\n3 7\n'],
    ['offsets that do not rise', '0\n2\n0 7\n3 7\n'],
    ['an epoch beyond 2^31', '0\n1\n2147483648 7\n'],
    ['a word for a number', '0\n2\n0 0\nx 7\n'],
  ])('is rejected as damaged if it has %s, and leaves the cache empty', async (_, text) => {
    const { fs, cache } = await cacheWith([0, 0])
    fs.writeFile(PATH, Buffer.from(text))
    await expect(cache.load()).rejects.toThrow(CorruptRecordError)
    expect(cache.entries).toEqual([])
  })
})
