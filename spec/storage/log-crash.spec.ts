import { describe, expect, it } from 'vitest'
import { StorageError } from '../../lib/errors.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, openLog, readAll } from './log-fixtures.ts'

/**
 * What may and what must be in a log, as far as its user was told. Every append of these workloads
 * is of single-record batches or of one batch, and every sync is that of the append.
 */
class Expectation {
  /** Values that may stand at an offset. */
  readonly possible = new Map<number, Set<string>>()
  /** Values that must. */
  readonly acknowledged = new Map<number, string>()
  /** The log must not start below it. */
  leastStart = 0
  /** The log may start up to it. */
  greatestStart = 0

  allow(offset: number, value: string): void {
    this.possible.set(offset, (this.possible.get(offset) ?? new Set()).add(value))
  }

  async check(log: Log, context: string): Promise<void> {
    const records = await readAll(log)
    const start = log.logStartOffset
    expect(log.damage, context).toBeNull()
    expect(start, context).toBeGreaterThanOrEqual(this.leastStart)
    expect(start, context).toBeLessThanOrEqual(this.greatestStart)
    const offsets = records.map((record) => record.offset)
    expect(offsets, context).toEqual(records.map((_, slot) => start + slot))
    expect(log.logEndOffset, context).toBe(start + records.length)
    for (const { offset, value } of records) {
      expect([...(this.possible.get(offset) ?? [])], context).toContain(String(value))
    }
    for (const [offset, value] of this.acknowledged) {
      if (offset < start) continue
      expect(String(records[offset - start]?.value), context).toBe(value)
    }
  }
}

/** Drives a log and notes what its answers promise. */
class Session {
  readonly expectation = new Expectation()
  readonly #fileSystem: SimulatedFileSystem
  #log: Log | null = null

  constructor(fileSystem: SimulatedFileSystem) {
    this.#fileSystem = fileSystem
  }

