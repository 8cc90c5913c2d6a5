import { describe, expect, it } from 'vitest'
import type { File } from '../../lib/platform/file-system.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { seenThrough } from '../helpers/seen-through.ts'
import { NOW, openLog, pathOf, SMALL } from './log-fixtures.ts'

const LARGE = { segmentBytes: 10_000_000 }
/** So many reads are each followed by an append; a search that chased those would use them all. */
const MOST_READS = 50

describe('a search by time during appends', () => {
  it('does not chase records that are appended meanwhile, which a later search finds', async () => {
    const disk = new SimulatedFileSystem({ seed: 1 })
    const before = await openLog(disk, { config: LARGE })
    for (let each = 0; each < 8; each += 1) {
      await before.append([{ value: 'x'.repeat(40_000), timestamp: NOW }])
    }
    await before.close()
    let reads = 0
    const appends: Promise<unknown>[] = []
    let log: Log | null = null
    const file = (opened: File): File =>
      new Proxy(opened, {
        get(target, name) {
          if (name === 'readNow') return undefined
          if (name === 'read') {
            return async (buffer: Buffer, position: number) => {
              const count = await target.read(buffer, position)
              reads += 1
              const timestamp = NOW + reads
              if (log !== null && reads < MOST_READS) {
                appends.push(log.append([{ value: 'y', timestamp }]))
              }
              return count
            }
          }
          const value: unknown = Reflect.get(target, name)
          return typeof value === 'function' ? (value.bind(target) as unknown) : value
        },
      })
    const fileSystem = seenThrough(disk, {
      open: async (path, mode) => {
        const opened = await disk.open(path, mode)
        return path.endsWith('.log') ? file(opened) : opened
      },
    })
    log = await openLog(fileSystem, { config: LARGE })
    reads = 0
    await log.offsetForTimestamp(NOW + 1000)
    expect(reads).toBeLessThan(MOST_READS)
    await Promise.all(appends)
    expect(appends.length).toBeGreaterThan(5)
    const last = NOW + appends.length
    expect(await log.offsetForTimestamp(last)).toMatchObject({ timestamp: last })
    await log.close()
  })
})

describe('a search by time in a log of many segments', () => {
  /** More than stay open. */
  const SEGMENTS = 50

  /** Two records per segment, each a second later than the previous one. */
  async function makeLog(disk: SimulatedFileSystem): Promise<Log> {
    const log = await openLog(disk, { config: SMALL })
    for (let each = 0; each < 2 * SEGMENTS; each += 1) await add(log, each)
    expect(log.segments).toHaveLength(SEGMENTS)
    return log
  }

  async function add(log: Log, second: number): Promise<void> {
    await log.append([
      { key: `${second % 2}`, value: 'x'.repeat(20), timestamp: NOW + second * 1000 },
    ])
  }

  async function search(log: Log, second: number): Promise<number | null> {
    return (await log.offsetForTimestamp(NOW + second * 1000))?.offset ?? null
  }

  it('opens no segment again that is known to be older, even after further appends', async () => {
    const disk = new SimulatedFileSystem()
    const log = await makeLog(disk)
    const last = 2 * SEGMENTS - 1
    expect(await search(log, last)).toBe(last)
    const opened = new Set<string>()
    disk.observe(({ kind, path }) => {
      if (kind === 'open') opened.add(path)
    })
    expect(await search(log, last)).toBe(last)
    expect(await search(log, last + 1)).toBeNull()
    expect([...opened]).toEqual([])
    const older = log.segments.slice(0, -1).map(({ baseOffset }) => pathOf(baseOffset))
    for (let each = last + 1; each <= last + 4; each += 1) await add(log, each)
    expect(await search(log, last + 4)).toBe(last + 4)
    expect(await search(log, last + 1)).toBe(last + 1)
    expect(await search(log, last + 5)).toBeNull()
    expect(older.filter((path) => opened.has(path))).toEqual([])
    disk.observe(null)
    expect(await search(log, 7)).toBe(7)
    await log.close()
  })

  it('finds records that were appended after a truncation', async () => {
    const log = await makeLog(new SimulatedFileSystem())
    expect(await search(log, 2 * SEGMENTS)).toBeNull()
    await log.truncateTo(11)
    expect(await search(log, 20)).toBeNull()
    expect(await search(log, 10)).toBe(10)
    for (let each = 0; each < 9; each += 1) await add(log, 50 + each)
    expect(await search(log, 20)).toBe(11)
    expect(await search(log, 55)).toBe(16)
    await log.close()
  })

  it('finds records that the writer of a followed log has appended after a truncation', async () => {
    const disk = new SimulatedFileSystem()
    const writer = await makeLog(disk)
    const reader = await openLog(disk, { config: SMALL, readOnly: true })
    expect(await search(reader, 2 * SEGMENTS)).toBeNull()
    await writer.truncateTo(11)
    for (let each = 0; each < 9; each += 1) await add(writer, 200 + each)
    await reader.refresh()
    expect(await search(reader, 150)).toBe(11)
    expect(await search(reader, 204)).toBe(15)
    await reader.close()
    await writer.close()
  })
})
