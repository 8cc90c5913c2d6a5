import { expect, it } from 'vitest'
import type { Acks } from '../../lib/broker/pending-append.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { ClosedError } from '../../lib/errors.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition } from '../helpers/partitions.ts'
import { report, runs, seed } from './size.ts'

const DIR = '/data/orders-0'
const NOW = 1_704_067_200_000
const CLOSED = new ClosedError('the test is over')
/** A callback appends again, at most this many times in a row. */
const MAX_DEPTH = 3

/**
 * Appends of all kinds to one partition, from everywhere: concurrently, from callbacks of other
 * appends, inside the call that runs the callbacks, and during syncs, rolls and faults of the disk.
 * Notes what every append was told.
 */
class Session {
  readonly problems: string[] = []
  /** What was acknowledged as durable, by offset. */
  readonly durable = new Map<number, string>()
  appendCount = 0
  readonly #partition: Partition
  readonly #fileSystem: SimulatedFileSystem
  readonly #random: SeededRandom
  readonly #isSyncedEach: boolean
  /** How often each append was told its outcome. */
  readonly #toldCounts: number[] = []
  /**
   * The last offset that a promise resolved with, and that a callback received. Each only rises.
   */
  readonly #lastOffsets = { promised: -1, called: -1 }

  constructor(partition: Partition, fileSystem: SimulatedFileSystem, random: SeededRandom) {
    this.#partition = partition
    this.#fileSystem = fileSystem
    this.#random = random
    this.#isSyncedEach = partition.log.config.flushMessages === 1
  }

  async run(): Promise<void> {
    for (let round = 0; round < 40; round += 1) {
      for (let each = this.#random.integer(4); each >= 0; each -= 1) this.#act(0)
      for (let turn = this.#random.integer(25); turn > 0; turn -= 1) await Promise.resolve()
      if (this.#isOneOf(5)) await nextTurn()
    }
    this.#fileSystem.clearFaults()
  }

  /** Call this when the partition is closed. */
  checkToldOnce(): void {
    for (let id = 0; id < this.appendCount; id += 1) {
      const count = this.#toldCounts[id] ?? 0
      if (count !== 1) this.problems.push(`append ${id} was told ${count} times`)
    }
  }

  #act(depth: number): void {
    const action = this.#random.integer(12)
    if (action < 5) this.#append(depth)
    else if (action < 9) this.#appendBatches(depth)
    else if (action === 9) this.#partition.flush().catch(() => undefined)
    else if (action === 10) this.#partition.log.roll().catch(() => undefined)
    else this.#breakDisk()
  }

  #append(depth: number): void {
    const told = this.#newAppend('promised', depth)
    const record = { value: told.value, timestamp: NOW }
    const records = this.#isOneOf(4) ? [record, { value: 'another', timestamp: NOW }] : record
    this.#partition.append(records, { acks: told.acks }).then(told.resolve, told.reject)
  }

  #appendBatches(depth: number): void {
    const { value, acks, resolve, reject } = this.#newAppend('called', depth)
    const builder = new RecordBatchBuilder({})
    builder.append(NOW, null, Buffer.from(value))
    this.#partition.appendBatches([builder.buildUncompressed()], acks, { resolve, reject })
  }

  #newAppend(
    kind: 'promised' | 'called',
    depth: number,
  ): {
    readonly value: string
    readonly acks: Exclude<Acks, 0>
    readonly resolve: (result: { baseOffset: number }) => void
    readonly reject: () => void
  } {
    const id = this.appendCount
    this.appendCount += 1
    const value = `v${id}`
    const acks = this.#isOneOf(2) ? 1 : 'all'
    const told = (): void => {
      this.#toldCounts[id] = (this.#toldCounts[id] ?? 0) + 1
      if (depth < MAX_DEPTH && this.#isOneOf(3)) this.#act(depth + 1)
    }
    const resolve = ({ baseOffset }: { baseOffset: number }): void => {
      if (acks === 'all') this.#acknowledged(kind, baseOffset, value)
      told()
    }
    return { value, acks, resolve, reject: told }
  }

  #acknowledged(kind: 'promised' | 'called', offset: number, value: string): void {
    const last = this.#lastOffsets[kind]
    if (offset <= last) this.problems.push(`${offset} was told behind ${last}`)
    this.#lastOffsets[kind] = offset
    if (this.#isSyncedEach) this.durable.set(offset, value)
    const { highWatermark, log } = this.#partition
    if (highWatermark > offset || log.failure !== null) return
    this.problems.push(`${offset} was told and is not visible`)
  }

  #breakDisk(): void {
    const kinds = ['write', 'datasync', 'truncate', 'sync', 'open', 'rename'] as const
    const kind = kinds[this.#random.integer(kinds.length)] ?? 'write'
    const choice = this.#random.integer(6)
    if (choice === 0) this.#fileSystem.failNext(kind, this.#isOneOf(2) ? 'EIO' : 'ENOSPC')
    if (choice === 1) {
      this.#fileSystem.shortWriteAt(1 + this.#random.integer(3), this.#random.integer(40))
    }
  }

  #isOneOf(count: number): boolean {
    return this.#random.integer(count) === 0
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

async function valuesIn(fileSystem: SimulatedFileSystem): Promise<Map<number, string>> {
  const partition = await openPartition({ fileSystem })
  const values = new Map<number, string>()
  for (let at = 0; ;) {
    const records = await partition.read(at)
    for (const { offset, value } of records) values.set(offset, String(value))
    const last = records.at(-1)
    if (last === undefined) return values
    at = last.offset + 1
  }
}

/** @returns how many appends there were, and what was wrong */
async function trial(trialSeed: number): Promise<{ appends: number; problems: string[] }> {
  const random = new SeededRandom(trialSeed)
  const completion = (['in-order', 'random', 'awaited'] as const)[random.integer(3)] ?? 'in-order'
  const fileSystem = new SimulatedFileSystem({ completion, seed: trialSeed })
  await fileSystem.createDirectory(DIR)
  for (const path of ['/', '/data']) await fileSystem.syncDirectory(path)
  const partition = await openPartition({
    fileSystem,
    config: {
      segmentBytes: 2000,
      flushMessages: random.integer(3) === 0 ? 5 : 1,
      compressionType: random.integer(4) === 0 ? 'gzip' : 'producer',
      minFreeBytes: random.integer(4) === 0 ? 1 : 0,
    },
  })
  const session = new Session(partition, fileSystem, random)
  await session.run()
  const power = { unsynced: 'lost', seed: trialSeed } as const
  const lost = fileSystem.fork({ seed: trialSeed }).restart('power', power)
  const durable = new Map(session.durable)
  await partition.close(CLOSED).catch(() => undefined)
  await nextTurn()
  session.checkToldOnce()
  const states: [SimulatedFileSystem, Map<number, string>][] = [
    [lost, durable],
    [fileSystem.restart('power', power), session.durable],
  ]
  for (const [state, expected] of states) {
    const found = await valuesIn(state)
    for (const [offset, value] of expected) {
      const is = found.get(offset)
      if (is !== value) session.problems.push(`${value} at ${offset} was told, ${is} is there`)
    }
  }
  return { appends: session.appendCount, problems: session.problems }
}

it('reports every append once and in order, and acknowledges none that a power loss takes', async () => {
  const count = runs({ short: 500, full: 20_000 })
  let appends = 0
  for (let each = 0; each < count; each += 1) {
    const result = await trial(seed + each)
    appends += result.appends
    expect(result.problems, `VARVE_SEED=${seed + each} VARVE_RUNS=1 replays it`).toEqual([])
  }
  report('told appends', { trials: count, appends })
})
