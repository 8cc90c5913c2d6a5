import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PartitionAssignmentStrategy } from '../../lib/broker/assignors/assignor.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { GroupHarness, MAX_POLL_INTERVAL_MS } from './group-consumer.ts'

const STRATEGIES: readonly PartitionAssignmentStrategy[] = [
  'range',
  'roundrobin',
  'sticky',
  'cooperative-sticky',
]

/** Each rebalance may move only one member's partitions. */
const ROUNDS_OF_THE_HASTY = 100

const TOPICS = ['a', 'b', 'c']

type Step =
  | { readonly kind: 'come'; readonly topics: readonly string[]; readonly isHasty: boolean }
  | { readonly kind: 'leave' | 'poll'; readonly who: number }
  | { readonly kind: 'subscribe'; readonly who: number; readonly topics: readonly string[] }
  | { readonly kind: 'grow' | 'delete'; readonly topic: string }
  | { readonly kind: 'wait' | 'settle' }

const topics = fc.uniqueArray(fc.constantFrom(...TOPICS), { minLength: 1 })
const who = fc.nat(20)

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant('come' as const), topics, isHasty: fc.boolean() }),
    },
    { weight: 9, arbitrary: fc.record({ kind: fc.constant('poll' as const), who }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), who }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('subscribe' as const), who, topics }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constantFrom('grow' as const, 'delete' as const),
        topic: fc.constantFrom(...TOPICS),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom('wait' as const, 'settle' as const) }),
    },
  ),
  { minLength: 10, maxLength: 60 },
)

/** Expects that every subscribed partition is consumed, and by one subscribing member only. */
function expectComplete(harness: GroupHarness): void {
  const owners = harness.owners()
  expect([...owners.keys()].sort()).toEqual(harness.wanted().sort())
  for (const consumer of harness.consumers) {
    for (const { topic } of consumer.owned.values()) expect(consumer.topics).toContain(topic)
  }
}

async function run(
  harness: GroupHarness,
  strategy: PartitionAssignmentStrategy,
  step: Step,
): Promise<void> {
  const consumer =
    'who' in step ? harness.consumers[step.who % harness.consumers.length] : undefined
  switch (step.kind) {
    case 'come': {
      const newcomer = harness.consumer(strategy, step.topics)
      newcomer.isHasty = step.isHasty
      newcomer.poll()
      break
    }
    case 'poll':
      consumer?.poll()
      break
    case 'leave':
      consumer?.close()
      break
    case 'subscribe':
      consumer?.subscribe(step.topics)
      break
    case 'grow':
      harness.changeTopic(step.topic, (harness.topics.get(step.topic) ?? 0) + 3)
      break
    case 'delete':
      harness.changeTopic(step.topic, 0)
      break
    case 'wait':
      await harness.clock.advance(MAX_POLL_INTERVAL_MS * 0.6)
      break
    case 'settle':
      harness.settle(ROUNDS_OF_THE_HASTY)
      expectComplete(harness)
      break
  }
}

describe.each(STRATEGIES)('a group with %s', (strategy) => {
  it('never has two members consume a partition, and assigns every partition when it settles', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (list) => {
        const harness = new GroupHarness({ a: 3, b: 1 })
        for (const step of list) {
          await run(harness, strategy, step)
          harness.owners()
        }
        harness.settle(ROUNDS_OF_THE_HASTY)
        expectComplete(harness)
      }),
      { numRuns: 60 },
    )
  })

  it('assigns every partition to one member while 100 members join and leave in any order', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const random = new SeededRandom(seed)
        const harness = new GroupHarness({ a: 60, b: 60 })
        for (let count = 0; count < 100; count++) {
          harness.consumer(strategy, random.chance(0.8) ? ['a', 'b'] : ['a']).poll()
          const open = harness.consumers.filter(({ isClosed }) => !isClosed)
          if (random.chance(0.3)) random.pick(open).close()
          if (random.chance(0.3)) random.pick(open).poll()
          harness.owners()
          if (random.chance(0.1)) {
            harness.settle()
            expectComplete(harness)
          }
        }
        harness.settle()
        expectComplete(harness)
        const open = harness.consumers.filter(({ isClosed }) => !isClosed)
        while (open.length > 0) {
          const [leaving] = open.splice(random.integer(open.length), 1)
          leaving?.close()
          if (random.chance(0.2)) harness.settle()
          harness.owners()
        }
        expect([harness.coordinator.describe(), harness.clock.pendingTimers]).toEqual([[], 0])
      }),
      { numRuns: 3 },
    )
  })
})
