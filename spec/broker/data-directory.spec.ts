import { afterEach, describe, expect, it, vi } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { StorageError } from '../../lib/errors.ts'
import { nextTurn } from '../../lib/platform/event-loop.ts'
import { promptIo } from '../../lib/platform/prompt-io.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DATA, openBroker, SMALL } from '../crash/broker-session.ts'
import { crashPoints } from '../crash/crash-points.ts'
import { eventually } from '../helpers/eventually.ts'
import { poolCallsOf } from '../platform/pool-calls.ts'
import { temporaryDirectory } from '../platform/temporary-directory.ts'

afterEach(() => {
  vi.restoreAllMocks()
  vi.resetModules()
})

describe('an open whose directory is being synced', () => {
  /** Opens a directory in a process that has not computed a checksum yet. */
  async function openingAnew({ readOnly }: { readOnly: boolean }) {
    vi.resetModules()
    const { Crc32cFolder } = await import('../../lib/record/crc32c-folder.ts')
    const creating = vi.spyOn(Crc32cFolder, 'create')
    const { DataDirectory } = await import('../../lib/broker/data-directory.ts')
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory(DATA)
    let release = (): void => undefined
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const sync = fileSystem.syncDirectory.bind(fileSystem)
    vi.spyOn(fileSystem, 'syncDirectory').mockImplementation((path) =>
      path === DATA ? released.then(() => sync(path)) : sync(path),
    )
    const random = new SeededRandom(1)
    const options = { fileSystem, random, readOnly, allowSharedDirectory: false }
    return { creating, release, opening: DataDirectory.open(DATA, options) }
  }

  it('prepares the checksum of batches meanwhile', async () => {
    const { creating, release, opening } = await openingAnew({ readOnly: false })
    await eventually(() => {
      expect(creating).toHaveBeenCalledTimes(1)
    })
    release()
    const data = await opening
    await data.close(true)
    expect(creating).toHaveBeenCalledTimes(1)
  })

  it('prepares no checksum if it is for reading only, and nothing is synced', async () => {
    const { creating, opening } = await openingAnew({ readOnly: true })
    const data = await opening
    await nextTurn()
    await data.close(false)
    expect(creating).not.toHaveBeenCalled()
  })
})

