import { afterEach, describe, expect, it, vi } from 'vitest'
import type { systemClock as importedClock } from '../../lib/platform/system-clock.ts'
import { compiledUrl, startScript } from '../helpers/compiled-lib.ts'

/** Loads the clock again, so that it captures the current global functions. */
async function loadClock(): Promise<typeof importedClock> {
  vi.resetModules()
  return (await import('../../lib/platform/system-clock.ts')).systemClock
}

describe('SystemClock', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it('returns the time of the machine', async () => {
    const clock = await loadClock()
    const before = Date.now()
    const now = clock.now()
    expect(now).toBeGreaterThanOrEqual(before)
    expect(now).toBeLessThanOrEqual(Date.now())
    expect(Number.isInteger(now)).toBe(true)
  })

  it('has a monotonic time that never goes back', async () => {
    const clock = await loadClock()
    let last = clock.monotonic()
    for (let i = 0; i < 1000; i++) {
      const next = clock.monotonic()
      expect(next).toBeGreaterThanOrEqual(last)
      last = next
    }
  })

  it('is not affected by globals that are replaced later', async () => {
    const clock = await loadClock()
    const before = clock.monotonic()
    vi.useFakeTimers({ now: 0 })
    expect(clock.now()).toBeGreaterThan(1_000_000_000_000)
    expect(clock.monotonic()).toBeGreaterThanOrEqual(before)
    await new Promise<void>((resolve) => {
      clock.startTimer(resolve, 1)
    })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('calls back once, and not at all after cancel', async () => {
    vi.useFakeTimers()
    const clock = await loadClock()
    const [kept, cancelled] = [vi.fn(), vi.fn()]
    const timer = clock.startTimer(kept, 50)
    clock.startTimer(cancelled, 50).cancel()
    vi.advanceTimersByTime(49)
    expect(kept).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1000)
    expect(kept).toHaveBeenCalledTimes(1)
    expect(cancelled).not.toHaveBeenCalled()
    timer.cancel()
  })

  it('waits for delays longer than the limit of setTimeout', async () => {
    vi.useFakeTimers()
    const clock = await loadClock()
    const days = 24 * 60 * 60 * 1000
    const callback = vi.fn()
    clock.startTimer(callback, 60 * days)
    vi.advanceTimersByTime(60 * days - 1)
    expect(callback).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1)
    expect(callback).toHaveBeenCalledTimes(1)
    const cancelled = vi.fn()
    const timer = clock.startTimer(cancelled, 60 * days)
    vi.advanceTimersByTime(40 * days)
    timer.cancel()
    vi.advanceTimersByTime(40 * days)
    expect(cancelled).not.toHaveBeenCalled()
  })

  it('keeps the process alive for each timer until it is cancelled, however long it is', async () => {
    const clock = await loadClock()
    const count = (): number =>
      process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const before = count()
    for (const delayMs of [0, 1, 499.98, 2 ** 20, 2 ** 40]) {
      const timers = [1, 2].map(() => clock.startTimer(() => undefined, delayMs))
      expect(count()).toBe(before + 2)
      for (const timer of [...timers, ...timers]) timer.cancel()
      expect(count()).toBe(before)
      clock.startTimer(() => undefined, delayMs, { background: true }).cancel()
      expect(count()).toBe(before)
    }
  })

  it('calls back the other timers of a duration after one of them was cancelled', async () => {
    const clock = await loadClock()
    for (let round = 0; round < 3; round += 1) {
      clock.startTimer(() => expect.unreachable(), 2).cancel()
      const calls: string[] = []
      await new Promise<void>((resolve) => {
        const first = clock.startTimer(() => calls.push('first'), 2)
        clock.startTimer(() => calls.push('second'), 2)
        clock.startTimer(resolve, 2)
        first.cancel()
      })
      expect(calls).toEqual(['second'])
    }
  })

  it('lets the process exit while a background timer is pending, but not while any other one is', async () => {
    const script = startScript(`
      import { systemClock } from '${compiledUrl('platform/system-clock.ts')}'
      systemClock.startTimer(() => console.log('background'), 2 ** 40, { background: true })
      systemClock.startTimer(() => console.log('foreground'), 5)
    `)
    expect(await script.nextLine()).toBe('foreground')
    expect(await script.ended).toEqual({ code: 0, signal: null })
  })
})
