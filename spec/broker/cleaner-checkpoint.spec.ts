import { expect, it } from 'vitest'
import { CleanerCheckpoint } from '../../lib/broker/cleaner-checkpoint.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

it('limits a pass to the offset of a truncation unless it began after the truncation was done', async () => {
  for (const [epochAtStart, offset] of [
    [5, 2],
    [6, 9],
  ] as const) {
    const fileSystem = new SimulatedFileSystem()
    await fileSystem.createDirectory('/data')
    const checkpoint = new CleanerCheckpoint(fileSystem, '/data')
    const save = (end: number): Promise<void> =>
      checkpoint.save('t', 0, { offset: end, horizonMs: null, isDated: true }, () => true)
    await save(7)
    await checkpoint.truncateTo('t', 0, 2, 5)
    expect(await checkpoint.begin('t', 0, epochAtStart)).toMatchObject({ offset: 2 })
    await save(9)
    expect(await checkpoint.stateOf('t', 0)).toMatchObject({ offset })
    expect(await new CleanerCheckpoint(fileSystem, '/data').stateOf('t', 0)).toMatchObject({
      offset,
    })
  }
})
