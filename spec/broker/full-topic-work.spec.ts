import { promiseHooks } from 'node:v8'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { CreateTopicOptions } from '../../lib/index.ts'
import { withoutTurns } from '../helpers/held-turns.ts'
import { ONE, openTopic, outcomeOf, VALUE } from './capped-topic.ts'

beforeEach(withoutTurns)
afterEach(() => {
  vi.restoreAllMocks()
})

const FEW = 3
const MANY = 60

/** The work of five appends to one partition of a full topic, and their outcomes. */
async function workOf(
  partitionCount: number,
  options: CreateTopicOptions,
): Promise<{ promises: number; calls: number; outcomes: unknown[] }> {
  const { broker, fileSystem, clock } = await openTopic({
    partitions: partitionCount,
    maxBytes: partitionCount * 4 * ONE,
    ...options,
  })
  const { partitions } = broker.topic('orders')
  for (let each = 0; each < 4; each += 1) {
    for (const partition of partitions) {
      await partition.append({ value: VALUE })
      await clock.advance(1)
    }
  }
  const append = (): Promise<unknown> =>
    outcomeOf(broker.topic('orders').partition(1).append({ value: VALUE }))
  // The first appends read files for the first time.
  for (let each = 0; each < 5; each += 1) await append()
  const counts = { promises: 0, calls: 0 }
  let isCounting = true
  fileSystem.observe(() => {
    if (isCounting) counts.calls += 1
  })
  const stop = promiseHooks.onInit(() => {
    counts.promises += 1
  }) as () => void
  const outcomes: unknown[] = []
  for (let each = 0; each < 5; each += 1) outcomes.push(await append())
  stop()
  isCounting = false
  await broker.close()
  return { ...counts, outcomes }
}

describe('an append to a full topic', () => {
  it.each([
    { whenFull: 'dropOldest' },
    { whenFull: 'dropOldest', retentionMs: 60_000 },
    { whenFull: 'dropOldest', retention: 'consumed' },
    { whenFull: 'reject', retentionMs: 60_000 },
  ] as const)('does no more work if the topic has more partitions: %j', async (options) => {
    const few = await workOf(FEW, options)
    const many = await workOf(MANY, options)
    expect(few.outcomes).toContain(options.whenFull === 'reject' ? 'LOG_FULL' : 'taken')
    expect(many.outcomes).toEqual(few.outcomes)
    // The dropped records differ: with fewer partitions, each has its turn sooner.
    expect(many.promises).toBeLessThanOrEqual(few.promises * 1.2)
    expect(many.calls).toBeLessThanOrEqual(few.calls * 1.2)
  })
})
