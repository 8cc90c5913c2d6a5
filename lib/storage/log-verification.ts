import { CorruptRecordError } from '../errors.ts'
import { readFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { continueCrc32c } from '../record/crc32c.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import type { EpochEntry } from './leader-epoch-cache.ts'
import type { LocalLog } from './local-log.ts'
import type { LogGuard } from './log-guard.ts'
import type { LogSegment } from './log-segment.ts'
import { scanBatches } from './segment-scan.ts'

const READ_BYTES = 1024 * 1024

/**
 * The first damage of each segment, in offset order, with that which is known already.
 *
 * @throws {@link ClosedError} when the log is closed, {@link StorageError} when the disk fails.
 */
export async function verifySegments(
  fileSystem: FileSystem,
  { segments, epochs }: Pick<LocalLog, 'segments' | 'epochs'>,
  guard: LogGuard,
): Promise<CorruptRecordError[]> {
  guard.ensureOpen()
  const objection = epochObjection(epochs.entries)
  const { damage: known } = guard
  const found: CorruptRecordError[] = []
  try {
    for (const segment of segments.all) {
      const damage = await verifySegment(fileSystem, segment, objection)
      if (damage !== null) found.push(damage)
    }
  } catch (error) {
    throw guard.failed('verify', error, 'not-written')
  }
  if (known !== null && found.every(({ path }) => path !== known.path)) found.push(known)
  return found.sort((a, b) => Number(a.firstOffset) - Number(b.firstOffset))
}

/**
 * Reads one segment's log file from its start to the end that it had when the call was made.
 *
 * @returns the first damage: in a batch, or in its leader epoch, or, where every batch is sound in itself, that the file is
 * not the one whose checksum is on record; `null` when there is none.
 */
async function verifySegment(
  fileSystem: FileSystem,
  segment: LogSegment,
  objection: (batch: RecordBatch) => string | null,
): Promise<CorruptRecordError | null> {
  const { baseOffset, nextOffset, path, sizeBytes: end, entry } = segment
  const file = await fileSystem.open(path, 'read')
  try {
    const gaps = entry.isDense ? 'none' : 'any'
    const range = { position: 0, end, baseOffset, nextOffset: baseOffset, gaps, objection } as const
    const scan = await scanBatches(file, range, () => undefined)
    const offsets = { firstOffset: scan.nextOffset, lastOffset: nextOffset - 1 }
    if (scan.reason !== null) {
      return new CorruptRecordError(scan.reason, { path, position: scan.position, ...offsets })
    }
    const crc = entry.crc === null ? null : await checksumOf(file, end)
    if (crc === entry.crc) return null
    return new CorruptRecordError(
      `the checksum of the file is ${hex(crc)}, not ${hex(entry.crc)} as on record`,
      { path, position: 0, firstOffset: baseOffset, lastOffset: nextOffset - 1 },
    )
  } finally {
    await file.close()
  }
}

/**
 * Tells of each batch, in the order of their offsets, why its leader epoch is wrong; `null` where it is
 * not, or nobody knows. No checksum of the batch covers it, and an open looks at the last ones only.
 */
function epochObjection(entries: readonly EpochEntry[]): (batch: RecordBatch) => string | null {
  let slot = 0
  return ({ baseOffset, partitionLeaderEpoch: epoch }) => {
    while ((entries[slot + 1]?.startOffset ?? Infinity) <= baseOffset) slot += 1
    const known = entries[slot]
    if (known === undefined || known.startOffset > baseOffset || known.epoch === epoch) return null
    return `its leader epoch is ${epoch}, not ${known.epoch}`
  }
}

/** CRC-32C of the first bytes of a file. */
async function checksumOf(file: File, sizeBytes: number): Promise<number> {
  const chunk = Buffer.allocUnsafe(Math.min(READ_BYTES, sizeBytes))
  let crc = 0
  for (let at = 0; at < sizeBytes; at += chunk.length) {
    const wanted = chunk.subarray(0, Math.min(chunk.length, sizeBytes - at))
    crc = continueCrc32c(crc, wanted.subarray(0, await readFully(file, wanted, at)))
  }
  return crc
}

function hex(crc: number | null): string {
  return `0x${Number(crc).toString(16).padStart(8, '0')}`
}
