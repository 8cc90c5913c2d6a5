import { describe, expect, it, vi } from 'vitest'
import { LogStates } from '../../lib/broker/log-states.ts'
import { LockLostError } from '../../lib/errors.ts'
import { LogStateFiles } from '../../lib/storage/log-state.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

it('forgets a log at the second attempt if the disk has failed the first', async () => {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  const files = new LogStateFiles(fileSystem, '/data')
  const states = new LogStates(files, await files.read())
  await states.save('a-0', { recoveryPoint: 5, logStartOffset: 2 })
  fileSystem.failNext('write', 'ENOSPC')
  await expect(states.forget(['a-0'])).rejects.toThrow('ENOSPC')
  await states.forget(['a-0'])
  expect(await files.read()).toEqual(new Map())
})

it('writes nothing if the state to save is the one already saved', async () => {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  const files = new LogStateFiles(fileSystem, '/data')
  const states = new LogStates(files, await files.read())
  await states.save('a-0', { recoveryPoint: 5, logStartOffset: 2 })
  const { operationCount } = fileSystem
  await states.save('a-0', { recoveryPoint: 5, logStartOffset: 2 })
  expect(fileSystem.operationCount).toBe(operationCount)
  await states.save('a-0', { recoveryPoint: 5, logStartOffset: 3 })
  await states.save('a-0', { recoveryPoint: 6, logStartOffset: 3 })
  expect(await files.read()).toEqual(new Map([['a-0', { recoveryPoint: 6, logStartOffset: 3 }]]))
})

/** How often arrays are sorted and joined when one of this many logs saves its state. */
async function callsOfSave(logs: number): Promise<number[]> {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  const files = new LogStateFiles(fileSystem, '/data')
  const states = new LogStates(files, await files.read())
  for (let each = 0; each < logs; each += 1) {
    await states.save(`t-${each}`, { recoveryPoint: 5, logStartOffset: 1 })
  }
  const calls = [vi.spyOn(Array.prototype, 'sort'), vi.spyOn(Array.prototype, 'join')]
  await states.save('t-3', { recoveryPoint: 6, logStartOffset: 2 })
  const counts = calls.map(({ mock }) => mock.calls.length)
  for (const call of calls) call.mockRestore()
  return counts
}

it('saves a known log without sorting, and without formatting the lines of other logs', async () => {
  const few = await callsOfSave(4)
  expect(few[0]).toBe(0)
  expect(await callsOfSave(40)).toEqual(few)
})

it('writes the logs in order of name, whenever they were added', async () => {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  const files = new LogStateFiles(fileSystem, '/data')
  const state = { recoveryPoint: 5, logStartOffset: 0 }
  const states = new LogStates(files, new Map([['m-0', state]]))
  await states.save('z-0', state)
  await states.save('a-b-0', state)
  fileSystem.failNext('write', 'ENOSPC')
  await expect(states.forget(['a-b-0'])).rejects.toThrow('ENOSPC')
  await states.save('m-0', { recoveryPoint: 6, logStartOffset: 4 })
  const texts = ['recovery-point', 'log-start'].map((name) =>
    fileSystem.snapshot().get(`/data/${name}-offset-checkpoint`)?.toString(),
  )
  expect(texts).toEqual(['0\n3\na-b 0 5\nm 0 6\nz 0 5\n', '0\n1\nm 0 4\n'])
})

it('writes an earlier state again after a later save has failed', async () => {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  await fileSystem.syncDirectory('/')
  const files = new LogStateFiles(fileSystem, '/data')
  const states = new LogStates(files, await files.read())
  await states.save('a-0', { recoveryPoint: 5, logStartOffset: 0 })
  // The new file already has its name by then.
  fileSystem.failNext('syncDirectory', 'EIO')
  await expect(states.save('a-0', { recoveryPoint: 9, logStartOffset: 0 })).rejects.toThrow('EIO')
  await states.save('a-0', { recoveryPoint: 5, logStartOffset: 0 })
  const disk = fileSystem.restart('power', { unsynced: 'lost' })
  const kept = await new LogStateFiles(disk, '/data').read()
  expect(kept.get('a-0')).toEqual({ recoveryPoint: 5, logStartOffset: 0 })
})

