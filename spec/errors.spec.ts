import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import * as errors from '../lib/errors.ts'

const lib = fileURLToPath(new URL('../lib', import.meta.url))

const place = { topic: 't', partition: 1, offset: 5 }
const range = { ...place, logStartOffset: 6, logEndOffset: 9 }

/** One error of each class, created as the library creates it. */
const INSTANCES: errors.VarveError[] = [
  new errors.OffsetOutOfRangeError(range),
  new errors.UnknownTopicOrPartitionError('t', null, 'there is no topic t'),
  new errors.TopicExistsError('t'),
  new errors.InvalidTopicError('a b', 'it has a space'),
  new errors.InvalidPartitionsError('can only grow'),
  new errors.RecordTooLargeError(10, 5, 'maxMessageBytes'),
  new errors.InvalidRecordError('no key'),
  new errors.CorruptRecordError('bad', { path: '/x', position: 7, firstOffset: 1, lastOffset: 3 }),
  new errors.UnsupportedCompressionTypeError('no zstd'),
  new errors.InvalidTimestampError('too old'),
  new errors.StorageError('disk full', { path: '/x', outcome: 'not-written' }),
  new errors.LogFullError({
    topic: 't',
    limit: 'maxBytes',
    limitBytes: 1,
    actualBytes: 1,
    sizeBytes: 1,
  }),
  new errors.LockedError('/x', { pid: 12, host: 'h', sinceMs: 0 }),
  new errors.LockLostError('/x', 'it is gone'),
  new errors.NoOffsetForPartitionError('t', 1),
  new errors.CommitFailedError('g', 'it rebalanced'),
  new errors.InconsistentGroupProtocolError('range and sticky'),
  new errors.InvalidGroupIdError('none'),
  new errors.GroupNotEmptyError('billing', 2),
  new errors.GroupIdNotFoundError('billing'),
  new errors.TimeoutError('too slow'),
  new errors.BufferExhaustedError('full'),
  new errors.SerializationError({ ...place, part: 'key' }, 'not JSON'),
  new errors.ClosedError('closed'),
  new errors.OffsetConflictError(3, 4),
  new errors.IllegalStateError('no subscription'),
  new errors.PolicyViolationError('compacted'),
  new errors.WakeupError(),
  new errors.ReadOnlyError('for reading only'),
]

function sources(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) return sources(path)
    return entry.name === 'errors.ts' ? [] : [readFileSync(path, 'utf8')]
  })
}

describe('the error classes', () => {
  it('extend VarveError directly, and each has an instance in this spec', () => {
    const classes = Object.values(errors).filter((each) => each !== errors.VarveError)
    expect(INSTANCES.map((each) => each.constructor)).toEqual(expect.arrayContaining(classes))
    for (const each of classes) expect(Object.getPrototypeOf(each)).toBe(errors.VarveError)
  })

  it('have a unique code, and the name of their class', () => {
    expect(new Set(INSTANCES.map((each) => each.code)).size).toBe(INSTANCES.length)
    for (const each of INSTANCES) {
      expect(each.name).toBe(each.constructor.name)
      expect(each.code).toMatch(/^[A-Z][A-Z_]+$/)
      expect(each.message.length).toBeGreaterThan(3)
    }
  })

  it('are each constructed somewhere in lib/', () => {
    const code = sources(lib).join('\n')
    for (const each of INSTANCES) expect(code, each.name).toContain(`new ${each.name}(`)
  })

  it('state the conflicting values in their messages', () => {
    const messages = INSTANCES.map((each) => each.message)
    expect(messages).toContain('offset 5 of t-1 is out of range: the log holds 6 to 9 (exclusive)')
    expect(messages).toContain('corrupt data at position 7 of /x, offsets from 1 to 3: bad')
    expect(messages).toContain('the log ends at 4, not at the expected offset 3')
    expect(messages.find((each) => each.startsWith('/x is in use'))).toBe(
      '/x is in use by process 12 on h since 1970-01-01T00:00:00.000Z: ' +
        'close it there first, or open it with readOnly',
    )
    expect(new errors.LockedError('/x', { pid: null, host: null, sinceMs: null }).message).toBe(
      '/x is in use by another owner: close it there first, or open it with readOnly',
    )
    const own = { pid: 5, host: 'h', sinceMs: null, isThisProcess: true }
    expect(new errors.LockedError('/x', own).message).toBe(
      '/x is in use by this process (5): close it there first, or open it with readOnly',
    )
    expect(new errors.CorruptRecordError('bad', { path: null, position: 1 }).message).toBe(
      'corrupt data at position 1: bad',
    )
    expect(
      new errors.CorruptRecordError('bad', { path: null, position: 1, firstOffset: 4 }).message,
    ).toBe('corrupt data at position 1, offsets from 4: bad')
  })
})
