import { describe, expect, it } from 'vitest'
import type { FetchOptions } from '../../lib/broker/partition-reads.ts'
import type { Partition } from '../../lib/broker/partition.ts'
import { CorruptRecordError } from '../../lib/errors.ts'
import {
  ATTRIBUTES_POSITION,
  CRC_POSITION,
  RECORD_BATCH_OVERHEAD,
} from '../../lib/record/batch-layout.ts'
import { crc32c } from '../../lib/record/crc32c.ts'
import { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { openPartition, textsOf } from '../helpers/partitions.ts'
import { bytesOf } from '../storage/log-fixtures.ts'

/** The compression type gzip. */
const GZIP = 1

/** What a writer other than this library has done to a batch; its checksum is right. */
const CHANGES = {
  'compressed records that are none': (bytes: Buffer) =>
    bytes.writeInt16BE(GZIP, ATTRIBUTES_POSITION),
  'a wrong size of a record': (bytes: Buffer) => bytes.writeUInt8(0x7e, RECORD_BATCH_OVERHEAD),
} as const

function changed(bytes: Buffer, change: (bytes: Buffer) => unknown): Buffer {
  change(bytes)
  bytes.writeUInt32BE(crc32c(bytes, ATTRIBUTES_POSITION), CRC_POSITION)
  return bytes
}

/**
 * Batches of one record each, `v0` to `v4`, of which that at offset 3 cannot be decoded, and `v5` in
 * the next segment.
 */
async function partitionWith(change: (bytes: Buffer) => unknown): Promise<Partition> {
  const fileSystem = new SimulatedFileSystem()
  await fileSystem.createDirectory('/data/orders-0')
  const batches = [0, 1, 2, 3, 4].map((baseOffset) => {
    const bytes = bytesOf({ baseOffset, values: [`v${baseOffset}`] })
    return baseOffset === 3 ? changed(bytes, change) : bytes
  })
  fileSystem.writeFile(`/data/orders-0/${'0'.repeat(20)}.log`, Buffer.concat(batches))
  const next = bytesOf({ baseOffset: 5, values: ['v5'] })
  fileSystem.writeFile(`/data/orders-0/${'5'.padStart(20, '0')}.log`, next)
  return openPartition({ fileSystem, recentBytes: 0 })
}

describe('a batch that cannot be decoded', () => {
  describe.each(['compressed records that are none', 'a wrong size of a record'] as const)(
    'because of %s',
    (kind) => {
      it.each<[string, 'read' | 'fetch', FetchOptions]>([
        ['read', 'read', {}],
        ['read of a few', 'read', { maxRecords: 100 }],
        ['fetch', 'fetch', { maxWaitMs: 0 }],
        ['fetch of a few', 'fetch', { maxRecords: 100, maxWaitMs: 0 }],
        ['fetch of many bytes', 'fetch', { minBytes: 100_000, maxWaitMs: 0 }],
        [
          'fetch of a few and many bytes',
          'fetch',
          { maxRecords: 9, minBytes: 9_000, maxWaitMs: 0 },
        ],
      ])('ends a %s before it, and rejects one that begins there', async (_, way, options) => {
        const partition = await partitionWith(CHANGES[kind])
        for (const from of [0, 2]) {
          const found = textsOf(await partition[way](from, options))
          expect(found).toEqual(['v0', 'v1', 'v2'].slice(from))
        }
        await expect(partition[way](3, options)).rejects.toThrow(CorruptRecordError)
        expect(textsOf(await partition[way](4, options))[0]).toBe('v4')
      })
    },
  )
})
