import { describe, expect, it } from 'vitest'
import { settle } from '../helpers/settle.ts'
import { openTopic, outcomeOf, VALUE } from './capped-topic.ts'

describe('minFreeBytes', () => {
  it('is the free space that must be left on the file system for an append to be accepted', async () => {
    const { broker, partition, fileSystem, clock } = await openTopic({ minFreeBytes: 10_000 })
    await partition.append({ value: VALUE })
    fileSystem.capacityBytes = 0
    // The result of a check is valid for a second.
    expect(await outcomeOf(partition.append({ value: VALUE }))).not.toBe('LOG_FULL')
    await clock.advance(1000)
    await expect(partition.append({ value: VALUE })).rejects.toMatchObject({
      code: 'LOG_FULL',
      limit: 'minFreeBytes',
      limitBytes: 10_000,
      actualBytes: 0,
    })
    fileSystem.capacityBytes = Infinity
    expect(await outcomeOf(partition.append({ value: VALUE }))).toBe('taken')
    await broker.close()
  })

  it('is checked against the file system once a second at most, not for each append', async () => {
    const { broker, partition, fileSystem } = await openTopic({ minFreeBytes: 1 })
    for (let each = 0; each < 20; each += 1) await partition.append({ value: VALUE })
    expect(fileSystem.operations.filter((line) => line.includes('freeBytes'))).toHaveLength(1)
    await broker.close()
  })

  it.each([
    ['reject', 'LOG_FULL'],
    ['wait', 'waits'],
  ] as const)(
    'accepts those appends of one tick that there is space for, with %s: the others %s',
    async (whenFull, rest) => {
      const { broker, partition, fileSystem } = await openTopic({
        ...{ minFreeBytes: 10_000, whenFull, segmentBytes: 100_000 },
      })
      const used = [...fileSystem.snapshot().values()].reduce((sum, { length }) => sum + length, 0)
      fileSystem.capacityBytes = used + 10_000 + 2_500
      const pair = [{ value: 'x'.repeat(500) }, { value: 'x'.repeat(500) }]
      const outcomes = Array.from({ length: 6 }, () => 'waits')
      const appends = outcomes.map(async (_, slot) => {
        outcomes[slot] = String(await outcomeOf(partition.append(pair)))
      })
      await settle()
      expect(outcomes).toEqual(['taken', 'taken', rest, rest, rest, rest])
      await broker.close()
      await Promise.all(appends)
    },
  )

  it('accepts those appends of one tick that there is space for after much was written in one second', async () => {
    const { broker, partition, fileSystem } = await openTopic({
      ...{ minFreeBytes: 10_000, segmentBytes: 100_000_000, maxMessageBytes: 5_000_000 },
    })
    await partition.append({ value: 'x' })
    await partition.append({ value: Buffer.alloc(4_200_000) })
    const used = [...fileSystem.snapshot().values()].reduce((sum, { length }) => sum + length, 0)
    fileSystem.capacityBytes = used + 10_000 + 2_500
    const pair = [{ value: 'x'.repeat(500) }, { value: 'x'.repeat(500) }]
    const appends = Array.from({ length: 4 }, () => outcomeOf(partition.append(pair)))
    expect(await Promise.all(appends)).toEqual(['taken', 'taken', 'LOG_FULL', 'LOG_FULL'])
    await broker.close()
  })

  it('rejects an append when the file system fails to report its free space', async () => {
    const { broker, partition, fileSystem } = await openTopic({ minFreeBytes: 1 })
    fileSystem.failNext('freeBytes', 'EIO')
    await expect(partition.append({ value: VALUE })).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      outcome: 'not-written',
    })
    expect(await outcomeOf(partition.append({ value: VALUE }))).toBe('taken')
    await broker.close()
  })

  it('deletes all records of a dropOldest topic when other files fill the disk, and still rejects', async () => {
    const { broker, partition, fileSystem, clock } = await openTopic({
      ...{ minFreeBytes: 10_000, whenFull: 'dropOldest' },
    })
    for (let each = 0; each < 5; each += 1) await partition.append({ value: VALUE })
    const usedBytes = [...fileSystem.snapshot().values()].reduce(
      (sum, { length }) => sum + length,
      0,
    )
    // Too little to give space to others, but enough to delete.
    fileSystem.capacityBytes = usedBytes + 5_000
    await clock.advance(1000)
    expect(await outcomeOf(partition.append({ value: VALUE }))).toBe('LOG_FULL')
    expect([partition.logStartOffset, partition.logEndOffset]).toEqual([5, 5])
    await broker.close()
  })
})
