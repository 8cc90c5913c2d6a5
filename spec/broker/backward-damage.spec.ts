import { expect, it } from 'vitest'
import { Broker } from '../../lib/broker.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

const FIRST = '/data/t-0/00000000000000000000.log'

it('reports damage at the end of a segment before a gap left by compaction, when read backwards', async () => {
  const fileSystem = new SimulatedFileSystem()
  const config = { segmentBytes: 1000, indexIntervalBytes: 1_000_000 }
  const broker = await Broker.open('/data', { fileSystem })
  const topic = await broker.createTopic('t', { ...config, cleanupPolicy: 'compact' })
  const partition = topic.partition(0)
  for (let key = 0; key < 8; key += 1) await partition.append({ key: `${key}`, value: 'kept' })
  await partition.log.roll()
  // Compaction removes these records from the beginning of the second segment.
  for (let each = 0; each < 3; each += 1) {
    await partition.append({ key: 'again', value: 'y'.repeat(150) })
  }
  await partition.append({ key: 'other', value: 'x' })
  await partition.log.roll()
  await partition.append({ key: 'again', value: 'y' })
  await partition.compact()
  await broker.close()
  const bytes = Buffer.from(fileSystem.readFile(FIRST))
  let last = 0
  for (let at = 0; at < bytes.length; at += 12 + bytes.readInt32BE(at + 8)) last = at
  bytes.writeUInt8(6, last + 16)
  fileSystem.writeFile(FIRST, bytes)
  await using again = await Broker.open('/data', { fileSystem })
  const read = async (): Promise<number> => {
    let count = 0
    const records = again.topic('t').partition(0).records({ reverse: true, until: 10 })
    for await (const { offset } of records) count += offset
    return count
  }
  await expect(read()).rejects.toThrow(CorruptRecordError)
  await expect(again.topic('t').partition(0).readLast(5)).rejects.toThrow(CorruptRecordError)
})
