import { expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import { PRODUCER_ID_POSITION } from '../../lib/record/batch-layout.ts'
import { writeCrc } from '../../lib/record/record-batch.ts'
import { decodeProducerSnapshot } from '../../lib/storage/producer-snapshot.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, openLog, pathOf } from './log-fixtures.ts'

const CONFIG = {
  segmentBytes: 100_000,
  indexIntervalBytes: 32,
  flushMessages: 1000,
  flushMs: 60_000,
}
const SIZE = bytesOf().length
const PRODUCER = { producerId: 7, producerEpoch: 0 }

/** Ten batches, of which eight are below the recovery point. No snapshot of producers is. */
async function killed(producer: object): Promise<SimulatedFileSystem> {
  const fs = new SimulatedFileSystem({ seed: 1 })
  const log = await openLog(fs, { config: CONFIG })
  for (let each = 0; each < 10; each += 1) {
    await log.appendBatches([bytesOf({ ...producer, baseSequence: each })])
    if (each === 7) await log.flush()
  }
  await log.checkpoint()
  return fs.restart('process')
}

it.each([
  ['without an id', {}],
  ['with an id', PRODUCER],
])(
  'opens a log with a damaged batch below the recovery point, of a producer %s',
  async (_, producer) => {
    const fs = await killed(producer)
    fs.flipBit(pathOf(0), 2 * SIZE + 66, 1)
    const log = await openLog(fs, { config: CONFIG })
    expect(log.damage).toBeNull()
    expect((await log.read(5, 1))[0]?.offset).toBe(5)
    await expect(log.read(2, 1)).rejects.toThrow(CorruptRecordError)
  },
)

it.each([
  ['without an id', {}],
  ['with an id', PRODUCER],
])(
  'accepts appends after a failed write although an earlier batch is damaged, of a producer %s',
  async (_, producer) => {
    const fs = new SimulatedFileSystem({ seed: 1 })
    const log = await openLog(fs, { config: CONFIG })
    for (let each = 0; each < 10; each += 1) {
      await log.appendBatches([bytesOf({ ...producer, baseSequence: each })])
    }
    fs.flipBit(pathOf(0), 2 * SIZE + 66, 1)
    fs.failNext('write', 'ENOSPC', { path: pathOf(0) })
    await log.append([{ key: 'k', value: 'a' }]).catch(() => undefined)
    expect(await log.append([{ key: 'k', value: 'b' }])).toMatchObject({ baseOffset: 10 })
  },
)

it('opens a log with a batch whose producer id is 2^53, reads that batch, and keeps no state of that producer', async () => {
  const fs = await killed(PRODUCER)
  const bytes = fs.readFile(pathOf(0))
  const batch = bytes.subarray(2 * SIZE, 3 * SIZE)
  batch.writeBigInt64BE(2n ** 53n, PRODUCER_ID_POSITION)
  writeCrc(batch)
  fs.writeFile(pathOf(0), bytes)
  const log = await openLog(fs, { config: CONFIG })
  expect(log.damage).toBeNull()
  expect((await log.read(2, 1))[0]?.offset).toBe(2)
  await log.close()
  const snapshot = pathOf(10, 'snapshot')
  const producers = decodeProducerSnapshot(fs.readFile(snapshot), snapshot)
  expect(producers).toMatchObject([{ producerId: 7, lastSequence: 9 }])
})
