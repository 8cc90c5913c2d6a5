import { expect, it } from 'vitest'
import { StorageError } from '../../lib/errors.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { DIR, openLog, pathOf, valuesOf, valuesUpTo, writtenLog } from './log-fixtures.ts'

const COUNT = 7

/** A cleanly closed log whose epochs have to be read from its batches. */
async function withoutEpochs(): Promise<SimulatedFileSystem> {
  const fs = await writtenLog(COUNT)
  await fs.unlink(`${DIR}/leader-epoch-checkpoint`)
  return fs
}

it('reads leader epochs from the batches if the checkpoint is missing', async () => {
  const log = await openLog(await withoutEpochs())
  expect(log.leaderEpoch).toBe(1)
  expect(await valuesOf(log)).toEqual(valuesUpTo(COUNT))
})

it('opens a log without an epoch checkpoint even if a batch is damaged', async () => {
  const fs = await withoutEpochs()
  fs.flipBit(pathOf(2), 66, 1)
  const log = await openLog(fs)
  expect(log.leaderEpoch).toBe(1)
  expect((await log.read(6)).map(({ offset }) => offset)).toEqual([6])
})

it('rejects the open if the disk fails while epochs are read from the batches', async () => {
  const fs = await withoutEpochs()
  fs.failNext('open', 'EIO', { path: pathOf(0) })
  await expect(openLog(fs)).rejects.toThrow(StorageError)
})
