import { expect, it } from 'vitest'
import { WholeAppend } from '../../lib/broker/pending-append.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { RecordBatch } from '../../lib/record/record-batch.ts'
import type { AppendResult } from '../../lib/storage/append-record.ts'

it('acknowledges an append of more batches than a function call can take arguments', async () => {
  const builder = new RecordBatchBuilder({ baseOffset: 7 })
  builder.append(5, null, Buffer.from('v'))
  const buffers = Array<Buffer>(300_000).fill(builder.buildUncompressed())
  const appended = new Promise<AppendResult>((resolve, reject) => {
    const options = { acks: 'all', isInLine: true } as const
    const owner = { grown: () => undefined, giveUp: () => false }
    const append = new WholeAppend(owner, buffers, options, { resolve, reject })
    append.written(buffers.map((buffer) => new RecordBatch(buffer)))
    append.done()
  })
  expect(await appended).toEqual({ baseOffset: 7, lastOffset: 7, timestamp: 5 })
})
