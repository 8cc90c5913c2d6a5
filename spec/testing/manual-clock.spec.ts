import { describe, expect, it } from 'vitest'
import { promptIo } from '../../lib/platform/prompt-io.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'

function recording(clock: ManualClock): {
  fired: string[]
  start: (name: string, ms: number) => void
} {
  const fired: string[] = []
  return {
    fired,
    start: (name, ms) => {
      clock.startTimer(() => fired.push(`${name}@${clock.monotonic()}`), ms)
    },
  }
}

describe('ManualClock', () => {
  it('stands still until it is advanced', () => {
    const clock = new ManualClock(5000)
    expect([clock.now(), clock.monotonic()]).toEqual([5000, 0])
    expect([clock.now(), clock.monotonic()]).toEqual([5000, 0])
  })

  it('starts at the same time in every run', () => {
    expect(new ManualClock().now()).toBe(new ManualClock().now())
  })

  it('advances both clocks together, the wall clock in whole milliseconds', async () => {
    const clock = new ManualClock(1000)
    await clock.advance(10.5)
    expect([clock.now(), clock.monotonic()]).toEqual([1010, 10.5])
  })

  it('fires timers in order of due time and, at equal due times, in order of their start', async () => {
    const clock = new ManualClock()
    const { fired, start } = recording(clock)
    start('late', 30)
    start('early', 10)
    start('middle', 20)
    start('second early', 10)
    await clock.advance(25)
    expect(fired).toEqual(['early@10', 'second early@10', 'middle@20'])
    await clock.advance(5)
    expect(fired.at(-1)).toBe('late@30')
  })

  it('shows a callback its own due time on the wall clock', async () => {
    const clock = new ManualClock(1000)
    let seen = 0
    clock.startTimer(() => (seen = clock.now()), 7)
    await clock.advance(100)
    expect([seen, clock.now()]).toEqual([1007, 1100])
  })

  it('fires a timer that a callback starts if it is due within the same advance', async () => {
    const clock = new ManualClock()
    const { fired, start } = recording(clock)
    clock.startTimer(() => {
      start('inner', 5)
      start('later', 50)
    }, 10)
    await clock.advance(20)
    expect(fired).toEqual(['inner@15'])
    expect(clock.pendingTimers).toBe(1)
  })

  it('runs promise chains to their end before the first timer fires and after each', async () => {
    const clock = new ManualClock()
    const fired: number[] = []
    const worker = async () => {
      for (let round = 0; round < 3; round += 1) {
        for (let turn = 0; turn < 50; turn += 1) {
          await Promise.resolve()
        }
        await new Promise<void>((resolve) => clock.startTimer(resolve, 10))
        fired.push(clock.monotonic())
      }
    }
    const done = worker()
    await clock.advance(30)
    await done
    expect(fired).toEqual([10, 20, 30])
  })

  it.each([0, -5, NaN])(
    'fires a timer with a delay of %d at the next advance, and not before',
    async (ms) => {
      const clock = new ManualClock()
      const { fired, start } = recording(clock)
      start('now', ms)
      expect(fired).toEqual([])
      await clock.advance(0)
      expect(fired).toEqual(['now@0'])
    },
  )

  it('does not fire a cancelled timer, and cancelling again or later does nothing', async () => {
    const clock = new ManualClock()
    const { fired, start } = recording(clock)
    const timer = clock.startTimer(() => fired.push('cancelled'), 10)
    start('kept', 10)
    timer.cancel()
    timer.cancel()
    await clock.advance(10)
    timer.cancel()
    expect(fired).toEqual(['kept@10'])
  })

  it('lets a callback cancel a timer that is due at the same time', async () => {
    const clock = new ManualClock()
    const fired: string[] = []
    clock.startTimer(() => {
      second.cancel()
    }, 5)
    const second = clock.startTimer(() => fired.push('second'), 5)
    await clock.advance(5)
    expect(fired).toEqual([])
  })

  it('counts the timers that are neither fired nor cancelled', async () => {
    const clock = new ManualClock()
    const { start } = recording(clock)
    start('one', 1)
    start('two', 2)
    const three = clock.startTimer(() => undefined, 3)
    expect(clock.pendingTimers).toBe(3)
    three.cancel()
    expect(clock.pendingTimers).toBe(2)
    await clock.advance(1)
    expect(clock.pendingTimers).toBe(1)
  })

  it('setTime changes only the wall clock', async () => {
    const clock = new ManualClock(1000)
    const { fired, start } = recording(clock)
    start('timer', 10)
    await clock.advance(4)
    clock.setTime(50)
    expect([clock.now(), clock.monotonic(), fired]).toEqual([50, 4, []])
    await clock.advance(6)
    expect([clock.now(), fired]).toEqual([56, ['timer@10']])
  })

  it('rejects with the error that a callback throws, and stops at its time', async () => {
    const clock = new ManualClock()
    const { fired, start } = recording(clock)
    clock.startTimer(() => {
      throw new Error('from the callback')
    }, 5)
    start('next', 6)
    await expect(clock.advance(10)).rejects.toThrow('from the callback')
    expect([clock.monotonic(), fired]).toEqual([5, []])
    await clock.advance(1)
    expect(fired).toEqual(['next@6'])
  })

  it('rejects an advance in which each timer starts two more without delay', async () => {
    const clock = new ManualClock()
    let count = 0
    const twice = (): void => {
      count += 1
      clock.startTimer(twice, 0)
      clock.startTimer(twice, 0)
    }
    twice()
    await expect(clock.advance(1)).rejects.toThrow('restarts itself without delay: 30000 times')
    expect(count).toBeGreaterThan(30_000)
  })

  it('rejects an advance in which a timer restarts itself without delay', async () => {
    const clock = new ManualClock()
    const again = () => {
      clock.startTimer(again, 0)
    }
    again()
    await expect(clock.advance(1)).rejects.toThrow('restarts itself')
  })

  it('fires any number of timers at one time if none restarts itself, even those that they start', async () => {
    const clock = new ManualClock()
    let fired = 0
    for (let started = 0; started < 5001; started += 1) {
      clock.startTimer(() => {
        clock.startTimer(() => (fired += 1), 0)
        fired += 1
      }, 500)
    }
    await clock.advance(500)
    expect(fired).toBe(10_002)
    expect(clock.pendingTimers).toBe(0)
  })

  it('completes work that waits for one turn of the event loop after the other', async () => {
    const clock = new ManualClock()
    const work = async (): Promise<void> => {
      for (let step = 0; step < 50; step += 1) {
        let turn = promptIo.turnIfDue()
        while (turn === null) turn = promptIo.turnIfDue()
        await turn
      }
      finished.push(clock.monotonic())
    }
    const finished: number[] = []
    const working = work()
    clock.startTimer(() => void work(), 10)
    await clock.advance(9)
    expect(finished).toEqual([0])
    await clock.advance(1)
    expect(finished).toEqual([0, 10])
    await working
  })

  it('ends an advance even if a loop waits for turns of the event loop forever', async () => {
    const clock = new ManualClock()
    const loop = { isOver: false, turns: 0 }
    const looping = (async () => {
      for (; !loop.isOver; loop.turns += 1) await (promptIo.turnIfDue() ?? Promise.resolve())
    })()
    clock.startTimer(() => undefined, 1)
    await clock.advance(1)
    loop.isOver = true
    await looping
    expect(loop.turns).toBeGreaterThan(0)
  })

  it('rejects an advance by a negative number or NaN, and a second one at the same time', async () => {
    const clock = new ManualClock()
    await expect(clock.advance(-1)).rejects.toThrow(RangeError)
    await expect(clock.advance(NaN)).rejects.toThrow(RangeError)
    const first = clock.advance(1)
    await expect(clock.advance(1)).rejects.toThrow('already running')
    await first
    expect(clock.monotonic()).toBe(1)
  })

  it('throws for a wall clock time that is not a finite number', () => {
    expect(() => new ManualClock(NaN)).toThrow(RangeError)
    expect(() => {
      new ManualClock().setTime(Infinity)
    }).toThrow(RangeError)
  })

  it('works even if the global timers are replaced', async () => {
    const real = globalThis.setImmediate
    globalThis.setImmediate = (() => {
      throw new Error('replaced')
    }) as unknown as typeof setImmediate
    try {
      await new ManualClock().advance(1)
    } finally {
      globalThis.setImmediate = real
    }
  })
})
