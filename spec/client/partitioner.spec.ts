import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  cumulativeWeights,
  defaultPartitioner,
  random,
  resolvePartition,
  roundRobin,
} from '../../lib/client/partitioner.ts'
import type { PartitionerRecord } from '../../lib/client/partitioner.ts'
import type { Random } from '../../lib/platform/random.ts'

/** A source of random numbers that returns the listed ones in turn and remembers the bounds. */
function scriptedRandom(...draws: number[]): Random & { readonly bounds: number[] } {
  const bounds: number[] = []
  return {
    bounds,
    integer(bound) {
      bounds.push(bound)
      const draw = draws.shift()
      if (draw === undefined || draw >= bound) throw new Error(`no draw below ${bound} is left`)
      return draw
    },
    bytes: (count) => Buffer.alloc(count),
  }
}

function record(fields: { topic?: string; key?: string; value?: string }): PartitionerRecord {
  return {
    topic: fields.topic ?? 't',
    key: fields.key === undefined ? null : Buffer.from(fields.key),
    value: fields.value === undefined ? null : Buffer.from(fields.value),
  }
}

describe('defaultPartitioner with a key', () => {
  it.each([
    ['', 1],
    ['a', 4],
    ['21', 0],
    ['foobar', 6],
  ])('sends key %j to partition %d of 10, as Kafka does', (key, partition) => {
    expect(defaultPartitioner()(record({ key }), 10)).toBe(partition)
  })

  it('draws no random number, and ignores value and load', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.string(),
        fc.integer({ min: 1, max: 50 }),
        (key, value, count) => {
          const partition = defaultPartitioner({ random: scriptedRandom() })(record({ key }), count)
          const load = Array.from({ length: count }, (_, index) => index)
          expect(defaultPartitioner()(record({ key, value }), count, load)).toBe(partition)
          expect(resolvePartition(partition, count, 'orders')).toBe(partition)
        },
      ),
    )
  })

  it('does not change the partition of records without a key', () => {
    const partitioner = defaultPartitioner({ stickyBytes: 10, random: scriptedRandom(2) })
    const chosen = [
      partitioner(record({ value: '12345' }), 4),
      partitioner(record({ key: 'a', value: 'x'.repeat(100) }), 4),
      partitioner(record({ value: '1234' }), 4),
    ]
    expect([chosen[0], chosen[2]]).toEqual([2, 2])
  })

  it('ignores keys with ignoreKeys', () => {
    const partitioner = defaultPartitioner({ ignoreKeys: true, random: scriptedRandom(7) })
    expect(partitioner(record({ key: 'a' }), 10)).toBe(7)
  })
})

describe('defaultPartitioner without a key', () => {
  it('stays on a partition until it has received stickyBytes of keys and values', () => {
    const partitioner = defaultPartitioner({
      stickyBytes: 10,
      ignoreKeys: true,
      random: scriptedRandom(1, 3, 0),
    })
    const send = (): number => partitioner(record({ key: 'kk', value: 'vvv' }), 4)
    expect([send(), send(), send(), send(), send()]).toEqual([1, 1, 3, 3, 0])
  })

  it('stays for one more record if a single byte is missing', () => {
    const partitioner = defaultPartitioner({ stickyBytes: 10, random: scriptedRandom(1, 3) })
    const sizes = [9, 1, 1]
    expect(sizes.map((size) => partitioner(record({ value: 'v'.repeat(size) }), 4))).toEqual([
      1, 1, 3,
    ])
  })

  it('sends 16384 bytes to a partition by default', () => {
    const partitioner = defaultPartitioner({ random: scriptedRandom(0, 1) })
    const sizes = [16_383, 1, 1]
    expect(sizes.map((size) => partitioner(record({ value: 'v'.repeat(size) }), 2))).toEqual([
      0, 0, 1,
    ])
  })

  it('leaves a partition eventually even if all records are empty', () => {
    const partitioner = defaultPartitioner({ stickyBytes: 3, random: scriptedRandom(0, 1) })
    const chosen = Array.from({ length: 4 }, () => partitioner(record({}), 2))
    expect(chosen).toEqual([0, 0, 0, 1])
  })

  it('treats topics separately, whatever their names', () => {
    const partitioner = defaultPartitioner({ random: scriptedRandom(0, 1, 2) })
    const topics = ['__proto__', 'constructor', 'toString', '__proto__', 'constructor', 'toString']
    expect(topics.map((topic) => partitioner(record({ topic, value: 'v' }), 3))).toEqual([
      0, 1, 2, 0, 1, 2,
    ])
  })

  it('chooses again if its partition is beyond the partition count', () => {
    const partitioner = defaultPartitioner({ random: scriptedRandom(5, 1) })
    expect(partitioner(record({ value: 'v' }), 6)).toBe(5)
    expect(partitioner(record({ value: 'v' }), 5)).toBe(1)
  })

  it('uses partitions that are added later', () => {
    const partitioner = defaultPartitioner({ stickyBytes: 1, random: scriptedRandom(0, 3) })
    expect(partitioner(record({ value: 'v' }), 1)).toBe(0)
    expect(partitioner(record({ value: 'v' }), 4)).toBe(3)
  })

  it.each([0, -1, 1.5, Number.NaN, Infinity])(
    'throws a RangeError for %d as stickyBytes',
    (stickyBytes) => {
      expect(() => defaultPartitioner({ stickyBytes })).toThrow(RangeError)
      expect(() => defaultPartitioner({ stickyBytes })).toThrow(
        `stickyBytes must be a whole number from 1 to 9007199254740991, got ${stickyBytes}`,
      )
    },
  )
})

