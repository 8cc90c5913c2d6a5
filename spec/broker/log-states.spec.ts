import { expect, it } from 'vitest'
import { LogStates } from '../../lib/broker/log-states.ts'
import { LogStateFiles } from '../../lib/storage/log-state.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

it('forgets a log at the second attempt when the disk has refused the first', async () => {
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

it('writes nothing when what is to be saved is what was saved', async () => {
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

it('writes again what was saved before when a save behind it has failed', async () => {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  await fileSystem.syncDirectory('/')
  const files = new LogStateFiles(fileSystem, '/data')
  const states = new LogStates(files, await files.read())
  await states.save('a-0', { recoveryPoint: 5, logStartOffset: 0 })
  // The new file has its name by then.
  fileSystem.failNext('syncDirectory', 'EIO')
  await expect(states.save('a-0', { recoveryPoint: 9, logStartOffset: 0 })).rejects.toThrow('EIO')
  await states.save('a-0', { recoveryPoint: 5, logStartOffset: 0 })
  const disk = fileSystem.restart('power', { unsynced: 'lost' })
  const kept = await new LogStateFiles(disk, '/data').read()
  expect(kept.get('a-0')).toEqual({ recoveryPoint: 5, logStartOffset: 0 })
})

it('reads once more for all who ask while a read is under way, and for each of them behind that', async () => {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  const files = new LogStateFiles(fileSystem, '/data')
  const states = new LogStates(files, await files.read())
  const read = files.read.bind(files)
  let reads = 0
  files.read = async () => {
    const found = await read()
    reads += 1
    // What comes when the first has read, and before it has told.
    if (reads === 1) await files.write(new Map([['a-0', { recoveryPoint: 7, logStartOffset: 0 }]]))
    return found
  }
  const first = states.reload()
  await Promise.resolve()
  await Promise.resolve()
  await Promise.resolve()
  await Promise.all([first, states.reload(), states.reload(), states.reload()])
  expect([reads, states.get('a-0').recoveryPoint]).toEqual([2, 7])
})
