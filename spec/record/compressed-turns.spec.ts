import { expect, it } from 'vitest'
import { decodeRecords } from '../../lib/record/decode.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'

const PLACE = { topic: 'orders', partition: 0 }

/** This many batches take far longer than a turn of the event loop may last. */
const MOST_BATCHES = 200_000

function smallBatch(): Promise<Buffer> {
  const builder = new RecordBatchBuilder({ compressionType: 'snappy' })
  builder.append(1, null, Buffer.from('value '.repeat(20)))
  return builder.build()
}

/** How often `step` was called before the event loop turned. */
async function stepsInOneTurn(step: () => unknown): Promise<number> {
  const loop = { hasTurned: false }
  setImmediate(() => (loop.hasTurned = true))
  let count = 0
  while (!loop.hasTurned && count < MOST_BATCHES) {
    await step()
    count += 1
  }
  return count
}

it('lets the event loop run while many small batches are decompressed on its thread', async () => {
  const batch = new RecordBatch(await smallBatch())
  expect(await stepsInOneTurn(() => decodeRecords(batch, PLACE))).toBeLessThan(MOST_BATCHES)
})

it('lets the event loop run while many small batches are compressed on its thread', async () => {
  expect(await stepsInOneTurn(smallBatch)).toBeLessThan(MOST_BATCHES)
})