describe('an open whose removal of the clean-shutdown mark is being synced', () => {
  /** How the log of a simulated file system names operations that change the disk. */
  const CHANGE =
    /^#\d+ (write|truncate|setModified|rename|unlink|createDirectory|removeDirectory|open .* create)/

  const changesSince = (fileSystem: SimulatedFileSystem, count: number): readonly string[] =>
    fileSystem.operations.slice(count).filter((line) => CHANGE.test(line))

  /** Opens a broker, and holds the first sync of its directory until that is released or fails. */
  function openHeld(fileSystem: SimulatedFileSystem) {
    const sync = fileSystem.syncDirectory.bind(fileSystem)
    let release = (): void => undefined
    let fail: (error: Error) => void = () => undefined
    const gate = new Promise<void>((resolve, reject) => {
      release = resolve
      fail = reject
    })
    const asked = new Promise<void>((resolve) => {
      fileSystem.syncDirectory = async (path) => {
        if (path === DATA) {
          fileSystem.syncDirectory = sync
          resolve()
          await gate
        }
        await sync(path)
      }
    })
    const state = { isSettled: false }
    const opening = openBroker(fileSystem, new ManualClock()).finally(() => {
      state.isSettled = true
    })
    return { asked, release, fail, state, opening }
  }

  /** Lets everything happen that does not wait for the held sync. */
  async function comeToRest(fileSystem: SimulatedFileSystem): Promise<void> {
    for (let count = -1; count !== fileSystem.operationCount;) {
      count = fileSystem.operationCount
      for (let turns = 0; turns < 5; turns += 1) await nextTurn()
    }
  }

  /** A life that leaves the next open something to settle, to recover and to remove. */
  async function live(fileSystem: SimulatedFileSystem): Promise<void> {
    for (const name of ['a', 'b']) {
      const broker = await openBroker(fileSystem, new ManualClock())
      const topic = await broker.createTopic(name, { ...SMALL, partitions: 2 })
      const partition = topic.partition(0)
      for (let each = 0; each < 3; each += 1) await partition.append({ value: 'x'.repeat(150) })
      await partition.deleteRecords(2)
      const consumer = broker.consumer({ groupId: 'g' })
      await consumer.commit([{ topic: name, partition: 0, offset: 2 }])
      if (name === 'a') await broker.deleteTopic(name)
      await broker.close()
    }
  }

  it('changes nothing, and returns nothing, before the removal of the mark is durable', async () => {
    const fileSystem = new SimulatedFileSystem()
    const all = await crashPoints(fileSystem, () => live(fileSystem), {
      note: () => null,
      cut: (sizeBytes) => Math.floor(sizeBytes / 2),
    })
    const found = { reads: 0, changes: 0 }
    // Many of them leave the same disk.
    const points = all.filter((_, slot) => slot % 5 === 0)
    for (const { machine, where } of points) {
      const disk = machine.restart('process')
      const { asked, release, state, opening } = openHeld(disk)
      await asked
      const before = disk.operations.length
      await comeToRest(disk)
      expect([changesSince(disk, before), state.isSettled], where).toEqual([[], false])
      found.reads += disk.operations.length - before
      release()
      const broker = await opening
      found.changes += changesSince(disk, before).length
      await broker.close()
    }
    expect(points.length).toBeGreaterThan(100)
    // Reads have not waited, and changes have come after the sync.
    expect(found.reads).toBeGreaterThan(points.length)
    expect(found.changes).toBeGreaterThan(points.length)
  })

  it.each([true, false])(
    'rejects if that sync fails, and leaves what it has found: closed cleanly %s',
    async (isClean) => {
      const first = new SimulatedFileSystem()
      await live(first)
      if (!isClean) await openBroker(first, new ManualClock())
      const disk = first.restart('process')
      const before = disk.snapshot()
      const { asked, fail, opening } = openHeld(disk)
      const rejected = expect(opening).rejects
      await asked
      await comeToRest(disk)
      fail(systemError('EIO', 'fsync', DATA, 'i/o error'))
      await rejected.toBeInstanceOf(StorageError)
      await rejected.toMatchObject({ cause: { code: 'EIO', syscall: 'fsync' } })
      expect(disk.snapshot()).toEqual(before)
      const broker = await openBroker(disk, new ManualClock())
      expect(broker.recovery.cleanShutdown).toBe(isClean)
      await broker.close()
    },
  )

  it('keeps the lock until that sync has ended if it fails for another reason', async () => {
    const first = new SimulatedFileSystem()
    await live(first)
    const disk = first.restart('process')
    disk.writeFile(`${DATA}/varve-topics`, Buffer.from('damaged'))
    const before = disk.snapshot()
    const { asked, fail, state, opening } = openHeld(disk)
    const rejected = expect(opening).rejects
    await asked
    await comeToRest(disk)
    expect(state.isSettled).toBe(false)
    await expect(openBroker(disk, new ManualClock())).rejects.toMatchObject({ code: 'LOCKED' })
    fail(systemError('EIO', 'fsync', DATA, 'i/o error'))
    await rejected.toMatchObject({ code: 'CORRUPT_MESSAGE' })
    // The mark is there again.
    expect(disk.snapshot()).toEqual(before)
  })
})

it('leaves six calls to the pool after a clean close: four for the lock, and two for the mark', async () => {
  const directory = await temporaryDirectory()
  const first = await Broker.open(directory)
  const topic = await first.createTopic('orders')
  await topic.partition(0).append({ value: 'x'.repeat(2000) })
  await first.close()
  // After a slow call, as on a busy machine, the pool makes others as well.
  vi.spyOn(promptIo, 'attempt').mockImplementation((call) => call())
  vi.spyOn(promptIo, 'try').mockImplementation((_kind, _sizeBytes, call) => call())
  let broker: Broker | null = null
  const calls = await poolCallsOf(async () => {
    broker = await Broker.open(directory)
  })
  expect([calls, broker]).toEqual([6, expect.any(Broker)])
  await (broker as Broker | null)?.close()
})

it('a broker reports how long its open took, including the wait for the lock', async () => {
  const clock = new ManualClock()
  const fileSystem = new SimulatedFileSystem()
  const lock = fileSystem.lock.bind(fileSystem)
  vi.spyOn(fileSystem, 'lock').mockImplementation(async (path) => {
    await clock.advance(30_000)
    return lock(path)
  })
  const broker = await Broker.open(DATA, { fileSystem, clock })
  expect(broker.recovery.durationMs).toBe(30_000)
  await broker.close()
})
