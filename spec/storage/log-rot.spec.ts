import { expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import type { StoredRecord } from '../../lib/record/decode.ts'
import type { Log } from '../../lib/storage/log.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { NOW, openLog, writtenLog } from './log-fixtures.ts'

const COUNT = 7
const CONFIG = { segmentBytes: 300, indexIntervalBytes: 64 }

/** Every record by its offset, and the result of every search by time, or that there was damage. */
async function answersOf(log: Log): Promise<{ reads: unknown[]; searches: unknown[] }> {
  const reads: unknown[] = []
  for (let offset = 0; offset < COUNT; offset += 1) {
    reads.push(await log.read(offset, 1).then(textOf, orDamage))
  }
  const searches: unknown[] = []
  for (let time = NOW - 1; time <= NOW + COUNT; time += 1) {
    searches.push(await log.offsetForTimestamp(time).catch(orDamage))
  }
  return { reads, searches }
}

function textOf(records: readonly StoredRecord[]): string {
  return records
    .map(({ offset, value, timestamp }) => `${offset} ${String(value)} ${timestamp}`)
    .join()
}

function orDamage(error: unknown): CorruptRecordError {
  if (error instanceof CorruptRecordError) return error
  throw error
}

/** The paths in a closed log that match, each with its size. */
function filesOf(fs: SimulatedFileSystem, pattern: RegExp): (readonly [string, number])[] {
  return [...fs.snapshot()]
    .filter(([path]) => pattern.test(path))
    .map(([path, bytes]) => [path, bytes.length] as const)
}

async function sound(config = CONFIG): Promise<{
  fs: SimulatedFileSystem
  answers: Awaited<ReturnType<typeof answersOf>>
}> {
  const fs = await writtenLog(COUNT, { config })
  return { fs, answers: await answersOf(await openLog(fs.fork(), { config })) }
}

/** `step`: the distance between the bits that are flipped. */
it.each([
  ['', { config: CONFIG, removed: /^$/, step: 1 }],
  [
    ' without entries in its offset index',
    { config: { ...CONFIG, indexIntervalBytes: 4096 }, removed: /^$/, step: 3 },
  ],
  [' without its indexes', { config: CONFIG, removed: /index$/, step: 3 }],
])('a flipped bit in a log file%s is reported or changes no result', async (_, given) => {
  const { config, removed, step } = given
  const { fs, answers } = await sound(config)
  for (const [path] of filesOf(fs, removed)) await fs.unlink(path)
  for (const [path, sizeBytes] of filesOf(fs, /\.log$/)) {
    for (let bit = 0; bit < sizeBytes * 8; bit += step) {
      const damaged = fs.fork()
      damaged.flipBit(path, bit >> 3, bit & 7)
      const found = await answersOf(await openLog(damaged, { config }))
      const context = `bit ${bit} of ${path}`
      for (const [offset, read] of found.reads.entries()) {
        if (read instanceof CorruptRecordError) continue
        expect(read, context).toBe(answers.reads[offset])
      }
      for (const [slot, search] of found.searches.entries()) {
        if (search instanceof CorruptRecordError) continue
        expect(search, context).toEqual(answers.searches[slot])
      }
    }
  }
})

it('a flipped bit in an index changes no result', async () => {
  const { fs, answers } = await sound()
  const files = filesOf(fs, /index$/)
  expect(files.reduce((sum, [, sizeBytes]) => sum + sizeBytes, 0)).toBeGreaterThan(60)
  for (const [path, sizeBytes] of files) {
    for (let bit = 0; bit < sizeBytes * 8; bit += 1) {
      const damaged = fs.fork()
      damaged.flipBit(path, bit >> 3, bit & 7)
      const log = await openLog(damaged, { config: CONFIG })
      expect(await answersOf(log), `bit ${bit} of ${path}`).toEqual(answers)
      // A wrong index must not prevent writes either.
      await log.append([{ value: 'a', timestamp: NOW + 50 }])
      await log.append([{ value: 'b', timestamp: NOW + 51 }])
      expect((await log.offsetForTimestamp(NOW + 51))?.offset).toBe(COUNT + 1)
    }
  }
})

it('an index file of any length changes no result', async () => {
  const { fs, answers } = await sound()
  for (const [path, sizeBytes] of filesOf(fs, /index$/)) {
    for (let length = 0; length <= sizeBytes + 30; length += 1) {
      const damaged = fs.fork()
      const bytes = Buffer.concat([fs.readFile(path), Buffer.alloc(30)]).subarray(0, length)
      damaged.writeFile(path, bytes)
      const log = await openLog(damaged, { config: CONFIG })
      expect(await answersOf(log), `${length} bytes of ${path}`).toEqual(answers)
    }
  }
})

it('a damaged checkpoint file changes no read', async () => {
  const { fs, answers } = await sound()
  for (const [path, sizeBytes] of filesOf(fs, /(epoch|recovery-point-offset)-checkpoint$/)) {
    for (let position = 0; position < sizeBytes; position += 1) {
      const damaged = fs.fork()
      damaged.flipBit(path, position, position % 8)
      const found = await answersOf(await openLog(damaged, { config: CONFIG }))
      expect(found.reads, `byte ${position} of ${path}`).toEqual(answers.reads)
    }
  }
})
