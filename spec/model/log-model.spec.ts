import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OffsetOutOfRangeError } from '../../lib/errors.ts'
import { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { anyShare } from '../helpers/any-share.ts'
import { modelRuns } from './model-runs.ts'

/** A log as a plain array: the records that must be read, and the offsets that were truncated. */
interface Model {
  records: { offset: number; value: string; timestamp: number }[]
  nextOffset: number
}

/** The log under test, with everything needed to reopen it. */
interface Real {
  fileSystem: SimulatedFileSystem
  clock: ManualClock
  log: Log
  segmentBytes: number
}

type LogCommand = fc.AsyncCommand<Model, Real>

const DIR = '/data/orders-0'

function openLog(real: Omit<Real, 'log'>): Promise<Log> {
  const { fileSystem, clock, segmentBytes } = real
  const config = { segmentBytes, indexIntervalBytes: 40, segmentIndexBytes: 64 }
  return Log.open(DIR, { fileSystem, clock, config })
}

async function readAll(log: Log, from: number, maxBytes: number): Promise<Model['records']> {
  const found: Model['records'] = []
  for (let offset = from; offset < log.logEndOffset;) {
    const records = await log.read(offset, maxBytes)
    if (records.length === 0) break
    for (const { offset: at, value, timestamp } of records) {
      found.push({ offset: at, value: value?.toString() ?? '', timestamp })
    }
    offset = (records.at(-1)?.offset ?? offset) + 1
  }
  return found
}

async function expectSame(model: Model, { log }: Real): Promise<void> {
  expect(log.logEndOffset).toBe(model.nextOffset)
  expect(await readAll(log, 0, 1000)).toEqual(model.records)
}

class Append implements LogCommand {
  readonly values: readonly { value: string; timestamp: number }[]
  constructor(values: readonly { value: string; timestamp: number }[]) {
    this.values = values
  }
  check = (): boolean => true
  async run(model: Model, { log }: Real): Promise<void> {
    const result = await log.append(this.values)
    expect(result.baseOffset).toBe(model.nextOffset)
    for (const each of this.values) {
      model.records.push({ ...each, offset: model.nextOffset })
      model.nextOffset += 1
    }
    expect(result.lastOffset).toBe(model.nextOffset - 1)
  }
  toString = (): string => `append(${JSON.stringify(this.values)})`
}

class Read implements LogCommand {
  readonly share: number
  readonly maxBytes: number
  constructor(share: number, maxBytes: number) {
    this.share = share
    this.maxBytes = maxBytes
  }
  check = (): boolean => true
  async run(model: Model, { log }: Real): Promise<void> {
    const offset = Math.round(this.share * (model.nextOffset + 1))
    if (offset > model.nextOffset) {
      await expect(log.read(offset)).rejects.toThrow(OffsetOutOfRangeError)
      return
    }
    const expected = model.records.filter((record) => record.offset >= offset)
    expect(await readAll(log, offset, this.maxBytes)).toEqual(expected)
  }
  toString = (): string => `read(${this.share}, ${this.maxBytes})`
}

class FindTime implements LogCommand {
  readonly timestamp: number
  constructor(timestamp: number) {
    this.timestamp = timestamp
  }
  check = (): boolean => true
  async run(model: Model, { log }: Real): Promise<void> {
    const expected = model.records.find((record) => record.timestamp >= this.timestamp)
    const found = await log.offsetForTimestamp(this.timestamp)
    expect(found?.offset).toBe(expected?.offset)
  }
  toString = (): string => `offsetForTimestamp(${this.timestamp})`
}

class Truncate implements LogCommand {
  readonly share: number
  constructor(share: number) {
    this.share = share
  }
  check = (model: Readonly<Model>): boolean => model.records.length > 0
  async run(model: Model, real: Real): Promise<void> {
    const offset = Math.round(this.share * model.nextOffset)
    // The whole batch that holds the offset is lost. Only the log knows where it begins.
    const batches = await real.log.reader.readBatches(offset, { maxBytes: 1 })
    const first = Math.min(offset, batches[0]?.baseOffset ?? offset)
    await real.log.truncateTo(offset)
    model.records = model.records.filter((record) => record.offset < first)
    model.nextOffset = offset
    await expectSame(model, real)
  }
  toString = (): string => `truncateTo(${this.share})`
}

class Call implements LogCommand {
  readonly name: 'roll' | 'flush' | 'checkpoint'
  constructor(name: 'roll' | 'flush' | 'checkpoint') {
    this.name = name
  }
  check = (): boolean => true
  async run(model: Model, real: Real): Promise<void> {
    await real.log[this.name]()
    expect(real.log.logEndOffset).toBe(model.nextOffset)
  }
  toString = (): string => this.name
}

class Reopen implements LogCommand {
  check = (): boolean => true
  async run(model: Model, real: Real): Promise<void> {
    await real.log.close()
    real.log = await openLog(real)
    expect(real.log.recovery).toEqual({
      truncations: [],
      rebuiltIndexes: [],
      failedSyncOffset: null,
      damage: null,
    })
    await expectSame(model, real)
  }
  toString = (): string => 'close and reopen'
}

class Crash implements LogCommand {
  readonly kind: 'process' | 'power'
  readonly seed: number
  constructor(kind: 'process' | 'power', seed: number) {
    this.kind = kind
    this.seed = seed
  }
  check = (): boolean => true
  async run(model: Model, real: Real): Promise<void> {
    real.fileSystem = real.fileSystem.restart(this.kind, { unsynced: 'random', seed: this.seed })
    real.log = await openLog(real)
    expect(real.log.damage).toBeNull()
    await expectSame(model, real)
  }
  toString = (): string => `crash(${this.kind}, ${this.seed})`
}

class CrashWhileAppending implements LogCommand {
  readonly values: readonly { value: string; timestamp: number }[]
  readonly at: number
  readonly seed: number
  constructor(values: readonly { value: string; timestamp: number }[], at: number, seed: number) {
    this.values = values
    this.at = at
    this.seed = seed
  }
  check = (): boolean => true
  async run(model: Model, real: Real): Promise<void> {
    real.fileSystem.crashAt(this.at, { when: 'torn' })
    const isAppended = await real.log.append(this.values).then(
      () => true,
      () => false,
    )
    real.fileSystem = real.fileSystem.restart('power', { unsynced: 'random', seed: this.seed })
    real.log = await openLog(real)
    expect(real.log.damage).toBeNull()
    // An append that was not acknowledged promises only that batches are complete.
    const before = model.nextOffset
    const arrived = real.log.logEndOffset - before
    expect(arrived).toBeGreaterThanOrEqual(isAppended ? this.values.length : 0)
    expect(arrived).toBeLessThanOrEqual(this.values.length)
    for (const each of this.values.slice(0, arrived)) {
      model.records.push({ ...each, offset: model.nextOffset })
      model.nextOffset += 1
    }
    await expectSame(model, real)
  }
  toString = (): string =>
    `crash while appending(${JSON.stringify(this.values)}, ${this.at}, ${this.seed})`
}

const values = fc.array(
  fc.record({ value: fc.string({ maxLength: 30 }), timestamp: fc.integer({ min: 0, max: 1000 }) }),
  { minLength: 1, maxLength: 6 },
)

const commands: fc.Arbitrary<fc.AsyncCommand<Model, Real>>[] = [
  values.map((each) => new Append(each)),
  values.map((each) => new Append(each)),
  fc
    .tuple(anyShare, fc.integer({ min: 1, max: 600 }))
    .map(([at, maxBytes]) => new Read(at, maxBytes)),
  fc.integer({ min: 0, max: 1001 }).map((timestamp) => new FindTime(timestamp)),
  anyShare.map((at) => new Truncate(at)),
  fc
    .constantFrom('roll' as const, 'flush' as const, 'checkpoint' as const)
    .map((name) => new Call(name)),
  fc.constant(new Reopen()),
  fc
    .tuple(fc.constantFrom('process' as const, 'power' as const), fc.nat(1000))
    .map(([kind, seed]) => new Crash(kind, seed)),
  fc
    .tuple(values, fc.integer({ min: 1, max: 12 }), fc.nat(1000))
    .map(([each, at, seed]) => new CrashWhileAppending(each, at, seed)),
]

describe('a log', () => {
  it('agrees with a plain array after any sequence of operations and crashes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.commands(commands, { maxCommands: 25 }),
        fc.constantFrom(150, 400, 5000),
        async (sequence, segmentBytes) => {
          await fc.asyncModelRun(async () => {
            const setup = {
              fileSystem: new SimulatedFileSystem(),
              clock: new ManualClock(),
              segmentBytes,
            }
            return {
              model: { records: [], nextOffset: 0 },
              real: { ...setup, log: await openLog(setup) },
            }
          }, sequence)
        },
      ),
      modelRuns(500),
    )
  }, 0)
})
