import { describe, expect, it } from 'vitest'
import { ConsumerHarness, NO_WAIT, values, watch } from './consumer-harness.ts'

describe('a subscribed pattern', () => {
  it('selects the topics that it matches, also those created later, but no internal ones', async () => {
    const harness = new ConsumerHarness({ 'a-1': 1, 'b-1': 1, __consumer_offsets: 1 })
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(/a-|_/)
    await consumer.poll(NO_WAIT)
    expect(consumer.assignment()).toEqual([{ topic: 'a-1', partition: 0 }])
    const poll = watch(consumer.poll({ maxWaitMs: 1000 }))
    await harness.clock.advance(1)
    harness.createTopic('a-2', 1)
    harness.partition('a-2').append('x')
    await harness.clock.advance(0)
    expect(values(poll.value ?? [])).toEqual(['x'])
    harness.deleteTopic('a-1')
    await consumer.poll(NO_WAIT)
    expect(consumer.assignment()).toEqual([{ topic: 'a-2', partition: 0 }])
  })

  it.each([/a/g, /a/y])(
    'matches every name even with flags that keep a lastIndex (%s)',
    async (pattern) => {
      const harness = new ConsumerHarness({ a1: 1, a2: 1, a3: 1 })
      const consumer = harness.consumer({ groupId: 'g' })
      consumer.subscribe(pattern)
      for (let poll = 0; poll < 3; poll++) await consumer.poll(NO_WAIT)
      expect(consumer.assignment()).toHaveLength(3)
    },
  )

  it.each([/a/, /a/g, /a/y])('is not modified, and may be frozen (%s)', async (pattern) => {
    const harness = new ConsumerHarness({ a1: 1, a2: 1 })
    const consumer = harness.consumer({ groupId: 'g' })
    pattern.lastIndex = 7
    consumer.subscribe(pattern)
    await consumer.poll(NO_WAIT)
    expect(consumer.assignment()).toHaveLength(2)
    expect(pattern.lastIndex).toBe(7)
    const other = harness.consumer({ groupId: 'other' })
    other.subscribe(Object.freeze(pattern))
    await other.poll(NO_WAIT)
    expect(other.assignment()).toHaveLength(2)
  })

  it('is matched only once against the name of each topic, also when topics are created', async () => {
    const harness = new ConsumerHarness({ a1: 1, a2: 1, b: 1, __consumer_offsets: 1 })
    const consumer = harness.consumer({ groupId: 'g' })
    const matched: string[] = []
    // A pattern that takes exponential time for some names must not be matched again in every poll.
    class CountedPattern extends RegExp {
      override exec(name: string): RegExpExecArray | null {
        matched.push(name)
        return super.exec(name)
      }
    }
    consumer.subscribe(new CountedPattern('^a'))
    for (let poll = 0; poll < 3; poll += 1) await consumer.poll(NO_WAIT)
    harness.createTopic('a3', 1)
    for (let poll = 0; poll < 3; poll += 1) await consumer.poll(NO_WAIT)
    expect(consumer.assignment()).toHaveLength(3)
    expect(matched.sort()).toEqual(['a1', 'a2', 'a3', 'b'])
    await consumer.close()
  })

  it('is matched against the topic names again only when they or the pattern change', async () => {
    const harness = new ConsumerHarness({ a1: 1, b: 1 })
    const consumer = harness.consumer({ groupId: 'g' })
    let rounds = 0
    const counted = (): void => {
      const names = [...harness.topicNames]
      const iterate = (): ArrayIterator<string> => {
        rounds += 1
        return names.values()
      }
      harness.topicNames = Object.assign([...names], { [Symbol.iterator]: iterate })
    }
    counted()
    consumer.subscribe(/a/)
    for (let poll = 0; poll < 5; poll += 1) await consumer.poll(NO_WAIT)
    expect(rounds).toBe(1)
    harness.createTopic('a2', 1)
    counted()
    for (let poll = 0; poll < 5; poll += 1) await consumer.poll(NO_WAIT)
    expect(consumer.assignment()).toHaveLength(2)
    expect(rounds).toBe(2)
    consumer.subscribe(/b/)
    for (let poll = 0; poll < 5; poll += 1) await consumer.poll(NO_WAIT)
    expect(consumer.assignment()).toEqual([{ topic: 'b', partition: 0 }])
    expect(rounds).toBe(3)
    await consumer.close()
  })

  it('can be replaced by another', async () => {
    const harness = new ConsumerHarness({ a: 1, b: 1 })
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(/a/)
    await consumer.poll(NO_WAIT)
    consumer.subscribe(/b/)
    await consumer.poll(NO_WAIT)
    expect(consumer.assignment()).toEqual([{ topic: 'b', partition: 0 }])
  })
})
