import fc from 'fast-check'
import { writeBatchHeader } from '../../lib/record/batch-layout.ts'
import { RecordBatchBuilder } from '../../lib/record/record-batch-builder.ts'
import { stampBatch, writeCrc } from '../../lib/record/record-batch.ts'
import { sizeOfRecord, sizeOfRecordBody, writeRecord } from '../../lib/record/record-encoding.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'
import { buildEndTransactionMarker } from '../record/end-transaction-marker.ts'

/** How a batch was written. */
type Kind = 'plain' | 'gzip' | 'append time' | 'marker' | 'compacted'

/** One batch of a log. */
export interface AnyBatch {
  readonly kind: Kind
  /** How many offsets are missing before it. */
  readonly gap: number
  /** The timestamps of its records, in order; -1 for none. */
  readonly times: readonly number[]
  /** Whether it is the first of a segment. */
  readonly rolls: boolean
}

/** A record that readers receive. */
export interface AnyRecord {
  readonly offset: number
  readonly timestamp: number
}

const time = fc.oneof(fc.constantFrom(-1, 0, 5, 5, 9), fc.integer({ min: 0, max: 30 }))

/** Logs of every kind that a broker of Kafka's or of this library may leave. */
export const anyBatches: fc.Arbitrary<AnyBatch[]> = fc.array(
  fc.record({
    kind: fc.constantFrom<Kind>(
      'plain',
      'plain',
      'plain',
      'gzip',
      'append time',
      'marker',
      'compacted',
    ),
    gap: fc.constantFrom(0, 0, 0, 0, 1, 7),
    times: fc.array(time, { minLength: 1, maxLength: 4 }),
    rolls: fc.constantFrom(false, false, false, true),
  }),
  { minLength: 1, maxLength: 24 },
)

/** Writes the files of `orders-0` in `/data`, without indexes. @returns what readers receive. */
export async function writeAnyLog(
  fs: SimulatedFileSystem,
  batches: readonly AnyBatch[],
): Promise<AnyRecord[]> {
  await fs.createDirectory('/data/orders-0')
  const segments: { base: number; parts: Buffer[] }[] = []
  const records: AnyRecord[] = []
  let next = 0
  for (const [slot, batch] of batches.entries()) {
    // The base offset of a segment need not be that of a record.
    if (slot === 0 || batch.rolls) segments.push({ base: next, parts: [] })
    const base = next + batch.gap
    const { bytes, kept } = await bytesOf(batch, base)
    segments.at(-1)?.parts.push(bytes)
    records.push(...kept)
    next = base + (batch.kind === 'marker' ? 1 : batch.times.length)
  }
  for (const { base, parts } of segments) {
    fs.writeFile(`/data/orders-0/${String(base).padStart(20, '0')}.log`, Buffer.concat(parts))
  }
  return records
}

async function bytesOf(
  { kind, times }: AnyBatch,
  base: number,
): Promise<{ bytes: Buffer; kept: AnyRecord[] }> {
  const kept = times.map((timestamp, delta) => ({ offset: base + delta, timestamp }))
  if (kind === 'marker') {
    const marker = { type: 'COMMIT', coordinatorEpoch: 0, timestamp: 40 } as const
    const place = { baseOffset: base, partitionLeaderEpoch: 0, producerId: 1, producerEpoch: 0 }
    return { bytes: buildEndTransactionMarker({ ...marker, ...place }), kept: [] }
  }
  if (kind === 'compacted') {
    const left = kept.filter(({ offset }) => offset % 2 === 0)
    return { bytes: compacted(left, base, times.length), kept: left }
  }
  const builder = new RecordBatchBuilder({ compressionType: kind === 'gzip' ? 'gzip' : 'none' })
  for (const { offset, timestamp } of kept) {
    builder.append(timestamp, null, Buffer.from(`v${offset}`.padEnd(24, '.')))
  }
  const bytes = await builder.build()
  const logAppendTime = Math.max(...times)
  const stamp = { baseOffset: base, partitionLeaderEpoch: 0 }
  if (kind !== 'append time' || logAppendTime < 0) {
    stampBatch(bytes, stamp)
    return { bytes, kept }
  }
  stampBatch(bytes, { ...stamp, logAppendTime })
  return { bytes, kept: kept.map(({ offset }) => ({ offset, timestamp: logAppendTime })) }
}

/** Returns a batch of `count` offsets, in which compaction has left these records. */
function compacted(left: readonly AnyRecord[], base: number, count: number): Buffer {
  const value = Buffer.from('kept')
  const sizes = left.map(({ offset, timestamp }) =>
    sizeOfRecord(offset - base, timestamp, null, value, []),
  )
  const buffer = Buffer.alloc(61 + sizes.reduce((sum, size) => sum + size, 0))
  let position = 61
  for (const { offset, timestamp } of left) {
    const bodySize = sizeOfRecordBody(offset - base, timestamp, null, value, [])
    position = writeRecord(buffer, position, bodySize, offset - base, timestamp, null, value, [])
  }
  writeBatchHeader(buffer, {
    ...{ baseOffset: base, partitionLeaderEpoch: 0, attributes: 0, lastOffsetDelta: count - 1 },
    baseTimestamp: 0,
    // A batch emptied by compaction keeps its old timestamp.
    maxTimestamp: left.length === 0 ? 30 : Math.max(...left.map(({ timestamp }) => timestamp)),
    ...{ producerId: -1, producerEpoch: -1, baseSequence: -1, recordCount: left.length },
  })
  writeCrc(buffer)
  return buffer
}
