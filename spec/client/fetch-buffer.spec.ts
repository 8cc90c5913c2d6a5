import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Partition } from '../../lib/broker/partition.ts'
import { AssignedPartition } from '../../lib/client/assigned-partition.ts'
import { FetchBuffer } from '../../lib/client/fetch-buffer.ts'
import type { StoredRecord } from '../../lib/record/decode.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'

/** One batch for each count, each of its own epoch and followed by a missing offset. */
function batchesOf(counts: readonly number[]): RecordBatch[] {
  let baseOffset = 0
  return counts.map((count, epoch) => {
    const builder = new RecordBatchBuilder({ baseOffset, partitionLeaderEpoch: epoch })
    for (let each = 0; each < count; each += 1) builder.append(0, null, Buffer.from('x'))
    builder.overrideLastOffset(baseOffset + count)
    baseOffset += count + 1
    return new RecordBatch(builder.buildUncompressed())
  })
}

/** The state of a buffer that a consumer can see, and on which the next poll depends. */
function seenOf(buffer: FetchBuffer, taken: readonly StoredRecord[]): unknown {
  const { state, readyCount, servedCount, isDrained, isCurrent } = buffer
  const { position, leaderEpoch } = state
  const last = taken.at(-1)?.offset ?? 0
  const epochs = [last, last + 1].map((offset) => state.epochBefore(offset))
  const offsets = taken.map(({ offset }) => offset)
  return { offsets, position, leaderEpoch, epochs, readyCount, servedCount, isDrained, isCurrent }
}

it('takes several records at once with the same result as one by one', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 12 }),
      async (counts, polls) => {
        const source: unknown = {}
        const [together, oneByOne] = [0, 1].map(() => {
          const state = new AssignedPartition({ topic: 't', partition: 0 })
          state.seek(0)
          state.source = source as Partition
          return new FetchBuffer(state, 0, source as Partition, {
            batches: batchesOf(counts),
            error: null,
            seen: { generation: 0, damage: null },
          })
        }) as [FetchBuffer, FetchBuffer]
        for (const mostCount of polls) {
          for (const buffer of [together, oneByOne]) await buffer.decode(mostCount)
          const taken: StoredRecord[] = []
          together.takeInto(taken, mostCount)
          const expected: StoredRecord[] = []
          for (let record = oneByOne.peek(); record !== null; record = oneByOne.peek()) {
            if (expected.length === mostCount) break
            expected.push(record)
            oneByOne.skip(record)
          }
          expect(seenOf(together, taken)).toEqual(seenOf(oneByOne, expected))
        }
      },
    ),
  )
})
