import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Consumer } from '../../lib/client/consumer.ts'
import { WakeupError } from '../../lib/errors.ts'
import { promptIo } from '../../lib/platform/prompt-io.ts'
import { ConsumerHarness, NO_WAIT, T0, values, watch } from './consumer-harness.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** A poll of an hour that has nothing to read, and waits for the event loop to turn before all else. */
async function pollBehindATurn({ clock }: ConsumerHarness, consumer: Consumer<string, string>) {
  let endTurn = (): void => undefined
  const turn = new Promise<void>((resolve) => {
    endTurn = resolve
  })
  vi.spyOn(promptIo, 'turnIfDue').mockReturnValueOnce(turn)
  const poll = watch(consumer.poll({ maxWaitMs: 3_600_000 }))
  await clock.advance(0)
  return { poll, endTurn }
}

function assigned(harness: ConsumerHarness): Consumer<string, string> {
  const consumer = harness.consumer()
  consumer.assign([T0])
  return consumer
}

describe('a poll that waits for the event loop to turn before it waits for records', () => {
  it('is woken by a wakeup', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness)
    const { poll, endTurn } = await pollBehindATurn(harness, consumer)
    consumer.wakeup()
    endTurn()
    await harness.clock.advance(1000)
    expect(poll.error).toBeInstanceOf(WakeupError)
    expect(harness.clock.pendingTimers).toBe(0)
  })

  it('does not hold up a close', async () => {
    const harness = new ConsumerHarness()
    const consumer = assigned(harness)
    const { poll, endTurn } = await pollBehindATurn(harness, consumer)
    const closing = watch(consumer.close())
    endTurn()
    await harness.clock.advance(1000)
    expect([poll.isSettled, closing.isSettled]).toEqual([true, true])
  })

  it('follows a seek', async () => {
    const harness = new ConsumerHarness()
    harness.partition().append('a')
    const consumer = assigned(harness)
    consumer.seek(T0, 1)
    const { poll, endTurn } = await pollBehindATurn(harness, consumer)
    consumer.seek(T0, 0)
    endTurn()
    await harness.clock.advance(1000)
    expect(values(poll.value ?? [])).toEqual(['a'])
  })

  it('takes part in a rebalance', async () => {
    const harness = new ConsumerHarness({ t: 2 })
    const consumer = harness.consumer({ groupId: 'g' })
    consumer.subscribe(['t'])
    await consumer.poll(NO_WAIT)
    const { endTurn } = await pollBehindATurn(harness, consumer)
    const other = harness.consumer({ groupId: 'g' })
    other.subscribe(['t'])
    await other.poll(NO_WAIT)
    endTurn()
    await harness.clock.advance(1000)
    await other.poll(NO_WAIT)
    expect(other.assignment()).toHaveLength(1)
  })
})
