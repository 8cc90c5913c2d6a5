import { afterEach, describe, expect, it, vi } from 'vitest'
import { watch } from '../client/consumer-harness.ts'
import { holdTurns } from '../helpers/held-turns.ts'
import { settle } from '../helpers/settle.ts'
import { ONE, openTopic, outcomeOf, VALUE } from './capped-topic.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

describe('a pass over many partitions that have nothing to delete', () => {
  it('lets the event loop turn: enforceRetention', async () => {
    const { broker } = await openTopic({ partitions: 40, retention: 'consumed' })
    const turns = holdTurns()
    const pass = watch(broker.enforceRetention())
    await settle()
    expect([pass.isSettled, turns.asked()]).toEqual([false, 1])
    turns.release()
    await settle()
    expect(pass.value).toEqual({ segments: 0, bytes: 0 })
    expect(turns.asked()).toBe(4)
    vi.restoreAllMocks()
    await broker.close()
  })

  it.each(['wait', 'dropOldest'] as const)(
    'lets the event loop turn: an append to a full topic, %s',
    async (whenFull) => {
      const options = { partitions: 40, maxBytes: 2 * ONE, retention: 'consumed' } as const
      const { broker, partition } = await openTopic({ ...options, whenFull })
      for (let each = 0; each < 2; each += 1) await partition.append({ value: VALUE })
      const turns = holdTurns()
      const append = watch(outcomeOf(partition.append({ value: VALUE })))
      await settle()
      expect([append.isSettled, turns.asked()]).toEqual([false, 1])
      turns.release()
      await settle()
      expect(append.isSettled).toBe(whenFull === 'dropOldest')
      // What need not be kept, what was consumed, and which are the oldest.
      expect(turns.asked()).toBeGreaterThanOrEqual(whenFull === 'wait' ? 8 : 12)
      vi.restoreAllMocks()
      await broker.close()
    },
  )

  it('lets the event loop turn: the close of the broker', async () => {
    const { broker } = await openTopic({ partitions: 40 })
    const turns = holdTurns()
    const close = watch(broker.close())
    await settle()
    expect([close.isSettled, turns.asked()]).toEqual([false, 1])
    turns.release()
    await settle()
    expect(close.isSettled).toBe(true)
    // Between each eight that are looked at, and before each is closed but the first sixteen.
    expect(turns.asked()).toBe(4 + 24)
  })

  it('ends when the broker is closed meanwhile', async () => {
    const { broker } = await openTopic({ partitions: 40 })
    await broker.createTopic('more')
    const turns = holdTurns()
    const pass = watch(broker.enforceRetention())
    await settle()
    vi.restoreAllMocks()
    await broker.close()
    turns.release()
    await settle()
    expect(pass.isSettled).toBe(true)
  })
})

describe('a fetch at the end of a partition', () => {
  it('lets the event loop turn before it checks for records', async () => {
    const { broker, partition } = await openTopic({})
    const turns = holdTurns()
    const fetch = watch(partition.fetch(0, { maxWaitMs: 1000 }))
    await settle()
    expect(turns.asked()).toBe(1)
    vi.restoreAllMocks()
    await partition.append({ value: VALUE })
    expect(fetch.isSettled).toBe(false)
    turns.release()
    await settle()
    // The check finds what was appended meanwhile.
    expect(fetch.value).toHaveLength(1)
    await broker.close()
  })

  it('lets the event loop turn after an append has woken it together with other fetches', async () => {
    const { broker, partition } = await openTopic({})
    const fetches = [1, 2].map(() => watch(partition.fetch(0, { maxWaitMs: 1000 })))
    await settle()
    const turns = holdTurns()
    void partition.append({ value: VALUE })
    await settle()
    expect(turns.asked()).toBeGreaterThanOrEqual(2)
    expect(fetches.map(({ isSettled }) => isSettled)).toEqual([false, false])
    turns.release()
    await settle()
    expect(fetches.map(({ value }) => value)).toMatchObject([[{ offset: 0 }], [{ offset: 0 }]])
    vi.restoreAllMocks()
    await broker.close()
  })
})
