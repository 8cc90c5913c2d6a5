import { promiseHooks } from 'node:v8'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { withoutTurns } from '../helpers/held-turns.ts'
import { settle } from '../helpers/settle.ts'
import { openTopic } from './capped-topic.ts'

beforeEach(withoutTurns)
afterEach(() => {
  vi.restoreAllMocks()
})

/** How many promises the creation of a topic makes while groups wait for records of another. */
async function promisesBeside(groups: number): Promise<number> {
  const { broker } = await openTopic({})
  const consumers = Array.from({ length: groups }, (_, each) => {
    const consumer = broker.consumer({ groupId: `group-${each}` })
    consumer.subscribe(['orders'])
    return consumer
  })
  const polls = consumers.map((consumer) => consumer.poll({ maxWaitMs: 60_000 }))
  await settle()
  await broker.createTopic('first')
  await settle()
  let promises = 0
  const stop = promiseHooks.onInit(() => {
    promises += 1
  }) as () => void
  await broker.createTopic('second')
  await settle()
  stop()
  await broker.topic('orders').partition(0).append({ value: 'heard of by all' })
  for (const records of await Promise.all(polls)) expect(records).toHaveLength(1)
  await broker.close()
  return promises
}

describe('creation of a topic', () => {
  it('does not wake groups that are subscribed to other topics by name', async () => {
    const [few, many] = [await promisesBeside(2), await promisesBeside(42)]
    // Not one for each additional group.
    expect(many - few).toBeLessThan(40)
  })
})
