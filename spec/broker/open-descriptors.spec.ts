import { expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import type { File, OpenMode } from '../../lib/platform/file-system.ts'
import { OpenFiles, shareOpenFiles } from '../../lib/platform/open-files.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { textsOf } from '../helpers/partitions.ts'

const PARTITIONS = 60
const BOUND = 8
/** Several logs are opened and closed concurrently, and each may have a file open meanwhile. */
const IN_USE = 8

const WAITING = BOUND + 4

/** Counts descriptors, and limits their number. */
class CountedDisk extends SimulatedFileSystem {
  limit = Infinity
  readonly openPaths: string[] = []

  override async open(path: string, mode: OpenMode): Promise<File> {
    if (this.openPaths.length >= this.limit) {
      throw systemError('EMFILE', 'open', path, 'too many open files')
    }
    this.openPaths.push(path)
    let file: File
    try {
      file = await super.open(path, mode)
    } catch (error) {
      this.#gone(path)
      throw error
    }
    const close = file.close.bind(file)
    let isOpen = true
    file.close = () => {
      if (isOpen) this.#gone(path)
      isOpen = false
      return close()
    }
    return file
  }

  #gone(path: string): void {
    this.openPaths.splice(this.openPaths.indexOf(path), 1)
  }
}

function open(fileSystem: SimulatedFileSystem): Promise<Broker> {
  return Broker.open('/data', { fileSystem, clock: new ManualClock() })
}

/** A directory of 60 partitions with one record each, closed cleanly. */
async function closedDisk(): Promise<CountedDisk> {
  const disk = new CountedDisk()
  const broker = await open(disk)
  const topic = await broker.createTopic('t', { partitions: PARTITIONS })
  for (const partition of topic.partitions) await partition.append({ value: 'a' })
  await broker.close()
  return disk
}

it('an open leaves no more files open than the limit, and a close leaves none', async () => {
  const disk = await closedDisk()
  shareOpenFiles(disk, new OpenFiles(BOUND))
  const broker = await open(disk)
  expect(broker.recovery.cleanShutdown).toBe(true)
  expect(disk.openPaths.length).toBeLessThanOrEqual(BOUND + IN_USE)
  await broker.close()
  expect(disk.openPaths).toEqual([])
})

it('an open after a crash leaves no more files open than the limit', async () => {
  const disk = await closedDisk()
  shareOpenFiles(disk, new OpenFiles(BOUND))
  await disk.unlink('/data/.kafka_cleanshutdown')
  const broker = await open(disk)
  expect(broker.recovery.cleanShutdown).toBe(false)
  expect(disk.openPaths.length).toBeLessThanOrEqual(BOUND + IN_USE)
})

it('appends and reads reopen the files they need, and acknowledged records are durable', async () => {
  const disk = await closedDisk()
  shareOpenFiles(disk, new OpenFiles(BOUND))
  const broker = await open(disk)
  const { partitions } = broker.topic('t')
  for (const value of ['b', 'c']) {
    for (const partition of partitions) {
      await partition.append({ value })
      expect(disk.openPaths.length).toBeLessThanOrEqual(BOUND + 1)
    }
  }
  for (const partition of partitions)
    expect(textsOf(await partition.fetch(0))).toEqual(['a', 'b', 'c'])
  const again = await open(disk.restart('power', { unsynced: 'lost' }))
  for (const partition of again.topic('t').partitions) {
    expect(textsOf(await partition.fetch(0))).toEqual(['a', 'b', 'c'])
  }
})

it('no log file is closed between a write and the sync that covers it', async () => {
  const disk = await closedDisk()
  shareOpenFiles(disk, new OpenFiles(BOUND))
  const broker = await open(disk)
  const topic = broker.topic('t')
  await topic.alter({ flushMessages: 3 })
  const unsynced = new Set<string>()
  const tooEarly: string[] = []
  let closes = 0
  disk.observe(({ kind, path }) => {
    if (!path.endsWith('.log')) return
    if (kind === 'write') unsynced.add(path)
    if (kind === 'datasync') unsynced.delete(path)
    if (kind !== 'close') return
    closes += 1
    // An error thrown here would be mistaken for a failed close.
    if (unsynced.has(path)) tooEarly.push(path)
  })
  // More files wait for their sync than may stay open while unused.
  for (let index = 0; index < PARTITIONS + WAITING; index += 1) {
    await topic.partitions[index]?.append([{ value: 'b' }, { value: 'c' }], { acks: 1 })
    await topic.partitions[index - WAITING]?.append({ value: 'd' }, { acks: 1 })
  }
  expect(tooEarly).toEqual([])
  expect(closes).toBeGreaterThan(PARTITIONS / 2)
  await broker.close()
  expect(unsynced).toEqual(new Set())
})

it('a process with a low descriptor limit opens, appends to, reads and closes many partitions', async () => {
  const disk = await closedDisk()
  disk.limit = 40
  const broker = await open(disk)
  const { partitions } = broker.topic('t')
  for (const partition of partitions) await partition.append({ value: 'b' })
  for (const partition of partitions) expect(textsOf(await partition.fetch(0))).toEqual(['a', 'b'])
  await broker.close()
  const again = await open(disk)
  expect([again.recovery.cleanShutdown, again.recovery.damaged]).toEqual([true, []])
  await again.close()
})

it('a read-only process with a low descriptor limit opens, refreshes and reads many partitions', async () => {
  const disk = await closedDisk()
  const clock = new ManualClock()
  const owner = await Broker.open('/data', { fileSystem: disk, clock })
  for (const partition of owner.topic('t').partitions) await partition.append({ value: 'b' })
  await owner.close()
  disk.limit = 40
  const reader = await Broker.open('/data', { fileSystem: disk, clock, readOnly: true })
  for (const partition of reader.topic('t').partitions) {
    expect(textsOf(await partition.fetch(0))).toEqual(['a', 'b'])
    await partition.refresh()
  }
  expect([reader.recovery.damaged, disk.openPaths.length <= disk.limit]).toEqual([[], true])
  await reader.close()
  expect(disk.openPaths).toEqual([])
})

it('a close writes nothing to a partition without new appends', async () => {
  const disk = await closedDisk()
  const broker = await open(disk)
  await broker.topic('t').partition(7).append({ value: 'b' })
  const changed = new Set<string>()
  disk.observe(({ kind, path }) => {
    if (
      ['write', 'truncate', 'rename', 'unlink', 'sync', 'datasync', 'syncDirectory'].includes(kind)
    )
      changed.add(/\/(t-\d+)/.exec(path)?.[1] ?? 'the broker')
  })
  await broker.close()
  expect(changed).toEqual(new Set(['t-7', 'the broker']))
})

it('a close restores index files that somebody has removed', async () => {
  const disk = await closedDisk()
  const paths = ['index', 'timeindex'].map((kind) => `/data/t-3/00000000000000000000.${kind}`)
  for (const path of paths) await disk.unlink(path)
  await disk.syncDirectory('/data/t-3')
  const broker = await open(disk)
  await broker.close()
  const names = [...disk.restart('power', { unsynced: 'lost' }).snapshot().keys()]
  expect(names).toEqual(expect.arrayContaining(paths))
})
