import { describe, expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { LockLostError, VarveError } from '../../lib/errors.ts'
import { nextTurn } from '../../lib/platform/event-loop.ts'
import { FencedFileSystem } from '../../lib/platform/fenced-file-system.ts'
import type { FileSystem } from '../../lib/platform/file-system.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/** How the log of a simulated file system names operations that change the disk. */
const CHANGE =
  /^#\d+ (write|truncate|setModified|rename|unlink|createDirectory|removeDirectory|open .* create)/

/** As the specs of any file system see it, which may lack what this one has. */
type HoldingFileSystem = FileSystem & Pick<FencedFileSystem, 'holdChanges'>

async function scene(): Promise<{ behind: SimulatedFileSystem; fileSystem: HoldingFileSystem }> {
  const behind = new SimulatedFileSystem()
  await behind.createDirectory('/d/sub')
  const lock = await behind.lock('/d')
  return { behind, fileSystem: new FencedFileSystem(behind, lock, '/d') }
}

describe('FencedFileSystem', () => {
  it('passes all calls on while the lock is held', async () => {
    const { behind, fileSystem } = await scene()
    const file = await fileSystem.open('/d/a', 'create')
    expect(await file.write([Buffer.from('abc')], 0)).toBe(3)
    await file.truncate(2)
    await file.setModified?.(5)
    await file.datasync()
    await file.sync()
    const { identity } = file
    expect(await file.stat()).toMatchObject({ sizeBytes: 2, modifiedMs: 5, identity })
    const buffer = Buffer.alloc(2)
    expect(await file.read(buffer, 0)).toBe(2)
    await file.close()
    await fileSystem.rename('/d/a', '/d/b')
    await fileSystem.createDirectory('/d/c')
    await fileSystem.removeDirectory('/d/c')
    await fileSystem.syncDirectory('/d')
    expect((await fileSystem.list('/d')).map(({ name }) => name)).toEqual(['b', 'sub'])
    await fileSystem.unlink('/d/b')
    expect([await fileSystem.stat('/d/b'), fileSystem.statNow?.('/d/b')]).toEqual([null, null])
    expect(fileSystem.statNow?.('/d/sub')).toEqual(await behind.stat('/d/sub'))
    expect(file.path).toBe('/d/a')
    await expect(fileSystem.lock('/d')).rejects.toMatchObject({ code: 'LOCKED' })
    expect(await behind.stat('/d/b')).toBeNull()
  })

  it('rejects every change and sync once the lock is lost, and still reads', async () => {
    const { behind, fileSystem } = await scene()
    const file = await fileSystem.open('/d/a', 'create')
    await file.write([Buffer.from('abc')], 0)
    behind.loseLock('/d')
    const before = behind.snapshot()
    for (const call of [
      file.write([Buffer.from('x')], 0),
      file.truncate(0),
      file.setModified?.(5),
      file.datasync(),
      file.sync(),
      fileSystem.open('/d/new', 'create'),
      fileSystem.open('/d/a', 'update'),
      fileSystem.rename('/d/a', '/d/b'),
      fileSystem.unlink('/d/a'),
      fileSystem.createDirectory('/d/c'),
      fileSystem.removeDirectory('/d/sub'),
      fileSystem.syncDirectory('/d'),
    ]) {
      await expect(call).rejects.toThrow(LockLostError)
      await expect(call).rejects.toMatchObject({ dir: '/d', outcome: 'unknown' })
    }
    expect(behind.snapshot()).toEqual(before)
    expect(await file.read(Buffer.alloc(3), 0)).toBe(3)
    await file.close()
    await (await fileSystem.open('/d/a', 'read')).close()
  })

  describe('while changes are held back', () => {
    /** Requests every change, of a file that was open before as well. */
    async function held() {
      const { behind, fileSystem } = await scene()
      const file = await fileSystem.open('/d/a', 'create')
      await file.write([Buffer.from('abc')], 0)
      await (await fileSystem.open('/d/b', 'create')).close()
      let release = (): void => undefined
      let fail: (error: Error) => void = () => undefined
      const gate = new Promise<void>((resolve, reject) => {
        release = resolve
        fail = reject
      })
      fileSystem.holdChanges(gate)
      const before = behind.snapshot()
      const opened = await fileSystem.open('/d/b', 'update')
      expect(file.writeNow?.([Buffer.from('x')], 0)).toBe(-1)
      const calls = [
        file.write([Buffer.from('xyz')], 0),
        opened.write([Buffer.from('x')], 0),
        file.truncate(2),
        file.setModified?.(5) ?? Promise.resolve(),
        fileSystem.open('/d/new', 'create').then((made) => made.close()),
        fileSystem.open('/d/newer', 'create-new').then((made) => made.close()),
        fileSystem.rename('/d/b', '/d/c'),
        fileSystem.unlink('/d/c'),
        fileSystem.createDirectory('/d/made'),
        fileSystem.removeDirectory('/d/sub'),
      ]
      const outcome = Promise.allSettled(calls)
      for (let turns = 0; turns < 5; turns += 1) await nextTurn()
      expect(behind.snapshot()).toEqual(before)
      expect((await fileSystem.list('/d')).map(({ name }) => name)).toEqual(['a', 'b', 'sub'])
      expect([await file.read(Buffer.alloc(3), 0), (await file.stat()).modifiedMs]).not.toContain(5)
      return { behind, fileSystem, file, before, release, fail, outcome }
    }

    it('makes none of them before it may, and then all in the order of their calls', async () => {
      const { behind, fileSystem, file, release, outcome } = await held()
      release()
      expect((await outcome).map(({ status }) => status)).not.toContain('rejected')
      const names = (await fileSystem.list('/d')).map(({ name }) => name)
      expect(names).toEqual(['a', 'made', 'new', 'newer'])
      expect(behind.readFile('/d/a').toString()).toBe('xy')
      expect(file.writeNow?.([Buffer.from('z')], 0)).toBe(1)
    })

    it('makes none of them ever if that fails', async () => {
      const { behind, fileSystem, file, before, fail, outcome } = await held()
      const reason = new Error('i/o error')
      fail(reason)
      const rejected = { status: 'rejected', reason }
      expect(await outcome).toEqual(Array.from({ length: 10 }, () => rejected))
      await expect(fileSystem.unlink('/d/a')).rejects.toBe(reason)
      expect(file.writeNow?.([Buffer.from('z')], 0)).toBe(-1)
      expect(behind.snapshot()).toEqual(before)
    })

    it('refuses them if the lock is lost meanwhile', async () => {
      const { behind, before, release, outcome } = await held()
      behind.loseLock('/d')
      release()
      for (const result of await outcome) {
        expect(result).toMatchObject({ status: 'rejected', reason: { code: 'LOCK_LOST' } })
      }
      expect(behind.snapshot()).toEqual(before)
    })
  })
})

/** Forwards calls to a file system and its files, and removes the lock of `/d` after the n-th. */
class LockThief {
  readonly behind: SimulatedFileSystem = new SimulatedFileSystem()
  readonly fileSystem: FileSystem
  /** Calls that began before the lock was lost and had not ended. */
  inFlight = 0
  /** The number of lines in the log of calls when the lock was lost; `null` while it is held. */
  linesBefore: number | null = null
  readonly #lossAt: number

  constructor(lossAt: number) {
    this.#lossAt = lossAt
    this.fileSystem = this.#watched(this.behind)
  }

  /** The changes after the loss, by calls that had not been let through before it. */
  changesAfterLoss(): readonly string[] {
    const lines = this.behind.operations.slice(this.linesBefore ?? Infinity)
    return lines.filter((line) => CHANGE.test(line)).slice(this.inFlight)
  }

  #watched<T extends object>(target: T): T {
    return new Proxy(target, {
      get: (_, name) => {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => this.#call(() => Reflect.apply(value, target, args))
      },
    })
  }

  async #call(call: () => unknown): Promise<unknown> {
    if (this.linesBefore === null) this.inFlight += 1
    const wasHeld = this.linesBefore === null
    try {
      const result = await call()
      // Files only: a lock has no calls of its own.
      const isFile = typeof result === 'object' && result !== null && 'datasync' in result
      return isFile ? this.#watched(result) : result
    } finally {
      if (wasHeld && this.linesBefore === null) this.inFlight -= 1
      if (this.linesBefore === null && this.behind.operationCount >= this.#lossAt) {
        this.linesBefore = this.behind.operations.length
        this.behind.loseLock('/d')
      }
    }
  }
}

