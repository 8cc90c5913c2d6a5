import { describe, expect, it } from 'vitest'
import { CorruptRecordError } from '../../lib/errors.ts'
import type { File } from '../../lib/platform/file-system.ts'
import { BATCH_LENGTH_POSITION, LOG_OVERHEAD } from '../../lib/record/batch-layout.ts'
import { BatchReader } from '../../lib/storage/batch-reader.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { bytesOf } from './log-fixtures.ts'

const MIB = 1024 * 1024

/** A file with these bytes, and the largest number of bytes that one read requested. */
async function fileWith(bytes: Buffer): Promise<{ file: File; mostBytes: () => number }> {
  const fileSystem = new SimulatedFileSystem()
  fileSystem.writeFile('/f', bytes)
  const file = await fileSystem.open('/f', 'read')
  const read = file.read.bind(file)
  let most = 0
  file.read = (buffer, position) => {
    most = Math.max(most, buffer.length)
    return read(buffer, position)
  }
  return { file, mostBytes: () => most }
}

describe('a batch with a damaged length', () => {
  it('is rejected without allocating the memory that it claims', async () => {
    const batch = bytesOf({ values: ['v'] })
    batch.writeInt32BE(30 * MIB - LOG_OVERHEAD, BATCH_LENGTH_POSITION)
    const { file, mostBytes } = await fileWith(Buffer.concat([batch, Buffer.alloc(30 * MIB)]))
    const found = new BatchReader(file, 0, 31 * MIB).batch()
    await expect(found).rejects.toBeInstanceOf(CorruptRecordError)
    await expect(found).rejects.toMatchObject({
      reason: `the CRC of its ${30 * MIB} bytes does not match`,
      path: '/f',
      position: 0,
      firstOffset: 0,
    })
    expect(mostBytes()).toBeLessThanOrEqual(4 * MIB)
  })
})

it('reads a large batch as a whole', async () => {
  const batch = bytesOf({ values: ['x'.repeat(6 * MIB)] })
  const { file } = await fileWith(Buffer.concat([batch, bytesOf({ baseOffset: 1 })]))
  const reader = new BatchReader(file, 0, batch.length + bytesOf().length)
  expect((await reader.batch()).buffer.equals(batch)).toBe(true)
  reader.skip()
  expect((await reader.batch()).baseOffset).toBe(1)
})
