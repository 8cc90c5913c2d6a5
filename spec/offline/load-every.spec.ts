import { describe, expect, it, vi } from 'vitest'
import { ClosedError } from '../../lib/index.ts'
import { loadEvery, type LoadResult, type Sink } from '../../lib/offline/index.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { tempBroker } from '../../lib/testing/temp-broker.ts'

async function setUp() {
  const clock = new ManualClock()
  const broker = await tempBroker({ fileSystem: new SimulatedFileSystem(), clock })
  const partition = (await broker.createTopic('t')).partition(0)
  const loaded: string[] = []
  const state = { failures: 0, delayMs: 0, open: 0, mostOpen: 0 }
  const sink: Sink = {
    published: () => Promise.resolve([]),
    open: () => {
      state.open += 1
      state.mostOpen = Math.max(state.mostOpen, state.open)
      const values: string[] = []
      return Promise.resolve({
        write: (records) => {
          values.push(...records.map(({ value }) => value?.toString() ?? ''))
          return Promise.resolve()
        },
        commit: async () => {
          if (state.delayMs > 0) {
            await new Promise<void>((resolve) => clock.startTimer(resolve, state.delayMs))
          }
          state.open -= 1
          if (state.failures > 0) {
            state.failures -= 1
            throw new Error('no room')
          }
          loaded.push(...values)
          return { records: values.length, rejected: 0, bytes: 0 }
        },
        abort: () => Promise.resolve(),
      })
    },
  }
  return { clock, broker, partition, loaded, state, sink, plan: { name: 'l', topics: ['t'] } }
}

