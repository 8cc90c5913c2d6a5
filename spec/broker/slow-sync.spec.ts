import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { flushTimed } from '../../lib/broker/slow-sync.ts'
import type { SlowSync } from '../../lib/index.ts'
import type { Log } from '../../lib/storage/log.ts'

const CHANNEL = 'varve:slow-sync'

let told: SlowSync[] = []
const listener = (message: unknown): void => {
  told.push(message as SlowSync)
}
beforeEach(() => {
  told = []
  subscribe(CHANNEL, listener)
})
afterEach(() => {
  unsubscribe(CHANNEL, listener)
})

class SyncTime {
  nowMs = 0
  monotonic(): number {
    return this.nowMs
  }
}

/** A log whose sync takes this long, inside the call or after it, and may fail. */
function logOf(clock: SyncTime, durationMs: number, end: 'now' | 'later' | 'fails'): Log {
  const flush = (): Promise<void> | null => {
    if (end === 'now') {
      clock.nowMs += durationMs
      return null
    }
    return Promise.resolve().then(() => {
      clock.nowMs += durationMs
      if (end === 'fails') throw new Error('EIO')
    })
  }
  return { topic: 'orders', partition: 3, prompt: { flush } } as unknown as Log
}

it.each(['now', 'later', 'fails'] as const)(
  'a sync of more than a second is reported, and no shorter one: %s',
  async (end) => {
    const clock = new SyncTime()
    for (const durationMs of [0, 999, 1_000, 1_001]) {
      const flushing = flushTimed(clock, logOf(clock, durationMs, end))
      if (end === 'fails') await expect(flushing).rejects.toThrow('EIO')
      else await flushing
    }
    expect(told).toEqual([{ topic: 'orders', partition: 3, durationMs: 1_001 }])
  },
)