describe('defaultPartitioner with load', () => {
  const load = [5, 0, 3, 0, 1]

  it('weighs a partition by the longest queue plus one minus its own queue', () => {
    expect(cumulativeWeights(load)).toEqual([1, 7, 10, 16, 21])
  })

  it('weighs equal queues equally', () => {
    expect(cumulativeWeights([4, 4, 4])).toEqual([1, 2, 3])
    expect(cumulativeWeights([0])).toEqual([1])
  })

  it('chooses each partition in proportion to its weight', () => {
    const counts = [0, 0, 0, 0, 0]
    for (let draw = 0; draw < 21; draw++) {
      const source = scriptedRandom(draw)
      const partition = defaultPartitioner({ random: source })(record({}), 5, load)
      counts[partition] = (counts[partition] ?? 0) + 1
      expect(source.bounds).toEqual([21])
    }
    expect(counts).toEqual([1, 6, 3, 6, 5])
  })

  it('uses the load only when it changes the partition', () => {
    const partitioner = defaultPartitioner({ random: scriptedRandom(0) })
    expect(partitioner(record({ value: 'v' }), 2)).toBe(0)
    expect(partitioner(record({ value: 'v' }), 2, [1000, 0])).toBe(0)
  })

  it('ignores the load of partitions beyond the partition count', () => {
    const source = scriptedRandom(0)
    expect(defaultPartitioner({ random: source })(record({}), 2, load)).toBe(0)
    expect(source.bounds).toEqual([7])
  })

  it('chooses all partitions with equal probability while the load of some is unknown', () => {
    const source = scriptedRandom(5)
    expect(defaultPartitioner({ random: source })(record({}), 6, load)).toBe(5)
    expect(source.bounds).toEqual([6])
  })

  it('always chooses a partition that exists', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000), { minLength: 1 }), fc.double(), (queues, seed) => {
        const share = Number.isFinite(seed) ? Math.abs(seed) % 1 : 0
        const source: Random = {
          integer: (bound) => Math.floor(share * bound),
          bytes: (count) => Buffer.alloc(count),
        }
        const partition = defaultPartitioner({ random: source })(record({}), queues.length, queues)
        expect(resolvePartition(partition, queues.length, 'orders')).toBe(partition)
      }),
    )
  })
})

describe('roundRobin', () => {
  it('assigns records to partitions in rotation, with or without a key', () => {
    const partitioner = roundRobin()
    const records = [record({}), record({ key: 'a' }), record({ key: 'a' }), record({})]
    expect(records.map((each) => partitioner(each, 3))).toEqual([0, 1, 2, 0])
  })

  it('counts separately for each topic', () => {
    const partitioner = roundRobin()
    const topics = ['a', '__proto__', 'a', '__proto__']
    expect(topics.map((topic) => partitioner(record({ topic }), 3))).toEqual([0, 0, 1, 1])
  })

  it('stays in range when the number of partitions changes', () => {
    const partitioner = roundRobin()
    const counts = [2, 2, 4, 4, 4, 2, 1]
    expect(counts.map((count) => partitioner(record({}), count))).toEqual([0, 1, 2, 3, 0, 1, 0])
  })
})

describe('random', () => {
  it('draws a partition for each record', () => {
    const source = scriptedRandom(4, 0, 2)
    const partitioner = random({ random: source })
    const chosen = [5, 5, 3].map((count) => partitioner(record({ key: 'a' }), count))
    expect(chosen).toEqual([4, 0, 2])
    expect(source.bounds).toEqual([5, 5, 3])
  })

  it('stays in range with the default source of random numbers', () => {
    const partitioner = random()
    const chosen = new Set(Array.from({ length: 500 }, () => partitioner(record({}), 3)))
    expect([...chosen].sort()).toEqual([0, 1, 2])
  })
})

describe('resolvePartition', () => {
  it.each([0, 1, 2])('accepts %d of 3', (partition) => {
    expect(resolvePartition(partition, 3, 'orders')).toBe(partition)
  })

  it('turns -0 into 0', () => {
    expect(resolvePartition(-0, 3, 'orders')).toBe(0)
  })

  it.each([
    [-1, '-1'],
    [3, '3'],
    [0.5, '0.5'],
    [Number.NaN, 'NaN'],
    [Infinity, 'Infinity'],
    ['1', '"1"'],
    [undefined, 'undefined'],
    [null, 'null'],
    [1n, '1n'],
  ])('throws a RangeError for %s of 3 that names the topic and the value', (partition, got) => {
    expect(() => resolvePartition(partition, 3, 'orders')).toThrow(RangeError)
    expect(() => resolvePartition(partition, 3, 'orders')).toThrow(
      `partition of topic 'orders' must be an integer in [0, 3), got ${got}`,
    )
  })
})
