import { describe, expect, it } from 'vitest'
import type { File, FileSystem } from '../../lib/platform/file-system.ts'
import { Log } from '../../lib/storage/log.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, NOW, pathOf, readAll } from './log-fixtures.ts'

/** A promise that resolves when it is opened. */
class Gate {
  readonly opened: Promise<void>
  open: () => void = () => undefined

  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = resolve
    })
  }
}

/** Calls of a disk that a test holds: each is made once the returned promise resolves. */
interface Held {
  unlink?: (path: string) => Promise<void>
  /** After the read. */
  read?: (path: string) => Promise<void>
}

/** A disk some of whose calls take as long as a test wants. */
class SlowDisk {
  held: Held = {}
  readonly fileSystem: FileSystem
  readonly #disk = new SimulatedFileSystem({ seed: 1 })

  constructor() {
    this.fileSystem = new Proxy<FileSystem>(this.#disk, {
      get: (disk, name) => {
        if (name === 'unlink') {
          return async (path: string): Promise<void> => {
            await this.held.unlink?.(path)
            await disk.unlink(path)
          }
        }
        if (name === 'open') {
          return async (...args: Parameters<FileSystem['open']>): Promise<File> =>
            this.#slow(await disk.open(...args), args[0])
        }
        const value: unknown = Reflect.get(disk, name)
        return typeof value === 'function' ? (value.bind(disk) as unknown) : value
      },
    })
  }

  #slow(file: File, path: string): File {
    return new Proxy(file, {
      get: (target, name) => {
        if (name === 'readNow') {
          return (...args: Parameters<NonNullable<File['readNow']>>): number =>
            this.held.read === undefined ? (target.readNow?.(...args) ?? -1) : -1
        }
        if (name === 'read') {
          return async (...args: Parameters<File['read']>): Promise<number> => {
            const count = await target.read(...args)
            await this.held.read?.(path)
            return count
          }
        }
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      },
    })
  }
}

async function openTable(disk: SlowDisk): Promise<Log> {
  const config = { cleanupPolicy: 'compact', deleteRetentionMs: 1000 } as const
  const options = { fileSystem: disk.fileSystem, config, clock: new ManualClock(NOW) }
  return Log.open(DIR, options)
}

const compact = (log: Log) => log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 1024 * 1024 })

describe('a compaction pass during a truncation', () => {
  it('reports nothing as covered if the truncation removes segments between its two reads', async () => {
    const disk = new SlowDisk()
    const log = await openTable(disk)
    for (const value of ['1', '2', '3']) await log.append([{ key: 'a', value }])
    await log.roll()
    await log.append([{ key: 'd', value: '1' }])
    await log.roll()
    await log.append([{ key: 'e', value: '1' }])
    const [reading, unlinking, done] = [new Gate(), new Gate(), new Gate()]
    disk.held.read = async (path) => {
      if (path !== pathOf(3)) return
      reading.open()
      await unlinking.opened
    }
    const pass = compact(log)
    await reading.opened
    disk.held.unlink = async (path) => {
      if (!path.endsWith('.log')) return
      unlinking.open()
      await done.opened
    }
    const cut = log.truncateTo(2)
    const report = await pass
    done.open()
    await cut
    expect(report.endOffset).toBe(0)
    disk.held = {}
    await log.roll()
    await compact(log)
    expect((await readAll(log)).map(({ offset }) => offset)).toEqual([1])
    await log.close()
  })
})
