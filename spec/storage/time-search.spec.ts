import { describe, expect, it } from 'vitest'
import type { File } from '../../lib/platform/file-system.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { seenThrough } from '../helpers/seen-through.ts'
import { NOW, openLog } from './log-fixtures.ts'

const LARGE = { segmentBytes: 10_000_000 }
/** Whoever appends between any two reads of a search has appended enough by then. */
const MOST_READS = 50

describe('a search by time beside appends', () => {
  it('looks once at what is there, and finds what has come meanwhile', async () => {
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
