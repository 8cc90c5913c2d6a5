import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { VarveError } from '../../lib/errors.ts'
import type { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, NOW, openLog } from './log-fixtures.ts'

/**
 * Every file of a log and of a broker's directory, damaged in every way that can be listed. Of what
 * was acknowledged nothing may come back wrong or be missing without an error that says so.
 */
const CONFIG = { segmentBytes: 2000, indexIntervalBytes: 256 }

/** What a reader is told: each record by its offset, and whether there was an error. */
interface Answer {
  readonly records: ReadonlyMap<number, string>
  readonly isTold: boolean
}

type Damage = [string, (bytes: Buffer) => Buffer]

/** A log of three segments, plain and compressed, one batch a record and some with several. */
async function closedLog(): Promise<{ fs: SimulatedFileSystem; end: number }> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  for (const compressionType of ['uncompressed', 'gzip'] as const) {
    const log = await openLog(fs, { config: { ...CONFIG, compressionType } })
    for (let each = 0; each < 9; each += 1) {
      const values = Array.from({ length: 1 + (each % 4) }, (_, slot) => `${each}.${slot}`)
      await log.append(
        values.map((value, slot) => {
          return { key: `k${each}`, value: value.padEnd(110, 'x'), timestamp: NOW + each + slot }
        }),
      )
    }
    await log.close()
  }
  const log = await openLog(fs.fork(), { config: CONFIG })
  expect(log.segments.length).toBeGreaterThanOrEqual(3)
  expect(log.size).toBeGreaterThan(3500)
  return { fs, end: log.logEndOffset }
}

async function answerOf(log: Log, end: number): Promise<Answer> {
  const records = new Map<number, string>()
  let isTold = log.damage !== null || log.recovery.truncations.length > 0
  if (log.logEndOffset !== end && !isTold) throw new Error(`the log ends at ${log.logEndOffset}`)
  for (let offset = log.logStartOffset; offset < log.logEndOffset;) {
    try {
      const read = await log.read(offset, 10_000)
      for (const record of read) records.set(record.offset, record.value?.toString() ?? '')
      offset = (read.at(-1)?.offset ?? offset) + 1
    } catch (error) {
      if (!(error instanceof VarveError)) throw error
      isTold = true
      offset += 1
    }
  }
  return { records, isTold }
}

function* every(bytes: Buffer, step: number): Generator<Damage> {
  const changed = (edit: (copy: Buffer) => void) => (old: Buffer) => {
    const copy = Buffer.from(old)
    edit(copy)
    return copy
  }
  for (let at = 0; at < bytes.length; at += 1) {
    if (step === 1 || at % step < 2 || at < 24) {
      yield [
        `bit ${at % 8} of byte ${at}`,
        changed((copy) => (copy[at] = (copy[at] ?? 0) ^ (1 << (at % 8)))),
      ]
      yield [`byte ${at} to 0`, changed((copy) => (copy[at] = 0))]
      yield [`byte ${at} to FF`, changed((copy) => (copy[at] = 0xff))]
    }
    if (at % step === 0) yield [`length ${at}`, (old) => old.subarray(0, at)]
  }
  for (let at = 0; at < bytes.length; at += 512) {
    yield [`zeros at ${at}`, changed((copy) => copy.fill(0, at, Math.min(at + 512, copy.length)))]
  }
}

/** Where the batches of a log file begin, and its end. */
function batchesOf(bytes: Buffer): number[] {
  const starts = [0]
  for (let at = 0; at < bytes.length; starts.push(at)) at += bytes.readInt32BE(at + 8) + 12
  return starts
}

/** Two neighbours swapped, and each batch once more behind itself. */
function* displaced(bytes: Buffer): Generator<Damage> {
  const starts = batchesOf(bytes)
  for (const [slot, start] of starts.entries()) {
    const [end = 0, behind] = [starts[slot + 1], starts[slot + 2]]
    if (end === 0) return
    const [head, batch, rest] = [
      bytes.subarray(0, start),
      bytes.subarray(start, end),
      bytes.subarray(end),
    ]
    yield [`batch at ${start} twice`, () => Buffer.concat([head, batch, batch, rest])]
    if (behind === undefined) return
    const next = bytes.subarray(end, behind)
    yield [
      `batch at ${start} swapped`,
      () => Buffer.concat([head, next, batch, bytes.subarray(behind)]),
    ]
  }
}

