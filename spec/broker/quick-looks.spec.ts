import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const SEGMENTS = 30
/** The interval at which a waiting reader checks for changes. */
const LOOK_MS = 50

let clock: ManualClock
let disk: SimulatedFileSystem
let owner: Broker
let reader: Broker
/** The same partition, as its owner has it and as a reader follows it. */
let owned: Partition
let followed: Partition

beforeEach(async () => {
  clock = new ManualClock()
  disk = new SimulatedFileSystem()
  owner = await Broker.open('/data', { fileSystem: disk, clock })
  const config = { segmentBytes: 250, cleanupPolicy: 'compact,delete' } as const
  owned = (await owner.createTopic('a', config)).partition(0)
  for (let each = 0; each < 2 * SEGMENTS - 1; each += 1) await append()
  reader = await Broker.open('/data', { fileSystem: disk, clock, readOnly: true })
  followed = reader.topic('a').partition(0)
  expect(followed.log.segments).toHaveLength(SEGMENTS)
})

afterEach(async () => {
  await reader.close()
  await owner.close()
})

async function append(): Promise<void> {
  await owned.append({ key: 'k', value: 'x'.repeat(30) })
}

async function appendTwice(): Promise<void> {
  await append()
  await append()
}

/** Waits for what never happens, so that the checks continue. @returns a function that ends it */
function keepLooking(): () => void {
  return followed.onChange(() => undefined)
}

async function pass(looks: number): Promise<void> {
  for (let look = 0; look < looks; look += 1) await clock.advance(LOOK_MS)
}

describe('a log of many segments that a reader refreshes again and again', () => {
  it('checks the size of its last segment at each refresh, and of the others once a second', async () => {
    const stop = keepLooking()
    await pass(20)
    const asked = new Map(followed.log.segments.map(({ path }) => [path, 0]))
    disk.observe(({ kind, path }) => {
      const count = kind === 'stat' ? asked.get(path) : undefined
      if (count !== undefined) asked.set(path, count + 1)
    })
    await pass(60)
    disk.observe(null)
    stop()
    const counts = [...asked.values()]
    expect(counts.pop()).toBeGreaterThanOrEqual(60)
    expect(Math.max(...counts)).toBeLessThanOrEqual(4)
  })

  it.each<[string, () => Promise<unknown>]>([
    ['an append', () => append()],
    ['a roll', () => appendTwice()],
    [
      'many rolls',
      async () => {
        for (let each = 0; each < 20; each += 1) await append()
      },
    ],
    ['a deletion of whole segments', () => owned.deleteRecords(9)],
    ['a deletion inside of a segment', () => owned.deleteRecords(1)],
    ['a deletion of all', () => owned.deleteRecords(owned.highWatermark)],
    ['a cut into the last segment', () => owned.log.truncateTo(2 * SEGMENTS - 2)],
    ['a cut over whole segments', () => owned.log.truncateTo(20)],
    ['a cut into a sealed segment', () => owned.log.truncateTo(21)],
    [
      'a cut that has grown again to where it was',
      async () => {
        await owned.log.truncateTo(21)
        while (owned.highWatermark < 2 * SEGMENTS - 1) await append()
      },
    ],
    ['a compaction', () => owned.compact()],
  ])('shows %s at the next refresh', async (_, change) => {
    const stop = keepLooking()
    for (let look = 0; look < 3; look += 1) {
      await pass(3)
      await change()
      await pass(1)
      const { segments, logStartOffset, logEndOffset } = owned.log
      expect(followed.log.segments).toEqual(segments)
      expect([followed.log.logStartOffset, followed.logEndOffset]).toEqual([
        logStartOffset,
        logEndOffset,
      ])
      await append()
    }
    stop()
  })

  it.each<[string, () => Promise<unknown>]>([
    ['a deletion', () => owned.deleteRecords(9)],
    ['a cut', () => owned.log.truncateTo(21)],
    ['a roll', () => appendTwice()],
    ['a compaction', () => owned.compact()],
  ])('shows %s, whenever it was refreshed meanwhile', async (_, change) => {
    await followed.log.refresh()
    for (let at = 0; at < 20; at += 3) {
      const looks: Promise<unknown>[] = []
      let steps = 0
      disk.observe(({ kind }) => {
        if (kind === 'stat' || kind === 'list' || kind === 'read') return
        steps += 1
        if (steps % 20 === at) looks.push(followed.log.refresh(true))
      })
      await change()
      disk.observe(null)
      await Promise.all(looks)
      expect(await followed.log.refresh(true)).toBeNull()
      expect(followed.log.segments).toEqual(owned.log.segments)
      expect(followed.logEndOffset).toBe(owned.logEndOffset)
      for (let each = 0; each < 10; each += 1) await append()
    }
  })

  it.each<[string, (path: string) => Promise<unknown>]>([
    ['is removed', (path) => disk.unlink(path)],
    [
      'is cut',
      async (path) => {
        const file = await disk.open(path, 'update')
        await file.truncate(10)
        await file.close()
      },
    ],
  ])('ends before a segment that %s by another program, after a second', async (_, strike) => {
    const stop = keepLooking()
    await pass(3)
    const { path, baseOffset } = followed.log.segments[7] ?? expect.fail('it has too few')
    await strike(path)
    await pass(22)
    expect(followed.logEndOffset).toBe(baseOffset)
    await expect(followed.read(baseOffset)).rejects.toThrow(CorruptRecordError)
    stop()
  })
})
