import { expect, it } from 'vitest'
import { DEFAULT_LEVELS } from '../../lib/record/codecs/levels.ts'
import { batchOfSome } from '../../lib/record/batch-filter.ts'
import { decodeRecords } from '../../lib/record/decode.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch, stampBatch } from '../../lib/record/record-batch.ts'
import { SeededRandom } from '../../lib/testing/seeded-random.ts'

const PLACE = { topic: 'orders', partition: 0 }

it('a filtered batch is compressed at the given level', async () => {
  const random = new SeededRandom(1)
  const builder = new RecordBatchBuilder({ compressionType: 'gzip', compressionLevel: 1 })
  for (let each = 0; each < 200; each += 1) {
    const words = Array.from({ length: 20 }, () => `word${random.integer(50)}`)
    builder.append(0, Buffer.from(`${each}`), Buffer.from(words.join(' ')))
  }
  const bytes = await builder.build()
  stampBatch(bytes, { baseOffset: 0, partitionLeaderEpoch: 0, groupStart: false })
  const batch = new RecordBatch(bytes)
  const records = await decodeRecords(batch, PLACE)
  const [fast, small] = await Promise.all(
    [1, 9].map((compressionGzipLevel) =>
      batchOfSome(batch, records.slice(1), { levels: { ...DEFAULT_LEVELS, compressionGzipLevel } }),
    ),
  )
  expect(small?.sizeBytes).toBeLessThan(Number(fast?.sizeBytes) * 0.95)
  if (small !== undefined) expect(await decodeRecords(small, PLACE)).toEqual(records.slice(1))
})