it('shares one further read among all reloads that are called during a read, whichever read', async () => {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  const files = new LogStateFiles(fileSystem, '/data')
  const states = new LogStates(files, await files.read())
  const read = files.read.bind(files)
  let reads = 0
  const reloads: Promise<void>[] = []
  files.read = async () => {
    const found = await read()
    reads += 1
    if (reads > 2) return found
    // A write after the read, but before its result is returned.
    await files.write(new Map([['a-0', { recoveryPoint: reads, logStartOffset: 0 }]]))
    for (let each = 0; each < 3; each += 1) reloads.push(states.reload())
    return found
  }
  const seen: number[] = []
  await states.reload()
  seen.push(states.get('a-0').recoveryPoint)
  await Promise.all(reloads.slice(0, 3))
  seen.push(states.get('a-0').recoveryPoint)
  await Promise.all(reloads.slice(3))
  seen.push(states.get('a-0').recoveryPoint)
  expect([reads, seen]).toEqual([3, [0, 1, 2]])
})

describe('the states saved while logs are opened', () => {
  const STATE = { recoveryPoint: 5, logStartOffset: 0 }

  async function openFiles(): Promise<{
    fileSystem: SimulatedFileSystem
    files: LogStateFiles
    states: LogStates
  }> {
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory('/data')
    await fileSystem.syncDirectory('/')
    const files = new LogStateFiles(fileSystem, '/data')
    return { fileSystem, files, states: new LogStates(files, await files.read()) }
  }

  /** The logs whose state is saved on the disk. */
  async function savedOn(fileSystem: SimulatedFileSystem): Promise<string[]> {
    const disk = fileSystem.fork().restart('power', { unsynced: 'lost' })
    return [...(await new LogStateFiles(disk, '/data').read()).keys()]
  }

  it('are written after the open, and are durable then', async () => {
    const { fileSystem, states } = await openFiles()
    await states.whileOpening(new ManualClock(), async () => {
      const { operationCount } = fileSystem
      for (const key of ['b-0', 'a-0', 'a-1']) await states.save(key, STATE)
      expect([fileSystem.operationCount, states.get('a-1')]).toEqual([operationCount, STATE])
    })
    expect(await savedOn(fileSystem)).toEqual(['a-0', 'a-1', 'b-0'])
    const { operationCount } = fileSystem
    await states.save('a-0', STATE)
    expect(fileSystem.operationCount).toBe(operationCount)
    await states.save('c-0', STATE)
    expect(await savedOn(fileSystem)).toEqual(['a-0', 'a-1', 'b-0', 'c-0'])
  })

  it('are also written during the open once five seconds have passed', async () => {
    const { fileSystem, states } = await openFiles()
    const clock = new ManualClock()
    const saved: string[][] = []
    await states.whileOpening(clock, async () => {
      for (const key of ['a-0', 'a-1', 'a-2', 'a-3', 'a-4']) {
        await states.save(key, STATE)
        saved.push(await savedOn(fileSystem))
        await clock.advance(2_500)
      }
    })
    expect(saved.map(({ length }) => length)).toEqual([0, 0, 3, 3, 5])
  })

  it('are written even if a log cannot be opened, and the error of that log is reported', async () => {
    const { fileSystem, states } = await openFiles()
    const opening = states.whileOpening(new ManualClock(), async () => {
      await states.save('a-0', STATE)
      throw new RangeError('no log')
    })
    await expect(opening).rejects.toThrow('no log')
    expect(await savedOn(fileSystem)).toEqual(['a-0'])
    fileSystem.failNext('rename', 'EIO')
    const again = states.whileOpening(new ManualClock(), async () => {
      await states.save('a-1', STATE)
      throw new RangeError('no log either')
    })
    await expect(again).rejects.toThrow('no log either')
  })

  it('do not fail the open on a full disk, and are written with the next save', async () => {
    const { fileSystem, states } = await openFiles()
    fileSystem.failNext('write', 'ENOSPC')
    await states.whileOpening(new ManualClock(), async () => {
      await states.save('a-0', STATE)
      await states.save('a-1', STATE)
    })
    expect(await savedOn(fileSystem)).toEqual([])
    await states.save('a-1', STATE)
    expect(await savedOn(fileSystem)).toEqual(['a-0', 'a-1'])
  })

  it('fail the open if the lock is lost', async () => {
    const { files, states } = await openFiles()
    const lost = new LockLostError('/data', 'another owner has it', 'not-written')
    files.write = () => Promise.reject(lost)
    const opening = states.whileOpening(new ManualClock(), () => states.save('a-0', STATE))
    await expect(opening).rejects.toBe(lost)
  })
})
