import { describe, expect, it } from 'vitest'
import { behindMicrotasks, nextTurn } from '../../lib/platform/event-loop.ts'
import { PromptIo } from '../../lib/platform/prompt-io.ts'

/** A system whose clock and event loop stand still unless a test advances them. */
class StandingSystem {
  nowMs = 1000
  diskReadCount = 0
  #callbacks: (() => void)[] = []

  now(): number {
    return this.nowMs
  }

  diskReads(): number {
    return this.diskReadCount
  }

  nextTurn(callback: () => void): void {
    this.#callbacks.push(callback)
  }

  behindMicrotasks(callback: () => void): void {
    behindMicrotasks(callback)
  }

  turn(): number {
    const callbacks = this.#callbacks
    this.#callbacks = []
    for (const callback of callbacks) callback()
    return callbacks.length
  }
}

function scene(): { system: StandingSystem; prompt: PromptIo } {
  const system = new StandingSystem()
  return { system, prompt: new PromptIo(system) }
}

it('makes small calls synchronously, and passes on what they return and throw', () => {
  const { prompt } = scene()
  expect(prompt.try('read', 64 * 1024, () => 7)).toBe(7)
  const failing = (): number => {
    throw new Error('EIO')
  }
  expect(() => prompt.try('write', 1, failing)).toThrow('EIO')
})

it('leaves large calls to the pool', () => {
  const { prompt } = scene()
  expect(prompt.try('read', 64 * 1024 + 1, () => 7)).toBe(-1)
  expect(prompt.try('write', 2 * 1024 * 1024, () => 7)).toBe(7)
  expect(prompt.try('write', 2 * 1024 * 1024 + 1, () => 7)).toBe(-1)
})

it('prolongs no turn of the event loop by more than 1 ms', () => {
  const { system, prompt } = scene()
  expect(prompt.try('write', 1, () => 1)).toBe(1)
  system.nowMs += 1
  expect(prompt.try('write', 1, () => 1)).toBe(1)
  system.nowMs += 0.1
  expect(prompt.try('write', 1, () => 1)).toBe(-1)
  // One call was enough to be notified of the next turn.
  expect(system.turn()).toBe(1)
  expect(prompt.try('write', 1, () => 1)).toBe(1)
})

it('counts the time since begin towards the turn, even before the first call', () => {
  const { system, prompt } = scene()
  prompt.begin('write')
  system.nowMs += 0.9
  // Once, as it has begun.
  prompt.begin('write')
  system.nowMs += 0.2
  expect(prompt.try('write', 1, () => 1)).toBe(-1)
  expect(prompt.try('read', 1, () => 1)).toBe(1)
  expect(system.turn()).toBe(1)
  expect(prompt.try('write', 1, () => 1)).toBe(1)
})

it('gives writes and syncs as much of a turn as reads, whichever comes first', () => {
  for (const [first, second] of [
    ['read', 'write'],
    ['write', 'read'],
  ] as const) {
    const { system, prompt } = scene()
    expect(prompt.try(first, 1, () => 1)).toBe(1)
    system.nowMs += 1.1
    expect(prompt.try(first, 1, () => 1)).toBe(-1)
    expect(prompt.try(second, 1, () => 1)).toBe(1)
    system.nowMs += 1
    expect(prompt.try(second, 1, () => 1)).toBe(1)
    expect(prompt.hasTime()).toBe(second === 'write')
    system.nowMs += 0.1
    expect(prompt.try(second, 1, () => 1)).toBe(-1)
    expect(system.turn()).toBe(1)
    expect(prompt.try(first, 1, () => 1)).toBe(1)
  }
})

it('gives reads less of a turn while syncs are requested, and for 100 ms afterwards', () => {
  const { system, prompt } = scene()
  const readMs = (): number => {
    system.turn()
    expect(prompt.try('read', 1, () => 1)).toBe(1)
    for (let quarters = 0; ; quarters += 1) {
      if (prompt.turnIfDue() !== null) return (quarters - 1) / 4
      system.nowMs += 0.25
    }
  }
  expect(prompt.try('write', 1, () => 1)).toBe(1)
  expect(readMs()).toBe(1)
  expect(prompt.hasTime()).toBe(true)
  expect(readMs()).toBe(0.5)
  system.nowMs += 90
  expect(readMs()).toBe(0.5)
  system.nowMs += 20
  expect(readMs()).toBe(1)
})

it('notifies a declined caller once the event loop has turned, if that is worth waiting for', async () => {
  const { system, prompt } = scene()
  expect(prompt.whenTurned('write', 1)).toBeNull()
  prompt.try('write', 1, () => 1)
  system.nowMs += 1.1
  expect(prompt.try('write', 1, () => 1)).toBe(-1)
  expect(prompt.whenTurned('write', 2 * 1024 * 1024 + 1)).toBeNull()
  let hasTurned = false
  const turned = prompt.whenTurned('write', 1)?.then(() => (hasTurned = true))
  await Promise.resolve()
  expect(hasTurned).toBe(false)
  system.turn()
  await turned
  expect(hasTurned).toBe(true)
  expect(prompt.try('write', 1, () => 1)).toBe(1)
})

