import { describe, expect, it } from 'vitest'
import type { OffsetReset } from '../../lib/client/consumer-options.ts'
import type { Consumer } from '../../lib/client/consumer.ts'
import { ClosedError, WakeupError } from '../../lib/errors.ts'
import { ConsumerHarness, offsets, T0, watch } from './consumer-harness.ts'

type Callback = (consumer: Consumer<string, string>, reset: OffsetReset) => void

/** A consumer whose first poll finds that the records at its committed offset were deleted. */
async function behindDeleted(
  harness: ConsumerHarness,
  onOffsetReset: Callback,
): Promise<Consumer<string, string>> {
  harness.partition().append('0', '1', '2')
  harness.partition().deleteRecords(2)
  await harness.commit(1)
  const consumer = harness.consumer({
    groupId: 'g',
    autoOffsetReset: 'latest',
    onOffsetReset: (reset) => {
      onOffsetReset(consumer, reset)
    },
  })
  consumer.assign([T0])
  return consumer
}

describe('onOffsetReset in a poll', () => {
  it.each<[string, Callback, unknown]>([
    ['closes the consumer', (consumer) => void consumer.close(), ClosedError],
    [
      'wakes it up',
      (consumer) => {
        consumer.wakeup()
      },
      WakeupError,
    ],
  ])('makes the waiting poll reject if it %s', async (_what, callback, expected) => {
    const harness = new ConsumerHarness()
    const consumer = await behindDeleted(harness, callback)
    const polled = watch(consumer.poll({ maxWaitMs: 60_000 }))
    await harness.clock.advance(1)
    expect(polled.error).toBeInstanceOf(expected)
  })

  it('makes the poll read on at once from the offset that it seeks to', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('0')
    await harness.commit(3)
    // The committed records were lost, and the log ends where the position is moved to.
    harness.partition().cutOffset = 1
    const consumer = harness.consumer({
      groupId: 'g',
      onOffsetReset: () => {
        consumer.seek(T0, 0)
      },
    })
    consumer.assign([T0])
    const polled = watch(consumer.poll({ maxWaitMs: 60_000 }))
    await harness.clock.advance(1)
    expect(offsets(polled.value ?? [])).toEqual([0])
    await consumer.close()
  })
})
