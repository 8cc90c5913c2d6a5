import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeOffsetCommitKey,
  decodeOffsetCommitValue,
  encodeOffsetCommitKey,
  offsetCommitKeys,
  encodeOffsetCommitValue,
  partitionForGroup,
} from '../../lib/broker/offset-commit-codec.ts'
import { CorruptRecordError } from '../../lib/errors.ts'

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(/\s/g, ''), 'hex')

const KEY = bytes('0001 0007 62696c6c696e67 0006 6f7264657273 00000003')
const VALUE = bytes('0003 000000000000002a 00000005 0003 6dc3bc 0000018bcfe56800')

const key = { groupId: 'billing', topic: 'orders', partition: 3 }
const value = { offset: 42, leaderEpoch: 5, metadata: 'mü', commitTimestamp: 1_700_000_000_000 }

describe('offset commit key', () => {
  it('is encoded and decoded in version 1', () => {
    expect(encodeOffsetCommitKey(key)).toEqual(KEY)
    expect(decodeOffsetCommitKey(KEY)).toEqual(key)
  })

  it('is decoded in version 0 too', () => {
    expect(decodeOffsetCommitKey(bytes(`0000${KEY.toString('hex', 2)}`))).toEqual(key)
  })

  it.each([
    ['group metadata', '0002 0007 62696c6c696e67'],
    ['a later kind', '0003 0007 62696c6c696e67'],
    ['no known version', 'ffff'],
  ])('decodes to null when it is that of %s', (_, hex) => {
    expect(decodeOffsetCommitKey(bytes(hex))).toBeNull()
  })

  it.each([
    ['empty', ''],
    ['cut off', '0001 0007 62696c6c696e67 0006 6f7264657273 0000'],
    ['longer than its fields', `${KEY.toString('hex')}00`],
    ['of a group whose length is negative', '0001 ffff 0006 6f7264657273 00000003'],
    ['of a negative partition', '0001 0001 67 0001 74 ffffffff'],
  ])('throws CorruptRecordError when it is %s', (_, hex) => {
    expect(() => decodeOffsetCommitKey(bytes(hex))).toThrow(CorruptRecordError)
  })

  it('throws RangeError when a name is too long for its length field', () => {
    expect(() => encodeOffsetCommitKey({ ...key, groupId: 'g'.repeat(32_768) })).toThrow(RangeError)
  })

  it('decodes to the same key that was encoded, for any key', () => {
    const keys = fc.record({
      groupId: fc.string({ unit: 'grapheme' }),
      topic: fc.string({ unit: 'grapheme' }),
      partition: fc.integer({ min: 0, max: 0x7fff_ffff }),
    })
    fc.assert(
      fc.property(keys, (each) => {
        expect(decodeOffsetCommitKey(encodeOffsetCommitKey(each))).toEqual(each)
      }),
    )
  })
})

it('offsetCommitKeys encodes the keys of a group like encodeOffsetCommitKey, in any order of topics', () => {
  const keys = offsetCommitKeys('g')
  const places = [
    { topic: 'a', partition: 0 },
    { topic: 'a', partition: 70_000 },
    { topic: 'a-b', partition: 1 },
    { topic: 'a', partition: 2 },
    { topic: 'a', partition: 3 },
  ]
  const made = places.map(keys)
  expect(made).toEqual(places.map((each) => encodeOffsetCommitKey({ groupId: 'g', ...each })))
})

