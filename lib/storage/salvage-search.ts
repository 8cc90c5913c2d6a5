import { readFully } from '../platform/file-io.ts'
import type { FileSource } from '../platform/file-system.ts'
import { BATCH_LENGTH_POSITION, MAGIC_POSITION } from '../record/batch-layout.ts'
import { LOG_OVERHEAD, MAGIC_V2, RECORD_BATCH_OVERHEAD } from '../record/record-batch.ts'
import { liesInValue, type ValueRange } from './torn-batch.ts'

const CHUNK_BYTES = 1024 * 1024

/**
 * Where a batch may begin after damage at `position`; `end` if nowhere. A length that leads to
 * another batch is believed: bytes inside a damaged batch may look like one, and are none.
 *
 * @param values those of the damaged batch and later ones; bytes inside them are no batch either.
 */
export async function nextCandidate(
  file: FileSource,
  position: number,
  end: number,
  values: readonly ValueRange[],
): Promise<number> {
  const header = Buffer.alloc(RECORD_BATCH_OVERHEAD)
  if ((await readFully(file, header, position)) === header.length) {
    const behind = position + Math.max(1, claimedSize(header, 0))
    if (behind === end) return end
    if (behind + RECORD_BATCH_OVERHEAD <= end && behind >= position + RECORD_BATCH_OVERHEAD) {
      await readFully(file, header, behind)
      if (mayBeHeader(header, 0, end - behind)) return behind
    }
  }
  for (let at = position + 1; at + RECORD_BATCH_OVERHEAD <= end; at += CHUNK_BYTES) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES + RECORD_BATCH_OVERHEAD, end - at))
    const count = await readFully(file, chunk, at)
    const last = Math.min(CHUNK_BYTES - 1, count - RECORD_BATCH_OVERHEAD)
    for (let each = 0; each <= last; each += 1) {
      const found = at + each
      if (!mayBeHeader(chunk, each, end - found)) continue
      if (!liesInValue(values, found, found + claimedSize(chunk, each))) return found
    }
  }
  return end
}

function mayBeHeader(bytes: Buffer, at: number, remainingBytes: number): boolean {
  if (bytes[at + MAGIC_POSITION] !== MAGIC_V2) return false
  const size = claimedSize(bytes, at)
  return size >= RECORD_BATCH_OVERHEAD && size <= remainingBytes
}

function claimedSize(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at + BATCH_LENGTH_POSITION) + LOG_OVERHEAD
}