  get log(): Log {
    if (this.#log === null) throw new Error('the log is not open')
    return this.#log
  }

  async open(): Promise<void> {
    this.#log = await openLog(this.#fileSystem)
  }

  async append(...values: string[]): Promise<void> {
    const { possible, acknowledged } = this.expectation
    const first = this.log.logEndOffset
    values.forEach((value, slot) => {
      this.expectation.allow(first + slot, value)
    })
    try {
      const { baseOffset } = await this.log.append(
        values.map((value, slot) => ({ value, timestamp: first + slot })),
      )
      expect(baseOffset).toBe(first)
    } catch (error) {
      if (error instanceof StorageError && error.outcome === 'not-written') {
        values.forEach((value, slot) => possible.get(first + slot)?.delete(value))
      }
      throw error
    }
    values.forEach((value, slot) => {
      possible.set(first + slot, new Set([value]))
      acknowledged.set(first + slot, value)
    })
  }

  /** Appends without a sync: nothing is promised before the next {@link Session.flush}. */
  async write(...values: string[]): Promise<void> {
    const first = this.log.logEndOffset
    values.forEach((value, slot) => {
      this.expectation.allow(first + slot, value)
    })
    await this.log.appendBatches(values.map((value) => bytesOf({ values: [value] })))
  }

  async flush(): Promise<void> {
    await this.log.flush()
    for (const [offset, [value]] of this.expectation.possible) {
      if (value !== undefined) this.expectation.acknowledged.set(offset, value)
    }
  }

  async truncateTo(offset: number): Promise<void> {
    const { possible, acknowledged } = this.expectation
    const dropped = [...acknowledged.keys()].filter((each) => each >= offset)
    for (const each of dropped) acknowledged.delete(each)
    await this.log.truncateTo(offset)
    for (const each of dropped) possible.delete(each)
  }

  async deleteBefore(offset: number): Promise<void> {
    this.expectation.greatestStart = offset
    await this.log.advanceLogStartOffset(offset)
    this.expectation.leastStart = offset
  }
}

type Workload = (session: Session) => Promise<void>

const WORKLOADS: Record<string, Workload> = {
  'append and roll': async (session) => {
    await session.open()
    for (const value of ['a', 'b', 'c', 'd', 'e']) await session.append(value)
    await session.append('f', 'g', 'h')
  },
  'close and open again': async (session) => {
    await session.open()
    await session.append('a')
    await session.append('b', 'c')
    await session.log.close()
    await session.open()
    await session.append('d')
    await session.log.checkpoint()
    await session.append('e')
    await session.log.close()
  },
  'truncate over segments': async (session) => {
    await session.open()
    for (const value of ['a', 'b', 'c', 'd', 'e']) await session.append(value)
    await session.log.checkpoint()
    await session.truncateTo(1)
    await session.append('f')
    await session.truncateTo(2)
    await session.append('g')
  },
  'advance the start': async (session) => {
    await session.open()
    for (const value of ['a', 'b', 'c', 'd', 'e']) await session.append(value)
    await session.deleteBefore(3)
    await session.append('f')
    await session.deleteBefore(6)
    await session.append('g')
  },
  'write without syncs': async (session) => {
    await session.open()
    await session.write('a')
    await session.write('b', 'c', 'd')
    await session.flush()
    await session.write('e', 'f', 'g', 'h', 'i')
    await session.log.checkpoint()
    await session.write('j')
    await session.flush()
    await session.write('k', 'l', 'm')
  },
  'roll by hand': async (session) => {
    await session.open()
    await session.log.roll()
    await session.append('a')
    await session.log.roll()
    await session.append('b')
    await session.log.roll()
    await session.log.close()
    await session.open()
    await session.append('c')
  },
}

const MOMENTS = ['before', 'after', 'torn'] as const

/** The states that a machine can be found in after its crash. */
function* outcomesOf(
  crashed: SimulatedFileSystem,
  seeds: readonly number[],
): Generator<[string, SimulatedFileSystem]> {
  yield ['process', crashed.restart('process')]
  yield ['power, all lost', crashed.restart('power', { unsynced: 'lost', seed: 1 })]
  yield ['power, all kept', crashed.restart('power', { unsynced: 'kept', seed: 1 })]
  for (const seed of seeds) {
    yield [`power, seed ${seed}`, crashed.restart('power', { unsynced: 'random', seed })]
  }
}

/** What an open has removed stays removed, whatever happens next. */
async function verifyNothingIsLeftToRemove(
  opened: SimulatedFileSystem,
  context: string,
): Promise<void> {
  const fileSystem = opened.restart('power', { unsynced: 'lost', seed: 1 })
  const files = [...fileSystem.snapshot().keys()]
  await openLog(fileSystem)
  const left = new Set(fileSystem.snapshot().keys())
  const removed = files.filter((path) => !left.has(path))
  expect(removed, `${context}, removed by the second open`).toEqual([])
}

/** Opens the log, looks at it, goes on writing, and makes sure that this lasts. */
async function verify(
  fileSystem: SimulatedFileSystem,
  expectation: Expectation,
  context: string,
): Promise<void> {
  const log = await openLog(fileSystem)
  await expectation.check(log, context)
  await verifyNothingIsLeftToRemove(fileSystem.fork(), context)
  const { baseOffset } = await log.append([{ value: 'later' }])
  const found = await readAll(log)
  const again = await openLog(fileSystem.restart('power', { unsynced: 'lost', seed: 1 }))
  expect(again.recovery, `${context}, second open`).toEqual({
    truncations: [],
    rebuiltIndexes: [],
    damage: null,
  })
  expect(await readAll(again), `${context}, second open`).toEqual(found)
  expect(again.logEndOffset, `${context}, second open`).toBe(baseOffset + 1)
}

async function operationCountOf(workload: Workload): Promise<number> {
  const fileSystem = new SimulatedFileSystem()
  await workload(new Session(fileSystem))
  return fileSystem.operationCount
}

async function crashIn(
  workload: Workload,
  operation: number,
  when: (typeof MOMENTS)[number],
): Promise<{ crashed: SimulatedFileSystem; expectation: Expectation }> {
  const crashed = new SimulatedFileSystem({ seed: operation })
  crashed.crashAt(operation, { when })
  const session = new Session(crashed)
  await workload(session).catch(() => undefined)
  expect(crashed.crashed).toBe(true)
  return { crashed, expectation: session.expectation }
}

describe.each(Object.entries(WORKLOADS))('a crash in the workload "%s"', (_, workload) => {
  it.each(MOMENTS)('loses nothing acknowledged, %s any operation', async (when) => {
    const count = await operationCountOf(workload)
    for (let operation = 1; operation <= count; operation += 1) {
      const { crashed, expectation } = await crashIn(workload, operation, when)
      for (const [outcome, fileSystem] of outcomesOf(crashed, [1, 2, 3])) {
        const context = `${when} ${crashed.operations.at(-1) ?? ''}, ${outcome}`
        await verify(fileSystem, expectation, context)
      }
    }
  })

  it('is recovered from although the recovery crashes at any operation', async () => {
    const count = await operationCountOf(workload)
    // Every recovery after every operation would take minutes.
    for (let operation = 5; operation <= count; operation += 13) {
      const { crashed, expectation } = await crashIn(workload, operation, 'torn')
      const start = crashed.restart('power', { unsynced: 'random', seed: operation })
      const whole = start.fork()
      await openLog(whole)
      for (let step = 1; step <= whole.operationCount; step += 1) {
        const recovering = start.fork({ seed: step })
        const when = MOMENTS[step % MOMENTS.length] ?? 'before'
        recovering.crashAt(step, { when })
        await openLog(recovering).catch(() => undefined)
        for (const [outcome, fileSystem] of outcomesOf(recovering, [step])) {
          const first = crashed.operations.at(-1) ?? ''
          const second = recovering.operations.at(-1) ?? ''
          await verify(fileSystem, expectation, `${first}, then ${when} ${second}, ${outcome}`)
        }
      }
    }
  })
})
