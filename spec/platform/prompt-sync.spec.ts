import { expect, it } from 'vitest'
import { behindMicrotasks } from '../../lib/platform/event-loop.ts'
import { PromptIo } from '../../lib/platform/prompt-io.ts'
import { FIRST_PROOF, PromptSync, promptSyncOf } from '../../lib/platform/prompt-sync.ts'

/** A disk whose syncs take a set time, on a clock and an event loop that stand still. */
class StandingDisk {
  nowMs = 1000
  syncMs = 0.1
  /** Where each sync was made. */
  readonly made: ('call' | 'pool')[] = []
  readonly io: PromptIo
  readonly sync: PromptSync
  error: Error | null = null
  /** Whether the event loop does not turn before a sync of the pool is done. */
  isLoopBusy = false
  #callbacks: (() => void)[] = []

  constructor() {
    const now = (): number => this.nowMs
    const nextTurn = (callback: () => void): void => void this.#callbacks.push(callback)
    this.io = new PromptIo({ now, nextTurn, behindMicrotasks, diskReads: () => 0 })
    this.sync = new PromptSync(this.io, now)
  }

  turn(): void {
    const callbacks = this.#callbacks
    this.#callbacks = []
    for (const callback of callbacks) callback()
  }

  readonly call = (): void => {
    this.#make('call')
  }

  readonly callInPool = (): Promise<void> => {
    if (!this.isLoopBusy) this.turn()
    this.#make('pool')
    return Promise.resolve()
  }

  /** Makes syncs one after the other, each in a separate turn. @returns where they were made */
  async syncs(count: number): Promise<string> {
    const from = this.made.length
    for (let made = 0; made < count; made += 1) {
      this.turn()
      if (!this.sync.try(this.call)) await this.sync.run(this.call, this.callInPool)
    }
    return this.made.slice(from).join(' ')
  }

  /** How many syncs the pool makes before a synchronous one, which is slow. */
  async proof(): Promise<number> {
    for (let count = 0; ; count += 1) {
      this.syncMs = 0.1
      this.turn()
      if (this.sync.try(() => (this.nowMs += 3))) return count
      await this.sync.run(this.call, this.callInPool)
    }
  }

  #make(where: 'call' | 'pool'): void {
    this.made.push(where)
    this.nowMs += this.syncMs
    if (this.error !== null) throw this.error
  }
}

it('makes syncs synchronously once sixteen in a row were quick in the pool', async () => {
  const disk = new StandingDisk()
  expect(await disk.syncs(18)).toBe(`${'pool '.repeat(16)}call call`)
})

it('never makes a sync synchronously on a slow disk', async () => {
  const disk = new StandingDisk()
  disk.syncMs = 10
  expect(await disk.syncs(100)).not.toContain('call')
  disk.syncMs = 1
  expect(await disk.syncs(FIRST_PROOF - 1)).not.toContain('call')
  disk.syncMs = 1.1
  expect(await disk.syncs(1)).toBe('pool')
  disk.syncMs = 1
  expect(await disk.syncs(17)).toBe(`${'pool '.repeat(16)}call`)
})

it('counts a sync of up to 5 ms as quick if a busy event loop delayed its result', async () => {
  const disk = new StandingDisk()
  disk.isLoopBusy = true
  disk.syncMs = 5.1
  expect(await disk.syncs(40)).not.toContain('call')
  disk.syncMs = 5
  expect(await disk.syncs(17)).toBe(`${'pool '.repeat(16)}call`)
})

it('goes back to the pool after a sync of more than 2 ms, until the disk is quick again', async () => {
  const disk = new StandingDisk()
  await disk.syncs(FIRST_PROOF)
  disk.syncMs = 2
  expect(await disk.syncs(2)).toBe('call call')
  disk.syncMs = 10
  expect(await disk.syncs(40)).toBe(`call${' pool'.repeat(39)}`)
  disk.syncMs = 0.1
  expect(await disk.syncs(33)).toBe(`${'pool '.repeat(32)}call`)
})

it('requires twice the proof if the last did not hold, up to 128 syncs, and sixteen if it did', async () => {
  const disk = new StandingDisk()
  const proofs: number[] = []
  for (let count = 0; count < 10; count += 1) proofs.push(await disk.proof())
  expect(proofs).toEqual([16, 32, 64, 128, 128, 128, 128, 128, 128, 128])
  await disk.syncs(128 + 64)
  expect(await disk.proof()).toBe(0)
  expect(await disk.proof()).toBe(FIRST_PROOF)
})

it('waits for the next turn when the time of this one is used up', async () => {
  const disk = new StandingDisk()
  await disk.syncs(FIRST_PROOF)
  disk.turn()
  expect(disk.sync.try(disk.call)).toBe(true)
  disk.nowMs += 2
  expect(disk.sync.try(disk.call)).toBe(false)
  const count = disk.made.length
  const waiting = disk.sync.run(disk.call, disk.callInPool)
  await Promise.resolve()
  expect(disk.made).toHaveLength(count)
  disk.turn()
  await waiting
  expect(disk.made.slice(count)).toEqual(['call'])
})

it('leaves a sync to the pool when the next turn has no time for it either', async () => {
  const disk = new StandingDisk()
  await disk.syncs(FIRST_PROOF)
  disk.turn()
  disk.sync.try(disk.call)
  disk.nowMs += 2
  const waiting = disk.sync.run(disk.call, disk.callInPool)
  disk.turn()
  // Other work has used up the turn.
  disk.io.try('write', 1, () => (disk.nowMs += 3))
  await waiting
  expect(disk.made.at(-1)).toBe('pool')
})

it('sends other syncs to the pool while the pool makes one', async () => {
  const disk = new StandingDisk()
  await disk.syncs(FIRST_PROOF - 1)
  let end = (): void => undefined
  const hanging = disk.sync.run(disk.call, () => new Promise((resolve) => (end = resolve)))
  expect(await disk.syncs(2)).toBe('pool pool')
  end()
  await hanging
  expect(await disk.syncs(1)).toBe('call')
})

it('passes on the error of a sync, wherever it is made, and makes that sync only once', async () => {
  const disk = new StandingDisk()
  disk.error = new Error('EIO')
  await expect(disk.sync.run(disk.call, disk.callInPool)).rejects.toBe(disk.error)
  disk.error = null
  await disk.syncs(FIRST_PROOF)
  disk.error = new Error('EIO')
  disk.syncMs = 1000
  const count = disk.made.length
  expect(() => disk.sync.try(disk.call)).toThrow(disk.error)
  expect(disk.made.slice(count)).toEqual(['call'])
  disk.error = null
  expect(await disk.syncs(1)).toBe('pool')
})

it('treats each disk separately', () => {
  expect(promptSyncOf(-1)).toBe(promptSyncOf(-1))
  expect(promptSyncOf(-1)).not.toBe(promptSyncOf(-2))
})

it('makes reads leave more of a turn to syncs, even if the pool makes the syncs', async () => {
  const disk = new StandingDisk()
  expect(await disk.syncs(1)).toBe('pool')
  disk.turn()
  expect(disk.io.turnIfDue()).toBeNull()
  disk.nowMs += 0.6
  expect(disk.io.turnIfDue()).toBeInstanceOf(Promise)
})
