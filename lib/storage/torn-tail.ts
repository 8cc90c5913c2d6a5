import { CorruptRecordError } from '../errors.ts'
import { readFully, replaceFile } from '../platform/file-io.ts'
import { isSystemError } from '../platform/system-error.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { TORN_SUFFIX } from './log-files.ts'
import type { LogSegment } from './log-segment.ts'
import { findLastGroupStart, type ScanResult } from './segment-scan.ts'

/** Bytes that were cut from the end of a log because no whole batch could be made of them. */
export interface Truncation {
  readonly path: string
  /** Where the file ends now. */
  readonly position: number
  readonly sizeBytes: number
  readonly reason: string
  /** File that the bytes were copied to; `null` when they were all zero, or there was no room. */
  readonly keptIn: string | null
}

/** Bytes cut from a log are kept up to this size. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024

/** What tells whether bytes at the end of a segment had been durable. */
export interface DurabilityEvidence {
  readonly fileSizeBytes: number
  readonly recoveryPoint: number
  /** Base offset of the next segment, `null` when there is none. */
  readonly nextBaseOffset: number | null
}

/**
 * Tells rot from a write that a crash interrupted.
 *
 * @returns the damage when something says that bytes from where the scan stopped had been durable:
 * the recovery point, a later segment (the one before is durable when it is created), or a later
 * batch with the group start bit; `null` when nothing does.
 */
export async function findDamage(
  fileSystem: FileSystem,
  segment: LogSegment,
  scan: ScanResult,
  evidence: DurabilityEvidence,
): Promise<CorruptRecordError | null> {
  const { position, nextOffset, reason } = scan
  const { fileSizeBytes: end, recoveryPoint, nextBaseOffset } = evidence
  const { baseOffset, path } = segment
  const file = await fileSystem.open(path, 'read')
  let later: number | null
  try {
    // Whatever its offset: a flipped bit in a base offset, which no checksum covers, makes every
    // batch behind it look out of order, and those had been durable all the same.
    const range = { position, end, baseOffset, nextOffset: baseOffset }
    later = (await findLastGroupStart(file, range))?.baseOffset ?? null
  } finally {
    await file.close()
  }
  if (nextBaseOffset === null && later === null && nextOffset >= recoveryPoint) return null
  const durableEnd = Math.max(recoveryPoint, later ?? 0, nextBaseOffset ?? 0)
  return new CorruptRecordError(`${reason ?? ''}; what follows had been durable`, {
    path,
    position,
    firstOffset: nextOffset,
    lastOffset: durableEnd > nextOffset ? durableEnd - 1 : null,
  })
}

/** Cuts the file behind its last valid batch, and keeps the bytes in a file beside it. */
export async function cutTornTail(
  fileSystem: FileSystem,
  segment: LogSegment,
  fileSizeBytes: number,
  reason: string,
): Promise<Truncation> {
  const { path, sizeBytes: position } = segment
  const keptIn = await keepAside(fileSystem, path, position, fileSizeBytes)
  await segment.cutFile()
  return { path, position, sizeBytes: fileSizeBytes - position, reason, keptIn }
}

async function keepAside(
  fileSystem: FileSystem,
  path: string,
  position: number,
  end: number,
): Promise<string | null> {
  const tail = Buffer.alloc(Math.min(end - position, MAX_KEPT_BYTES))
  const file = await fileSystem.open(path, 'read')
  try {
    await readFully(file, tail, position)
  } finally {
    await file.close()
  }
  if (!tail.some((byte) => byte !== 0)) return null
  const keptIn = `${path}.${position}${TORN_SUFFIX}`
  try {
    await replaceFile(fileSystem, keptIn, tail)
    return keptIn
  } catch (error) {
    // Nobody was told that these bytes are safe, and a log must open on a full disk too.
    if (isSystemError(error)) return null
    throw error
  }
}
