import { describe, expect, it } from 'vitest'
import {
  ATTRIBUTES_POSITION,
  BASE_TIMESTAMP_POSITION,
  LOG_APPEND_TIME,
} from '../../lib/record/batch-layout.ts'
import { writeCrc } from '../../lib/record/record-batch.ts'
import { Log } from '../../lib/storage/log.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf, NOW, openLog, pathOf, readAll } from './log-fixtures.ts'

const NANOSECONDS = 1_700_000_000_000_000_000n
/** Large enough that marks of it are kept. */
const MANY = Array.from({ length: 100 }, (_, each) => `${each} `.repeat(30))

/** As a broker stores it if the topic has `LogAppendTime`: the producer's timestamps stay in it. */
function appendedAt(timestamp: number, baseOffset: number, values: readonly string[]): Buffer {
  const bytes = bytesOf({ timestamp, baseOffset, values })
  bytes.writeUInt16BE(LOG_APPEND_TIME, ATTRIBUTES_POSITION)
  bytes.writeBigInt64BE(NANOSECONDS, BASE_TIMESTAMP_POSITION)
  writeCrc(bytes)
  return bytes
}

async function brokersLog() {
  const fileSystem = new SimulatedFileSystem({ seed: 1 })
  const batches = [appendedAt(NOW, 0, ['a', 'b']), appendedAt(NOW + 5, 2, MANY)]
  fileSystem.writeFile(pathOf(0), Buffer.concat(batches))
  const config = { cleanupPolicy: 'compact' as const, segmentBytes: 100_000 }
  return { fileSystem, log: await openLog(fileSystem, { config }) }
}

describe('a log with LogAppendTime whose producer timestamps exceed 2^53', () => {
  it('uses the append times when it reads all records or a few, or searches by time', async () => {
    const { log } = await brokersLog()
    expect(log.damage).toBeNull()
    const records = await readAll(log)
    expect(records.map(({ timestamp }) => timestamp - NOW)).toEqual([0, 0, ...MANY.map(() => 5)])
    const limits = { maxRecords: 3, maxBytes: 100_000, endOffset: 102 }
    for (let each = 0; each < 2; each += 1) {
      expect(log.reader.readFewNow(50, limits)?.records).toEqual(records.slice(50, 53))
    }
    expect(await log.offsetForTimestamp(NOW + 1)).toEqual({ offset: 2, timestamp: NOW + 5 })
    await log.close()
  })

  it('keeps the append times when it is compacted', async () => {
    const { log } = await brokersLog()
    await log.roll()
    await log.cleaner.compact({ checkpoint: 0, dedupeBufferBytes: 1024 * 1024 })
    const kept = await readAll(log)
    expect(kept.map(({ offset, timestamp }) => [offset, timestamp])).toEqual([[101, NOW + 5]])
    await log.close()
  })

  it('keeps all records and their append times when it is salvaged', async () => {
    const { fileSystem, log } = await brokersLog()
    const records = await readAll(log)
    await log.close()
    const salvaged = '/saved-0'
    await Log.salvage('/orders-0', salvaged, { fileSystem })
    const copy = await Log.open(salvaged, { fileSystem })
    const place = { topic: 'saved', partition: 0 }
    expect(await readAll(copy)).toEqual(records.map((record) => ({ ...record, ...place })))
    await copy.close()
  })
})
