import { describe, expect, it } from 'vitest'
import { ClosedError } from '../../lib/errors.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { openPartition } from '../helpers/partitions.ts'

describe('closing while appends come in', () => {
  // The moment in which one run of the chain has ended and the next has not begun is some
  // microtasks after an acknowledgement, so every distance is tried.
  it.each([...Array(12).keys()])(
    'settles an append that comes %i microtasks after another is acknowledged',
    async (distance) => {
      const partition = await openPartition()
      await partition.append({ value: 'first' })
      for (let each = 0; each < distance; each += 1) await Promise.resolve()
      const last = partition.append({ value: 'last' })
      await partition.close(new ClosedError('the test is over'))
      await expect(last).resolves.toMatchObject({ baseOffset: 1 })
    },
  )
})

describe('closing in the middle of an acknowledgement', () => {
  it('settles what waits behind the group that is acknowledged', async () => {
    const partition = await openPartition()
    await partition.append({ value: 'first' })
    const builder = new RecordBatchBuilder({})
    builder.append(1_704_067_200_000, null, Buffer.from('second'))
    const closed = new Promise<void>((resolve) => {
      partition.appendBatches([builder.buildUncompressed()], 'all', {
        resolve: () => {
          resolve(partition.close(new ClosedError('the test is over')))
        },
        reject: () => undefined,
      })
    })
    // Until what is before it is written, nobody knows what it gets.
    const last = partition.append({ value: 'third' }, { expectedOffset: 2 })
    expect(await last).toMatchObject({ baseOffset: 2 })
    await closed
  })
})
