import { describe, expect, it } from 'vitest'
import type { TopicConfig } from '../../lib/config.ts'
import type { File, FileSystem } from '../../lib/platform/file-system.ts'
import type { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { SMALL, openLog, pathOf, upTo, valuesOf, valuesUpTo } from './log-fixtures.ts'

const PREALLOCATED: TopicConfig = { segmentBytes: 2 ** 20, preallocate: true }
const FOUND = 3
const ADDED = 4
/** A reader that needs more would only end because the writer is idle. */
const MOST_OPERATIONS = 2_000

/** Another process' view of the disk, with an interruption before each operation from `turn` on. */
class Interrupted {
  readonly fileSystem: FileSystem
  count = 0
  readonly #turn: number
  readonly #happen: (step: number) => Promise<void>

  constructor(disk: SimulatedFileSystem, turn: number, happen: (step: number) => Promise<void>) {
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
    const step = this.count - this.#turn
    this.count += 1
    if (step >= 0) await this.#happen(step)
    return run()
  }
}

type Operation = <T>(run: () => Promise<T>) => Promise<T>

/** Without its synchronous methods: nothing can happen in the middle of those. */
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

async function append(log: Log, from: number, until: number, keyBytes: number): Promise<void> {
  const key = 'k'.repeat(keyBytes)
  for (let each = from; each < until; each += 1) await log.append([{ key, value: `v${each}` }])
}

function appendMore(log: Log, count: number): Promise<void> {
  return append(log, log.logEndOffset, log.logEndOffset + count, 1)
}

/**
 * Opens the log in a reader while its writer acts before operation `turn`, and expects to see all
 * of it.
 *
 * @returns how many operations the open takes.
 */
async function expectFollowed(
  fs: SimulatedFileSystem,
  { config, turn, goOn }: { config: TopicConfig; turn: number; goOn: () => Promise<void> },
): Promise<number> {
  const beside = new Interrupted(fs, turn, (step) => (step === 0 ? goOn() : Promise.resolve()))
  const follower = await openLog(beside.fileSystem, { config, readOnly: true })
  const where = `the writer goes on before operation ${turn}`
  expect(follower.damage, where).toBe(null)
  const operations = beside.count
  if (operations <= turn) await goOn()
  await follower.refresh()
  await follower.refresh()
  expect(follower.damage, where).toBe(null)
  expect(await valuesOf(follower), where).toEqual(valuesUpTo(FOUND + ADDED))
  return operations
}

const CONFIGS: readonly [string, TopicConfig, number][] = [
  ['one segment', { segmentBytes: 2 ** 20 }, 1],
  ['new segments', SMALL, 1],
  ['what was preallocated', PREALLOCATED, 1],
  ['more than was preallocated', PREALLOCATED, 1500],
  ['new segments that are preallocated', { segmentBytes: 9000, preallocate: true }, 2000],
]

describe.each(CONFIGS)('a log whose writer appends to %s', (_, config, keyBytes) => {
  it.each([
    ['at once', ADDED],
    ['one by one', 1],
  ])('can be opened and followed meanwhile, with records appended %s', async (__, stride) => {
    let turn = 0
    for (let operations = Infinity; turn < operations; turn += 1) {
      const fs = new SimulatedFileSystem()
      const writer = await openLog(fs, { config })
      await append(writer, 0, FOUND, keyBytes)
      const beside = new Interrupted(fs, turn, async (step) => {
        const from = Math.min(FOUND + step * stride, FOUND + ADDED)
        if (from !== writer.logEndOffset) return
        await append(writer, from, Math.min(from + stride, FOUND + ADDED), keyBytes)
      })
      const where = `the writer appends before operation ${turn}`
      const follower = await openLog(beside.fileSystem, { config, readOnly: true })
      expect(follower.damage, where).toBe(null)
      await follower.refresh()
      operations = beside.count
      await append(writer, writer.logEndOffset, FOUND + ADDED, keyBytes)
      await follower.refresh()
      await follower.refresh()
      expect(follower.damage, where).toBe(null)
      expect(await valuesOf(follower), where).toEqual(valuesUpTo(FOUND + ADDED))
    }
    expect(turn).toBeGreaterThan(10)
  })
})

const RESTLESS: readonly [string, TopicConfig, number, (log: Log) => Promise<void>][] = [
  // More is preallocated than the writer needs meanwhile.
  ['appends', PREALLOCATED, 100_000, (log) => appendMore(log, 1)],
  ['rolls', SMALL, 1, (log) => appendMore(log, 3)],
  [
    'rolls and deletes',
    SMALL,
    1,
    async (log) => {
      await appendMore(log, 1)
      await log.advanceLogStartOffset(Math.max(0, log.logEndOffset - 200))
    },
  ],
]

it.each(RESTLESS)(
  'opens a log while its writer %s continuously',
  async (_, config, keyBytes, work) => {
    const fs = new SimulatedFileSystem()
    const writer = await openLog(fs, { config })
    await append(writer, 0, FOUND, keyBytes)
    const beside = new Interrupted(fs, 0, async (step) => {
      if (step < MOST_OPERATIONS) await work(writer)
    })
    const follower = await openLog(beside.fileSystem, { config, readOnly: true })
    expect(beside.count).toBeLessThan(MOST_OPERATIONS)
    expect(follower.damage).toBe(null)
    expect(follower.logEndOffset).toBeGreaterThan(FOUND)
    await follower.close()
  },
)

it.each([1, 2, 3])(
  'opens a log while its writer continuously truncates it and appends %i records',
  async (count) => {
    for (const offset of upTo(3)) {
      const fs = new SimulatedFileSystem()
      const config = { segmentBytes: 100 }
      const writer = await openLog(fs, { config })
      await append(writer, 0, 12, 1)
      let isBusy = false
      const beside = new Interrupted(fs, 0, async (step) => {
        if (isBusy || step >= MOST_OPERATIONS) return
        isBusy = true
        await writer.truncateTo(Math.min(offset + (step % 5), writer.logEndOffset))
        await appendMore(writer, count)
        isBusy = false
      })
      const follower = await openLog(beside.fileSystem, { config, readOnly: true })
      expect(beside.count).toBeLessThan(MOST_OPERATIONS)
      isBusy = true
      await follower.refresh()
      await follower.refresh()
      expect(follower.damage).toBe(null)
      expect(await valuesOf(follower)).toEqual(await valuesOf(writer))
      await follower.close()
    }
  },
)

it.each([
  ['goes on', { segmentBytes: 2 ** 20 }, false],
  ['goes on in new segments', SMALL, false],
  ['goes on, and closes it in order again', { segmentBytes: 2 ** 20 }, true],
])('opens a cleanly closed log while its writer %s', async (_, config, isClosed) => {
  let turn = 0
  for (let operations = Infinity; turn < operations; turn += 1) {
    const fs = new SimulatedFileSystem()
    const first = await openLog(fs, { config })
    await append(first, 0, FOUND, 1)
    await first.close()
    const goOn = async (): Promise<void> => {
      const writer = await openLog(fs, { config })
      await append(writer, FOUND, FOUND + ADDED, 1)
      if (isClosed) await writer.close()
    }
    operations = await expectFollowed(fs, { config, turn, goOn })
  }
  expect(turn).toBeGreaterThan(10)
})

const EPOCHS: readonly [string, (log: Log, fs: SimulatedFileSystem) => Promise<Log>][] = [
  [
    'an append that fails',
    async (log, fs) => {
      fs.failAt(1, 'ENOSPC', { path: pathOf(0) })
      await expect(log.append([{ value: 'lost' }])).rejects.toThrow('ENOSPC')
      return log
    },
  ],
  [
    'a truncation',
    async (log) => {
      await log.truncateTo(FOUND - 1)
      return log
    },
  ],
  ['a crash and another open', (_, fs) => openLog(fs, { config: PREALLOCATED })],
]

it.each(EPOCHS)(
  'opens and follows a log while its writer begins a leader epoch by %s',
  async (_, begin) => {
    let turn = 0
    for (let operations = Infinity; turn < operations; turn += 1) {
      const fs = new SimulatedFileSystem()
      let writer = await openLog(fs, { config: PREALLOCATED })
      await append(writer, 0, FOUND, 1)
      const goOn = async (): Promise<void> => {
        writer = await begin(writer, fs)
        await append(writer, writer.logEndOffset, FOUND + ADDED, 1)
      }
      operations = await expectFollowed(fs, { config: PREALLOCATED, turn, goOn })
    }
    expect(turn).toBeGreaterThan(10)
  },
)