describe('a log that was closed in order', () => {
  it(
    'tells of every change to a log file, or shows what was written',
    { timeout: 120_000 },
    async () => {
      const { fs, end } = await closedLog()
      const expected = (await answerOf(await openLog(fs.fork(), { config: CONFIG }), end)).records
      let count = 0
      for (const [path, bytes] of fs.snapshot()) {
        if (!path.endsWith('.log')) continue
        for (const [name, edit] of [...every(bytes, 13), ...displaced(bytes)]) {
          const damaged = fs.fork()
          damaged.writeFile(path, edit(bytes))
          const { records, isTold } = await answerOf(
            await openLog(damaged, { config: CONFIG }),
            end,
          )
          for (const [offset, value] of records) {
            expect(value, `${name} of ${path}`).toBe(expected.get(offset))
          }
          if (!isTold) expect(records.size, `${name} of ${path}`).toBe(expected.size)
          count += 1
        }
      }
      expect(count).toBeGreaterThan(1000)
    },
  )

  it('shows the same whatever happens to a file that helps', { timeout: 120_000 }, async () => {
    const { fs, end } = await closedLog()
    const expected = (await answerOf(await openLog(fs.fork(), { config: CONFIG }), end)).records
    for (const [path, bytes] of fs.snapshot()) {
      if (path.endsWith('.log') || bytes.length === 0) continue
      for (const [name, edit] of every(bytes, 5)) {
        const damaged = fs.fork()
        damaged.writeFile(path, edit(bytes))
        const { records, isTold } = await answerOf(await openLog(damaged, { config: CONFIG }), end)
        expect(isTold, `${name} of ${path}`).toBe(false)
        expect([...records], `${name} of ${path}`).toEqual([...expected])
      }
    }
    expect(fs.snapshot().has(`${DIR}/varve-segments`)).toBe(true)
  })
})

describe("a broker's directory", () => {
  const open = (fileSystem: SimulatedFileSystem): Promise<Broker> =>
    Broker.open('/data', { fileSystem, clock: new ManualClock(NOW), random: new SeededRandom(1) })

  it('opens as it was, or says what is damaged', { timeout: 240_000 }, async () => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const broker = await open(fs)
    const topic = await broker.createTopic('t')
    for (const value of ['a', 'b', 'c']) await topic.partition(0).append({ value })
    const consumer = broker.consumer({ groupId: 'g' })
    consumer.assign([{ topic: 't', partition: 0 }])
    await consumer.commit([{ topic: 't', partition: 0, offset: 2 }])
    await broker.close()
    let refused = 0
    for (const [path, bytes] of fs.snapshot()) {
      for (const [name, edit] of every(bytes, 29)) {
        const damaged = fs.fork()
        damaged.writeFile(path, edit(bytes))
        const context = `${name} of ${path}`
        let found: Broker
        try {
          found = await open(damaged)
        } catch (error) {
          expect(error, context).toBeInstanceOf(VarveError)
          refused += 1
          continue
        }
        const { partitions } = found.topic('t')
        const values: string[] = []
        const log = partitions[0]?.log
        const isTold = log?.damage != null
        for (let offset = 0; offset < 3; offset += 1) {
          try {
            const [record] = (await log?.read(offset, 1)) ?? []
            values.push(String(record?.value))
          } catch (error) {
            expect(error, context).toBeInstanceOf(VarveError)
            values.push('told')
          }
        }
        values.forEach((value, slot) => {
          expect(['told', 'abc'[slot]], context).toContain(value)
        })
        if (isTold) expect(values, context).toContain('told')
        const groups = found.describe().groups
        const text = JSON.stringify(groups)
        expect(text, context).toContain('"offset":2')
        await found.close()
      }
    }
    expect(refused).toBeGreaterThan(50)
  })
})
