import { describe, expect, it } from 'vitest'
import { ClosedError } from '../../lib/errors.ts'
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