describe('loadEvery', () => {
  it('loads at once, and then at each interval what was appended since', async () => {
    const { clock, broker, partition, loaded, sink, plan } = await setUp()
    const results: LoadResult[] = []
    await partition.append({ value: 'a' })
    const timers = clock.pendingTimers
    const schedule = loadEvery(1000, broker, plan, sink, {
      clock,
      onLoad: (result) => void results.push(result),
    })
    await clock.advance(10)
    expect(loaded).toEqual(['a'])
    await partition.append([{ value: 'b' }, { value: 'c' }])
    await clock.advance(980)
    expect(loaded).toEqual(['a'])
    await clock.advance(20)
    expect(loaded).toEqual(['a', 'b', 'c'])
    expect(results.map(({ records }) => records)).toEqual([1, 2])
    await schedule.stop()
    await partition.append({ value: 'd' })
    await clock.advance(5000)
    expect(loaded).toEqual(['a', 'b', 'c'])
    expect(clock.pendingTimers).toBe(timers)
    await broker.close()
  })

  it('runs once at each interval if timers fire a little early', async () => {
    const { clock, broker, sink, plan } = await setUp()
    const early = {
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      startTimer: (callback: () => void, delayMs: number) =>
        clock.startTimer(callback, delayMs - 1.25),
    }
    const times: number[] = []
    const onLoad = (): void => void times.push(clock.monotonic())
    const schedule = loadEvery(1000, broker, plan, sink, { clock: early, onLoad })
    await clock.advance(3500)
    expect(times).toEqual([0, 998.75, 1998.75, 2998.75])
    await schedule.stop()
    await broker.close()
  })

  it('continues after a failure', async () => {
    const { clock, broker, partition, loaded, state, sink, plan } = await setUp()
    await partition.append({ value: 'a' })
    state.failures = 2
    const errors: unknown[] = []
    const schedule = loadEvery(1000, broker, plan, sink, {
      clock,
      retries: 0,
      onError: (error) => {
        errors.push(error)
        throw new Error('nor told')
      },
    })
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    for (let each = 0; each < 50; each += 1) await clock.advance(50)
    expect(errors).toHaveLength(2)
    expect(warning).toHaveBeenCalledTimes(2)
    expect(loaded).toEqual(['a'])
    await schedule.stop()
    warning.mockRestore()
    await broker.close()
  })

  it('never overlaps runs: a run that takes longer than the interval skips beats', async () => {
    const { clock, broker, partition, state, sink, plan } = await setUp()
    state.delayMs = 2500
    const times: number[] = []
    const schedule = loadEvery(1000, broker, plan, sink, {
      clock,
      onLoad: () => void times.push(clock.monotonic()),
    })
    for (let each = 0; each < 90; each += 1) {
      await partition.append({ value: `${each}` })
      await clock.advance(100)
    }
    expect(state.mostOpen).toBe(1)
    // Begun at 0, 1 and 4 s: the beats at 2 and 3 s, 5 and 6 s fell into a run.
    expect(times.map((time) => Math.round(time / 100) / 10)).toEqual([0, 3.5, 6.5])
    const stopping = schedule.stop()
    const isOpen = state.open
    await clock.advance(5000)
    await stopping
    expect([isOpen, state.open]).toEqual([1, 0])
    await broker.close()
  })

  it('ends without an error when it is aborted, and loads nothing that is appended afterwards', async () => {
    const { clock, broker, partition, loaded, state, sink, plan } = await setUp()
    await partition.append({ value: 'a' })
    state.delayMs = 500
    const timers = clock.pendingTimers
    const errors: unknown[] = []
    const onError = (error: unknown): void => void errors.push(error)
    const abort = new AbortController()
    const options = { clock, signal: abort.signal, onError }
    let ended = 0
    const start = (): void => {
      void loadEvery(1000, broker, plan, sink, options).finished.then(() => (ended += 1))
    }
    start()
    await clock.advance(100)
    expect(state.open).toBe(1)
    abort.abort()
    await clock.advance(400)
    // What the sink was committing is loaded.
    expect([ended, loaded, state.open]).toEqual([1, ['a'], 0])
    await partition.append({ value: 'b' })
    start()
    await clock.advance(5000)
    expect([ended, loaded, errors]).toEqual([2, ['a'], []])
    expect(clock.pendingTimers).toBe(timers)
    await broker.close()
  })

  it('ends at once and without an error when its broker closes', async () => {
    const { clock, broker, partition, loaded, sink, plan } = await setUp()
    await partition.append({ value: 'a' })
    const errors: unknown[] = []
    const onError = (error: unknown): void => void errors.push(error)
    const schedule = loadEvery(3_600_000, broker, plan, sink, { clock, onError })
    await clock.advance(10)
    await broker.close()
    await schedule.finished
    expect([loaded, errors, clock.pendingTimers]).toEqual([['a'], [], 0])
    expect(() => loadEvery(1000, broker, plan, sink, { clock })).toThrow(ClosedError)
  })

  it('reports once what the close of its broker has interrupted', async () => {
    const { clock, broker, partition, state, sink, plan } = await setUp()
    await partition.append({ value: 'a' })
    state.delayMs = 500
    const errors: unknown[] = []
    const onError = (error: unknown): void => void errors.push(error)
    const schedule = loadEvery(1000, broker, plan, sink, { clock, onError })
    await clock.advance(10)
    expect(state.open).toBe(1)
    await broker.close()
    await clock.advance(5000)
    await schedule.finished
    const error = { code: 'CLOSED', message: 'the broker was closed during the load' }
    expect(errors).toMatchObject([{ failures: [{ error }] }])
    expect(clock.pendingTimers).toBe(0)
  })

  it('throws for plan options that can never work, and reports others at each beat', async () => {
    const { clock, broker, sink } = await setUp()
    const closers = vi.spyOn(broker, 'onClose')
    for (const [plan, message] of [
      [undefined, 'plan options must be a plain object, got undefined'],
      [{}, 'topics must be an array of names, got undefined'],
      [{ topics: [] }, 'topics must have at least one name, got none'],
      [{ topics: ['t'], from: 5, until: 2 }, 'from must be at most until, which is 2, got 5'],
      [
        { topics: ['t'], name: 'a\ud800' },
        'name must be well-formed Unicode, got a lone surrogate',
      ],
      [
        { topics: ['t'], name: 'ä'.repeat(16_384) },
        'name must have at most 32767 bytes, got 32768',
      ],
      [{ topics: ['later', 'a/b'] }, "topic name 'a/b' is not legal"],
    ] as const) {
      expect(() => loadEvery(1000, broker, plan as never, sink)).toThrow(message)
    }
    expect(closers).not.toHaveBeenCalled()
    const errors: unknown[] = []
    const onError = (error: unknown): void => void errors.push(error)
    const schedule = loadEvery(1000, broker, { topics: ['later'] }, sink, { clock, onError })
    await clock.advance(10)
    await broker.createTopic('later')
    await clock.advance(1000)
    await schedule.stop()
    expect(errors).toMatchObject([{ code: 'UNKNOWN_TOPIC_OR_PARTITION' }])
    await broker.close()
  })

  it('warns with the name of the load and the reason if it has no onError', async () => {
    const { clock, broker, partition, state, sink, plan } = await setUp()
    await partition.append({ value: 'a' })
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    const warnings = (): string[] => warning.mock.calls.map(([error]) => String(error))
    state.failures = 1
    const schedule = loadEvery(1000, broker, plan, sink, { clock, retries: 0 })
    await clock.advance(10)
    await schedule.stop()
    expect(warnings()).toEqual([
      "Error: the load 'l' has failed, and the next beat tries again: 1 of 1 tasks failed: t-0 0 to 1: no room",
    ])
    expect(warning.mock.calls[0]?.[0]).toHaveProperty('cause.code', 'LOAD_FAILED')
    state.failures = 1
    const second = loadEvery(1000, broker, { topics: ['t'] }, sink, {
      clock,
      retries: 0,
      onError: () => {
        throw new Error('nobody to tell')
      },
    })
    await clock.advance(10)
    await second.stop()
    expect(warnings().slice(1)).toEqual([
      "Error: onError of the load 'varve-load' has failed: nobody to tell",
    ])
    warning.mockRestore()
    await broker.close()
  })

  it('throws for an invalid interval and for invalid options', async () => {
    const { broker, sink, plan } = await setUp()
    expect(() => loadEvery(0, broker, plan, sink)).toThrow(
      'intervalMs must be a whole number from 1',
    )
    expect(() => loadEvery(1, broker, plan, sink, { onLoad: 1 as never })).toThrow('onLoad must be')
    const closers = vi.spyOn(broker, 'onClose')
    for (const [options, message] of [
      [{ clock: {} }, 'clock must be an object with now(), monotonic(), startTimer()'],
      [{ clock: null }, 'clock must be an object with now(), monotonic(), startTimer(), got null'],
      [{ signal: 5 }, 'signal must be an AbortSignal, got 5'],
      [{ retries: -1 }, 'retries must be a whole number from 0'],
      [{ onEror: () => undefined }, "did you mean 'onError'?"],
      [null, 'schedule options must be a plain object, got null'],
    ] as const) {
      expect(() => loadEvery(1, broker, plan, sink, options as never)).toThrow(message)
    }
    expect(closers).not.toHaveBeenCalled()
    expect(() => loadEvery(1, null as never, plan, sink)).toThrow('broker must be an object with')
    expect(() => loadEvery(1, broker, plan, {} as never)).toThrow('sink must be an object with')
    await broker.close()
  })
})
