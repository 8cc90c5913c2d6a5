import { expect, it } from 'vitest'
import type { File, FileSystem } from '../../lib/platform/file-system.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { SMALL, openLog, valuesOf, valuesUpTo } from './log-fixtures.ts'

const FOUND = 3
const ADDED = 4

/** What another process sees of the disk, in which something happens before operation `turn`, from 0 on. */
class Interrupted {
  readonly fileSystem: FileSystem
  count = 0
  readonly #turn: number
  readonly #happen: () => Promise<void>

  constructor(disk: SimulatedFileSystem, turn: number, happen: () => Promise<void>) {
    this.#turn = turn
    this.#happen = happen
    const operation: Operation = (run) => this.#operation(run)
    const seen: Partial<FileSystem> = {
      list: (path) => operation(() => disk.list(path)),
      stat: (path) => operation(() => disk.stat(path)),
      open: (path, mode) =>
        operation(async () => asynchronous(await disk.open(path, mode), operation)),
    }
    this.fileSystem = new Proxy<FileSystem>(disk, {
      get(_, name) {
        const value: unknown = Reflect.get(seen, name) ?? Reflect.get(disk, name)
        return typeof value === 'function' ? (value.bind(disk) as unknown) : value
      },
    })
  }

  async #operation<T>(run: () => Promise<T>): Promise<T> {
    if (this.count++ === this.#turn) await this.#happen()
    return run()
  }
}

type Operation = <T>(run: () => Promise<T>) => Promise<T>

/** Without its synchronous methods: nothing happens in the middle of those. */
function asynchronous(file: File, operation: Operation): File {
  return {
    path: file.path,
    read: (buffer, position) => operation(() => file.read(buffer, position)),
    stat: () => operation(() => file.stat()),
    close: () => operation(() => file.close()),
    write: (buffers, position) => file.write(buffers, position),
    truncate: (sizeBytes) => file.truncate(sizeBytes),
    datasync: () => file.datasync(),
    sync: () => file.sync(),
  }
}

async function append(log: Log, from: number, until: number): Promise<void> {
  for (let each = from; each < until; each += 1) await log.append([{ value: `v${each}` }])
}

it.each([
  ['into one segment', { segmentBytes: 2 ** 20 }],
  ['into new segments', SMALL],
])('opens and follows a log whose writer appends %s at any moment', async (_, config) => {
  let turn = 0
  for (let operations = Infinity; turn < operations; turn += 1) {
    const fs = new SimulatedFileSystem()
    const writer = await openLog(fs, { config })
    await append(writer, 0, FOUND)
    const beside = new Interrupted(fs, turn, () => append(writer, FOUND, FOUND + ADDED))
    const follower = await openLog(beside.fileSystem, { config, readOnly: true })
    expect(follower.damage, `the writer appends before operation ${turn}`).toBe(null)
    await follower.refresh()
    operations = beside.count
    if (operations <= turn) await append(writer, FOUND, FOUND + ADDED)
    await follower.refresh()
    expect(follower.damage, `the writer appends before operation ${turn}`).toBe(null)
    expect(await valuesOf(follower), `before operation ${turn}`).toEqual(valuesUpTo(FOUND + ADDED))
  }
  expect(turn).toBeGreaterThan(10)
})
