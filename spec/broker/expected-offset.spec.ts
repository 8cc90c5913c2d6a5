import { describe, expect, it } from 'vitest'
import { OffsetConflictError } from '../../lib/errors.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition, textsOf } from '../helpers/partitions.ts'
import { settle } from '../helpers/settle.ts'
import { ONE, openTopic, VALUE } from './capped-topic.ts'

describe('an append that expects an offset', () => {
  it.each([
    { before: 'a cut', actualOffset: 2, change: 'cut', completion: 'in-order' },
    { before: 'a cut', actualOffset: 2, change: 'cut', completion: 'awaited' },
    { before: 'an append to the log', actualOffset: 5, change: 'append', completion: 'in-order' },
    { before: 'an append to the log', actualOffset: 5, change: 'append', completion: 'awaited' },
  ] as const)(
    'is rejected if $before comes before it, while appends in the same write succeed: $completion',
    async ({ actualOffset, change, completion }) => {
      const partition = await openPartition({ fileSystem: new SimulatedFileSystem({ completion }) })
      for (let each = 0; each < 4; each += 1) await partition.append({ value: `old ${each}` })
      const { log } = partition
      const changed = change === 'cut' ? log.truncateTo(2) : log.append([{ value: 'other' }])
      const refused = partition.append({ value: 'refused' }, { expectedOffset: 4 })
      const behind = [partition.append({ value: 'a' }), partition.append({ value: 'b' })]
      await expect(refused).rejects.toThrow(OffsetConflictError)
      await expect(refused).rejects.toMatchObject({ expectedOffset: 4, actualOffset })
      await changed
      const offsets = (await Promise.all(behind)).map(({ baseOffset }) => baseOffset)
      expect(offsets).toEqual([actualOffset, actualOffset + 1])
      expect(textsOf(await log.read(actualOffset))).toEqual(['a', 'b'])
    },
  )

  it('succeeds after a truncation that leaves the log ending at that offset', async () => {
    const partition = await openPartition()
    for (let each = 0; each < 4; each += 1) await partition.append({ value: `old ${each}` })
    const cut = partition.log.truncateTo(4)
    expect(await partition.append({ value: 'new' }, { expectedOffset: 4 })).toMatchObject({
      baseOffset: 4,
    })
    await cut
  })

  it('is rejected if a truncation makes the room that it waits for', async () => {
    const { broker, partition, clock } = await openTopic({ maxBytes: 4 * ONE, whenFull: 'wait' })
    for (let each = 0; each < 4; each += 1) await partition.append({ value: VALUE })
    const refused = partition.append({ value: 'refused' }, { expectedOffset: 4 })
    const behind = partition.append({ value: 'behind' })
    refused.catch(() => undefined)
    await settle()
    await partition.log.truncateTo(2)
    await clock.advance(1000)
    await expect(refused).rejects.toMatchObject({ expectedOffset: 4, actualOffset: 2 })
    expect(await behind).toMatchObject({ baseOffset: 2 })
    expect(textsOf(await partition.log.read(2))).toEqual(['behind'])
    await broker.close()
  })
})