describe('after a slow write', () => {
  const slowIn = (system: StandingSystem) => (): number => {
    system.nowMs += 1.5
    return 1
  }

  it('makes no write for a while, and lets nobody wait for a turn', () => {
    const { system, prompt } = scene()
    expect(prompt.try('write', 1, slowIn(system))).toBe(1)
    expect(prompt.whenTurned('write', 1)).toBeNull()
    system.turn()
    expect(prompt.try('write', 1, () => 1)).toBe(-1)
    system.nowMs += 4
    expect(prompt.try('write', 1, () => 1)).toBe(-1)
    system.nowMs += 1
    expect(prompt.try('write', 1, () => 1)).toBe(1)
  })

  it('makes no call for a while even if the slow one failed', () => {
    const { system, prompt } = scene()
    const failing = (): number => {
      system.nowMs += 1000
      throw new Error('EIO')
    }
    for (const each of ['try', 'attempt']) {
      expect(() =>
        each === 'try' ? prompt.try('write', 1, failing) : prompt.attempt(failing),
      ).toThrow('EIO')
      system.turn()
      const next = each === 'try' ? prompt.try('write', 1, () => 1) : prompt.attempt(() => 1)
      expect(next).toBe(each === 'try' ? -1 : undefined)
      system.nowMs += 50
    }
  })

  it('rests longer after each further slow write, up to 50 ms, and briefly again after a good period', () => {
    const { system, prompt } = scene()
    const restMs = (): number => {
      prompt.try('write', 1, slowIn(system))
      system.turn()
      for (let waitedMs = 1; ; waitedMs += 1) {
        system.nowMs += 1
        if (prompt.try('write', 1, () => 1) === 1) return waitedMs
      }
    }
    expect([restMs(), restMs(), restMs(), restMs(), restMs(), restMs()]).toEqual([
      5, 10, 20, 40, 50, 50,
    ])
    system.turn()
    system.nowMs += 100
    expect(restMs()).toBe(5)
  })

  it('rests at least as long as the write took, so that no disk blocks the process most of the time', () => {
    for (const slowMs of [2, 20, 150, 1000]) {
      const { system, prompt } = scene()
      let heldMs = 0
      const slow = (): number => {
        system.nowMs += slowMs
        heldMs += slowMs
        return 1
      }
      while (system.nowMs < 20_000) {
        if (prompt.try('write', 1, slow) < 0) system.nowMs += 1
        system.turn()
      }
      expect(heldMs, `of 20 s, with ${slowMs} ms a write`).toBeLessThanOrEqual(11_000)
    }
  })

  it('doubles its rest after a relapse, even if the slow write takes longer than the relapse period', () => {
    const { system, prompt } = scene()
    const restMs = (slowMs: number): number => {
      prompt.try('write', 1, () => (system.nowMs += slowMs))
      const startMs = system.nowMs
      for (system.turn(); prompt.try('write', 1, () => 1) < 0; system.turn()) system.nowMs += 1
      return system.nowMs - startMs
    }
    expect([restMs(2), restMs(150), restMs(2)]).toEqual([5, 150, 20])
  })
})

it('makes work without calls wait for the next turn once its time is used up, even on a quick disk', async () => {
  const { system, prompt } = scene()
  expect(prompt.turnIfDue()).toBeNull()
  prompt.try('write', 1, () => {
    system.nowMs += 0.75
    return 1
  })
  expect(prompt.turnIfDue()).toBeNull()
  system.nowMs += 1
  const turn = prompt.turnIfDue()
  expect(turn).toBeInstanceOf(Promise)
  expect(system.turn()).toBe(1)
  await turn
  expect(prompt.turnIfDue()).toBeNull()
})

it('reports whether somebody waits for a turn', () => {
  const { system, prompt } = scene()
  prompt.begin('read')
  prompt.begin('write')
  system.nowMs += 1.1
  const waits = [
    () => prompt.turnIfDue('read'),
    () => prompt.turnIfDue('write'),
    () => prompt.whenTurned('read', 1),
  ]
  for (const wait of waits) {
    expect(prompt.isAwaited).toBe(false)
    void wait()
    expect(prompt.isAwaited).toBe(true)
    system.turn()
    prompt.begin('read')
    prompt.begin('write')
    system.nowMs += 1.1
  }
})

