import type { Content } from './arbitraries.ts'
import { RecordBatchBuilder, type RecordHeader } from '../../lib/record/record-batch-builder.ts'
import type { RecordBatchBuilderOptions } from '../../lib/record/record-batch-builder.ts'

// Batches written by Apache Kafka's own classes, byte for byte.

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(/\s/g, ''), 'hex')

/** The encoded records of every batch here that has user records. */
export const GOLDEN_RECORDS: Buffer = bytes(`
  22 00 00 00 04 6b31 04 7631 04 02 68 02 78 02 6e 01
  0c 00 0a 02 01 01 00
  0c 00 13 04 00 00 00`)

/** Base offset 100, create time. */
export const PLAIN_BATCH: Buffer = Buffer.concat([
  bytes(`0000000000000064 00000051 00000000 02 df9eec65 0000 00000002 0000018bcfe56800
         0000018bcfe56805 ffffffffffffffff ffff ffffffff 00000003`),
  GOLDEN_RECORDS,
])

/** Base offset 7, append time, with a producer whose sequence wraps inside the batch. */
export const APPEND_TIME_BATCH: Buffer = Buffer.concat([
  bytes(`0000000000000007 00000051 00000000 02 8d40825f 0008 00000002 0000018bcfe56800
         0000018bcfe58f0f 00000000000010e1 0003 7ffffffe 00000003`),
  GOLDEN_RECORDS,
])

const compressed = (codec: string, crc: string, body: Buffer): Buffer => {
  const header = bytes(`0000000000000000 00000000 00000000 02 ${crc} ${codec} 00000002
    0000018bcfe56800 0000018bcfe56805 ffffffffffffffff ffff ffffffff 00000003`)
  header.writeInt32BE(49 + body.length, 8)
  return Buffer.concat([header, body])
}

/** The same records, compressed. */
export const COMPRESSED_BATCHES: Readonly<Record<'snappy' | 'lz4' | 'zstd', Buffer>> = {
  snappy: compressed(
    '0002',
    '3b1d3ea3',
    bytes(`82534e4150505900 00000001 00000001 00000022
      207c22000000046b310476310402680278026e010c000a020101000c001304000000`),
  ),
  lz4: compressed(
    '0003',
    'd790fce5',
    Buffer.concat([bytes('04224d18 60 40 82 20000080'), GOLDEN_RECORDS, bytes('00000000')]),
  ),
  zstd: compressed(
    '0004',
    '4d896d5f',
    Buffer.concat([bytes('28b52ffd 0058 000100'), GOLDEN_RECORDS, bytes('010000')]),
  ),
}

/** Commits a transaction at offset 55. */
export const COMMIT_MARKER: Buffer = bytes(`
  0000000000000037 00000042 00000000 02 afd78f71 0030 00000000 0000018bcfe56800
  0000018bcfe56800 00000000000010e1 0003 ffffffff 00000001
  20 00 00 00 08 00000001 0c 000000000009 00`)

/** Aborts a transaction at offset 56. */
export const ABORT_MARKER: Buffer = bytes(`
  0000000000000038 00000042 00000000 02 5be95939 0030 00000000 0000018bcfe56800
  0000018bcfe56800 00000000000010e1 0003 ffffffff 00000001
  20 00 00 00 08 00000000 0c 000000000009 00`)

/** Covers the offsets 15 to 37, of which no record is left. */
export const EMPTY_BATCH: Buffer = bytes(`
  000000000000000f 00000031 0000000f 02 5d4e3d62 0000 00000016 ffffffffffffffff
  0000018bcfe56800 0000000000005b7f 0091 000003d7 00000000`)

export const GOLDEN_TIMESTAMP = 1_700_000_000_000

export const GOLDEN_HEADERS: readonly RecordHeader[] = [
  { key: 'h', value: Buffer.from('x') },
  { key: 'n', value: null },
]

/** A builder that holds the golden records. */
export function goldenBuilder(options: RecordBatchBuilderOptions): RecordBatchBuilder {
  const builder = new RecordBatchBuilder(options)
  builder.append(GOLDEN_TIMESTAMP, Buffer.from('k1'), Buffer.from('v1'), GOLDEN_HEADERS)
  builder.append(GOLDEN_TIMESTAMP + 5, null, null)
  builder.append(GOLDEN_TIMESTAMP - 10, Buffer.alloc(0), Buffer.alloc(0))
  return builder
}

/** What decoding the golden records gives, but for place, offset and timestamp. */
export const GOLDEN_CONTENT: readonly Content[] = [
  { key: Buffer.from('k1'), value: Buffer.from('v1'), headers: GOLDEN_HEADERS },
  { key: null, value: null, headers: [] },
  { key: Buffer.alloc(0), value: Buffer.alloc(0), headers: [] },
]
