import { expect, it } from 'vitest'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition } from '../helpers/partitions.ts'

it('keeps its leader epoch where the disk has to be waited for now and then', async () => {
  const fileSystem = new SimulatedFileSystem({ completion: 'random', seed: 3 })
  const partition = await openPartition({ fileSystem })
  const { leaderEpoch } = partition.log
  const before = fileSystem.operations.length
  for (let each = 0; each < 30; each += 1) await partition.append({ value: `v${each}` })
  expect(partition.log.leaderEpoch).toBe(leaderEpoch)
  const later = fileSystem.operations.slice(before)
  expect(later.filter((line) => line.includes(' truncate /data/orders-0/0'))).toEqual([])
})

it('goes on where a write ends early that is made at once', async () => {
  const fileSystem = new SimulatedFileSystem()
  const partition = await openPartition({ fileSystem })
  await partition.append({ value: 'a' })
  await partition.append({ value: 'b' })
  fileSystem.shortWriteAt(1, 20)
  expect(await partition.append({ value: 'c' })).toMatchObject({ baseOffset: 2 })
  const values = (await partition.read(0)).map(({ value }) => String(value))
  expect(values).toEqual(['a', 'b', 'c'])
})