it('resumes waiting callers one after another while there is time, and the others in the next turn', async () => {
  const { system, prompt } = scene()
  prompt.begin('read')
  system.nowMs += 1.1
  const order: string[] = []
  const work = async (name: string, ms: number): Promise<void> => {
    await prompt.turnIfDue()
    // Continuations that run automatically are part of the work.
    for (let step = 0; step < 10; step += 1) await Promise.resolve()
    system.nowMs += ms
    order.push(name)
  }
  const working = ['a', 'b', 'c', 'd', 'e'].map((name) => work(name, 0.6))
  const turn = async (): Promise<string> => {
    order.length = 0
    expect(system.turn()).toBe(1)
    await nextTurn()
    return order.join('')
  }
  expect([await turn(), await turn(), await turn()]).toEqual(['ab', 'cd', 'e'])
  await Promise.all(working)
})

it('resumes a waiting reader and a waiting writer in each turn, however long each takes', async () => {
  const { system, prompt } = scene()
  prompt.begin('read')
  prompt.begin('write')
  system.nowMs += 1.1
  const order: string[] = []
  for (const kind of ['read', 'read', 'write', 'write'] as const) {
    void prompt.turnIfDue(kind)?.then(() => {
      prompt.begin(kind)
      system.nowMs += 50
      order.push(kind)
    })
  }
  for (let turns = 0; turns < 2; turns += 1) {
    expect(system.turn()).toBe(1)
    await nextTurn()
  }
  expect(order).toEqual(['read', 'write', 'read', 'write'])
})

it('limits calls that move no bytes in the same way, and lets them decline', () => {
  const { system, prompt } = scene()
  expect(prompt.attempt(() => null)).toBeNull()
  const declines = (): number | undefined => undefined
  expect(prompt.attempt(declines)).toBeUndefined()
  system.nowMs += 1.1
  expect(prompt.attempt(() => 1)).toBeUndefined()
  system.turn()
  const slow = (): string => {
    system.nowMs += 1.5
    return 'slow'
  }
  system.diskReadCount += 1
  expect(prompt.attempt(slow)).toBe('slow')
  system.turn()
  expect([prompt.attempt(() => 1), prompt.try('read', 1, () => 1)]).toEqual([undefined, -1])
})

it('counts an attempt as a write towards the time of writes, but rests together with reads', () => {
  const { system, prompt } = scene()
  expect(prompt.attempt(() => 1)).toBe(1)
  system.nowMs += 1.1
  expect([prompt.attempt(() => 1), prompt.attempt(() => 1, 'write')]).toEqual([undefined, 1])
  system.nowMs += 1.1
  expect(prompt.attempt(() => 1, 'write')).toBeUndefined()
  system.turn()
  system.diskReadCount += 1
  const slow = (): number => (system.nowMs += 1.5)
  expect(prompt.attempt(slow, 'write')).toBe(system.nowMs)
  system.turn()
  expect(prompt.attempt(() => 1, 'write')).toBeUndefined()
  expect(prompt.try('write', 1, () => 1)).toBe(1)
})

describe('after a slow read', () => {
  /** Makes a read that takes `ms`, with `diskReads` reads of the disk, in a separate turn. */
  function read({ system, prompt }: ReturnType<typeof scene>, ms: number, diskReads = 0): number {
    system.turn()
    return prompt.try('read', 1, () => {
      system.nowMs += ms
      system.diskReadCount += diskReads
      return 1
    })
  }

  it('makes no read for a while if bytes came from the disk', () => {
    const here = scene()
    expect(read(here, 0.1, 8)).toBe(1)
    expect(read(here, 1.5, 8)).toBe(1)
    expect(read(here, 0.1)).toBe(-1)
    expect(here.prompt.whenTurned('read', 1)).toBeNull()
    here.system.nowMs += 5
    expect(read(here, 0.1)).toBe(1)
  })

  it('continues if no bytes came from the disk, as the thread may have lost the processor', () => {
    const here = scene()
    for (const ms of [1.5, 0.1, 20, 0.1]) expect(read(here, ms)).toBe(1)
  })

  it('makes no read for a while if the next one is slow too, wherever the bytes came from', () => {
    const here = scene()
    expect(read(here, 1.5)).toBe(1)
    expect(read(here, 1.5)).toBe(1)
    expect(read(here, 0.1)).toBe(-1)
  })

  it('still makes writes, as it still makes reads after a slow write', () => {
    const here = scene()
    expect(read(here, 1.5, 1)).toBe(1)
    here.system.turn()
    expect([read(here, 0.1), here.prompt.try('write', 1, () => 1)]).toEqual([-1, 1])
    here.system.nowMs += 5
    here.system.turn()
    here.prompt.try('write', 1, () => {
      here.system.nowMs += 1.5
      return 1
    })
    expect([read(here, 0.1), here.prompt.try('write', 1, () => 1)]).toEqual([1, -1])
  })
})
