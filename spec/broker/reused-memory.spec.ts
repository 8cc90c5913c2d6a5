import { expect, it } from 'vitest'
import { batchMemory } from '../../lib/record/batch-memory.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition } from '../helpers/partitions.ts'

const KIB = 1024

/** Records that fill several pieces of memory, each a different one. */
function records(round: number): { value: string }[] {
  return Array.from({ length: 300 }, (_, slot) => ({
    value: `${round}/${slot} `.padEnd(KIB, `${round % 10}`),
  }))
}

it.each([
  ['nothing', 0],
  ['the last batches', 100 * KIB],
])(
  'does not change records, offsets or earlier reads when memory that holds %s is reused',
  async (_, recentBytes) => {
    const fileSystem = new SimulatedFileSystem({ completion: 'random' })
    const partition = await openPartition({ fileSystem, recentBytes })
    const rounds = Array.from({ length: 12 }, (__, round) => records(round))
    const results = await Promise.all(rounds.map((round) => partition.append(round)))
    expect(results.map(({ baseOffset }) => baseOffset)).toEqual(
      rounds.map((__, round) => 300 * round),
    )
    const tail = await partition.fetch(3500)
    const alone = await Promise.all(records(12).map((record) => partition.append(record)))
    expect(alone.map(({ baseOffset }) => baseOffset)).toEqual(alone.map((__, slot) => 3600 + slot))
    expect(tail.map(({ value }) => String(value))).toEqual(
      rounds[11]?.slice(200).map(({ value }) => value),
    )
    const all: string[] = []
    for await (const { value } of partition.records({ until: 'end' })) all.push(String(value))
    expect(all).toEqual([...rounds.flat(), ...records(12)].map(({ value }) => value))
  },
)

it('reuses memory once all batches in it are released', async () => {
  const partition = await openPartition({ recentBytes: 0 })
  // The last piece may have another size.
  await partition.append(records(0))
  const { spareBytes } = batchMemory
  expect(spareBytes).toBeGreaterThan(0)
  for (let round = 1; round < 4; round += 1) await partition.append(records(round))
  expect(batchMemory.spareBytes).toBe(spareBytes)
})