describe('offset commit value', () => {
  it('is encoded and decoded in version 3', () => {
    expect(encodeOffsetCommitValue(value)).toEqual(VALUE)
    expect(decodeOffsetCommitValue(VALUE)).toEqual(value)
  })

  it('encodes an unknown leader epoch as -1', () => {
    const encoded = encodeOffsetCommitValue({ ...value, leaderEpoch: null })
    expect(encoded.readInt32BE(10)).toBe(-1)
    expect(decodeOffsetCommitValue(encoded)?.leaderEpoch).toBeNull()
  })

  const withoutEpoch = { ...value, leaderEpoch: null }
  it.each([
    ['0', withoutEpoch, '0000 000000000000002a 0003 6dc3bc 0000018bcfe56800'],
    ['1', withoutEpoch, '0001 000000000000002a 0003 6dc3bc 0000018bcfe56800 0000018bcfe56900'],
    ['2', withoutEpoch, '0002 000000000000002a 0003 6dc3bc 0000018bcfe56800'],
    ['4', value, '0004 000000000000002a 00000005 04 6dc3bc 0000018bcfe56800 00'],
    [
      '4 with tagged fields',
      value,
      '0004 000000000000002a 00000005 04 6dc3bc 0000018bcfe56800 010001ff',
    ],
  ])('is decoded in version %s', (_, expected, hex) => {
    expect(decodeOffsetCommitValue(bytes(hex))).toEqual(expected)
  })

  it('is decoded with a negative offset, as a Kafka broker may store it', () => {
    const hex = '0003 ffffffffffffffff ffffffff 0003 6dc3bc 0000018bcfe56800'
    expect(decodeOffsetCommitValue(bytes(hex))).toEqual({ ...withoutEpoch, offset: -1 })
  })

  it('is decoded in version 4 with metadata of 200 bytes', () => {
    const metadata = 'm'.repeat(200)
    const hex = `0004 000000000000002a 00000005 c901 ${Buffer.from(metadata).toString('hex')} 0000018bcfe56800 00`
    expect(decodeOffsetCommitValue(bytes(hex))).toEqual({ ...value, metadata })
  })

  it('throws when a length in version 4 does not fit 32 bits', () => {
    const hex = '0004 000000000000002a 00000005 8180808080 00 6dc3bc 0000018bcfe56800 00'
    expect(() => decodeOffsetCommitValue(bytes(hex))).toThrow('does not fit 32 bits')
  })

  it.each(['0005 000000000000002a', 'ffff'])(
    'decodes to null when it starts with the unknown version %s',
    (hex) => {
      expect(decodeOffsetCommitValue(bytes(hex))).toBeNull()
    },
  )

  it.each([
    ['empty', ''],
    ['cut off', VALUE.toString('hex', 0, VALUE.length - 1)],
    ['longer than its fields', `${VALUE.toString('hex')}00`],
    [
      'of an offset that a number cannot hold',
      '0003 0020000000000000 00000005 0000 0000018bcfe56800',
    ],
    [
      'of metadata whose length is negative',
      '0003 000000000000002a 00000005 ffff 0000018bcfe56800',
    ],
    [
      'of metadata that is null in version 4',
      '0004 000000000000002a 00000005 00 0000018bcfe56800 00',
    ],
  ])('throws CorruptRecordError when it is %s', (_, hex) => {
    expect(() => decodeOffsetCommitValue(bytes(hex))).toThrow(CorruptRecordError)
  })

  it('decodes to the same value that was encoded, for any value', () => {
    const values = fc.record({
      offset: fc.maxSafeNat(),
      leaderEpoch: fc.option(fc.integer({ min: 0, max: 0x7fff_ffff })),
      metadata: fc.string({ unit: 'grapheme' }),
      commitTimestamp: fc.maxSafeNat(),
    })
    fc.assert(
      fc.property(values, (each) => {
        expect(decodeOffsetCommitValue(encodeOffsetCommitValue(each))).toEqual(each)
      }),
    )
  })
})

describe('partitionForGroup', () => {
  it.each([
    ['hello', 22],
    ['billing', 9],
    ['grüße-🚀', 5],
    ['ABCDEFGHIJKLMNOPQRSTUVWXYZ', 13],
    ['__proto__', 12],
    ['polygenelubricants', 0],
    ['', 0],
  ])('assigns group %j to the same partition as Kafka', (groupId, partition) => {
    expect(partitionForGroup(groupId, 50)).toBe(partition)
  })

  it('returns 0 for a hash without a positive counterpart, whatever the partition count', () => {
    expect(partitionForGroup('polygenelubricants', 7)).toBe(0)
  })

  it('always returns one of the existing partitions', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 1, max: 99 }), (id, count) => {
        const partition = partitionForGroup(id, count)
        expect(Number.isInteger(partition) && partition >= 0 && partition < count).toBe(true)
      }),
    )
  })
})