/** Everything that a broker writes: batches, rolls, checkpoints, commits, topics, its close. */
async function workload(thief: LockThief): Promise<void> {
  const { fileSystem } = thief
  const clock = new ManualClock(1_700_000_000_000)
  const attempt = async <T>(step: () => Promise<T>): Promise<T | null> => {
    try {
      return await step()
    } catch (error) {
      if (thief.linesBefore === null || !(error instanceof VarveError)) throw error
      return null
    }
  }
  const options = { fileSystem, clock, random: new SeededRandom(1) }
  const broker = await attempt(() => Broker.open('/d', options))
  if (broker === null) return
  await attempt(() => broker.createTopic('a', { segmentBytes: 200 }))
  await attempt(() => broker.createTopic('b', { flushMessages: 1000 }))
  for (const topic of broker.topics()) {
    const partition = topic.partition(0)
    for (let each = 0; each < 4; each += 1) {
      await attempt(() => partition.append([{ value: 'x'.repeat(60) }, { value: 'y' }]))
    }
    await attempt(() => partition.log.checkpoint())
    await attempt(() => partition.deleteRecords(5))
    await attempt(() => topic.addPartitions(2))
    await attempt(() => topic.alter({ segmentBytes: 500 }))
  }
  const consumer = broker.consumer({ groupId: 'g' })
  await attempt(() => consumer.commit([{ topic: 'a', partition: 0, offset: 6 }]))
  await attempt(() => broker.deleteTopic('b'))
  await attempt(() => broker.close())
}

describe('a broker that loses its lock', () => {
  it('changes nothing more, whichever call was the last before the loss', async () => {
    const whole = new LockThief(Infinity)
    await workload(whole)
    const { operationCount } = whole.behind
    expect(operationCount).toBeGreaterThan(200)
    // Coprime with the length of every repeated part, so that each step of it is hit.
    const takenAt = whole.behind.operations.findIndex((line) => / lock /.test(line)) + 1
    expect(takenAt).toBeGreaterThan(0)
    for (let lossAt = takenAt; lossAt < operationCount; lossAt += 7) {
      const thief = new LockThief(lossAt)
      await workload(thief)
      expect(thief.changesAfterLoss(), `after call ${lossAt}`).toEqual([])
    }
  })
})
