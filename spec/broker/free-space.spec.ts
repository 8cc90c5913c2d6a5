import { expect, it } from 'vitest'
import { FreeSpace } from '../../lib/broker/free-space.ts'
import { ManualClock } from '../../lib/testing/manual-clock.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const MIB = 1024 * 1024

async function freeSpace(): Promise<{ free: FreeSpace; fileSystem: SimulatedFileSystem }> {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data')
  fileSystem.capacityBytes = 20 * MIB
  return { free: new FreeSpace(fileSystem, '/data', new ManualClock()), fileSystem }
}

it('subtracts granted bytes that are not yet written, however often the file system is asked', async () => {
  const { free } = await freeSpace()
  for (let granted = 0; granted < 20; granted += 2) {
    expect(await free.atLeast(21 * MIB)).toBe((20 - granted) * MIB)
    free.take(2 * MIB)
  }
  expect(await free.atLeast(1)).toBe(0)
})

it('does not subtract bytes that are already written', async () => {
  const { free, fileSystem } = await freeSpace()
  free.take(6 * MIB)
  free.settle(6 * MIB)
  fileSystem.capacityBytes = 14 * MIB
  expect(await free.atLeast(1)).toBe(14 * MIB)
})

it('subtracts bytes written while the file system is being asked, which may not count them yet', async () => {
  const { free } = await freeSpace()
  free.take(6 * MIB)
  const asking = free.atLeast(1)
  free.settle(6 * MIB)
  expect(await asking).toBe(14 * MIB)
})
