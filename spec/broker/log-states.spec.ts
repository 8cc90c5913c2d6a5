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
