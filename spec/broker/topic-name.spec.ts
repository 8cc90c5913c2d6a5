import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  INTERNAL_TOPICS,
  isDeletedDirectoryName,
  parsePartitionDirectoryName,
  partitionDirectoryName,
  topicNamesCollide,
  validateTopicName,
} from '../../lib/broker/topic-name.ts'
import { InvalidTopicError } from '../../lib/errors.ts'

const HEX_ID = '0123456789abcdef0123456789abcdef'

const legalName = fc
  .stringMatching(/^[a-zA-Z0-9._-]{1,249}$/)
  .filter((name) => name !== '.' && name !== '..')

describe('validateTopicName', () => {
  it.each(['a', 'valid', 'TOPIC', 'nAmEs', 'ar6', 'VaL1d', '_0-9_.', '...', '-', 'a'.repeat(249)])(
    'accepts %s',
    (name) => {
      expect(validateTopicName(name)).toBe(name)
    },
  )

  it.each([
    ['', 'it is empty'],
    ['.', 'are directory names'],
    ['..', 'are directory names'],
    ['a'.repeat(250), 'it has 250 characters, at most 249 are allowed'],
    ['a b', 'only ASCII letters'],
    ['a/b', 'only ASCII letters'],
    ['a\\b', 'only ASCII letters'],
    ['a,b', 'only ASCII letters'],
    ['a:b', 'only ASCII letters'],
    ['a\u0000b', 'only ASCII letters'],
    ['a\n', 'only ASCII letters'],
    ['\na', 'only ASCII letters'],
    ['é', 'only ASCII letters'],
    ['ａ', 'only ASCII letters'],
  ])('rejects %j because %s', (name, reason) => {
    expect(() => validateTopicName(name)).toThrow(InvalidTopicError)
    expect(() => validateTopicName(name)).toThrow(reason)
  })

  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    [7, '7'],
    [['a'], 'an array'],
  ])('throws TypeError for %j, which is not a string', (name, text) => {
    expect(() => validateTopicName(name)).toThrow(TypeError)
    expect(() => validateTopicName(name)).toThrow(`got ${text}`)
  })

  it('accepts the names of the internal topics', () => {
    for (const name of INTERNAL_TOPICS) expect(validateTopicName(name)).toBe(name)
    expect([...INTERNAL_TOPICS]).toContain('__consumer_offsets')
    expect(INTERNAL_TOPICS.has('constructor')).toBe(false)
  })
})

describe('topicNamesCollide', () => {
  it.each([
    ['a.b.c', 'a_b.c', true],
    ['a.b', 'a_b', true],
    ['a_b', 'a.b', true],
    ['..', '__', true],
    ['a', 'a', true],
    ['a.b', 'ab', false],
    ['a-b', 'a_b', false],
    ['A.b', 'a_b', false],
  ])('returns, for %s and %s, %s', (left, right, collide) => {
    expect(topicNamesCollide(left, right)).toBe(collide)
  })
})

describe('directory name of a partition', () => {
  it('is the topic and the partition number joined by a dash', () => {
    expect(partitionDirectoryName('orders', 3)).toBe('orders-3')
  })

  it('is parsed back for every legal topic name', () => {
    fc.assert(
      fc.property(legalName, fc.nat(0x7fff_ffff), (topic, partition) => {
        const name = partitionDirectoryName(topic, partition)
        expect(parsePartitionDirectoryName(name)).toEqual({ topic, partition })
        expect(isDeletedDirectoryName(name)).toBe(false)
      }),
    )
  })

  it.each([
    ['a-b-0', { topic: 'a-b', partition: 0 }],
    ['a-1-2', { topic: 'a-1', partition: 2 }],
    ['a--1', { topic: 'a-', partition: 1 }],
    ['--0', { topic: '-', partition: 0 }],
    ['a.b-10', { topic: 'a.b', partition: 10 }],
    ['__proto__-0', { topic: '__proto__', partition: 0 }],
    ['a-2147483647', { topic: 'a', partition: 2_147_483_647 }],
  ])('is parsed from %s as %j', (name, parsed) => {
    expect(parsePartitionDirectoryName(name)).toEqual(parsed)
  })

  it.each([
    '',
    'a',
    '-',
    '-0',
    'a-',
    'a-00',
    'a-01',
    'a-+1',
    'a-1 ',
    'a- 1',
    'a-1\n',
    'a-1.0',
    'a-1e3',
    'a-0x1',
    'a-٣',
    'a-2147483648',
    'a-99999999999999999999',
    '.-0',
    '..-0',
    'a b-0',
    `${'a'.repeat(250)}-0`,
    'a-0-future',
    'a-0-stray',
    `a-0.${HEX_ID}-delete`,
  ])('is not recognized in %j', (name) => {
    expect(parsePartitionDirectoryName(name)).toBeNull()
  })
})

describe('directory name of a deleted partition', () => {
  it.each([`orders-3.${HEX_ID}-delete`, `${'t'.repeat(209)}-12345.${HEX_ID}-delete`])(
    'is recognized in %j, which does not name an existing partition',
    (name) => {
      expect(isDeletedDirectoryName(name)).toBe(true)
      expect(parsePartitionDirectoryName(name)).toBeNull()
    },
  )

  it.each([
    'a-0',
    'a-delete',
    'a-0-delete',
    'a-0.-delete',
    `a-0.${HEX_ID.slice(1)}-delete`,
    `a-0.${HEX_ID}`,
    `a-0.${HEX_ID}-deleted`,
    `a-0.${HEX_ID}-delete\n`,
    `a-01.${HEX_ID}-delete`,
    `a.${HEX_ID}-delete`,
    `-0.${HEX_ID}-delete`,
    `a/b-0.${HEX_ID}-delete`,
    `${'a'.repeat(255)}-0.${HEX_ID}-delete`,
  ])('is not recognized in %j', (name) => {
    expect(isDeletedDirectoryName(name)).toBe(false)
  })
})
