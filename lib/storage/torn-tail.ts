import { CorruptRecordError } from '../errors.ts'
import { readFully, readPieces, replaceFile } from '../platform/file-io.ts'
import { isSystemError } from '../platform/system-error.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { TORN_SUFFIX } from './log-files.ts'
import type { DurableEnd } from './durable-end.ts'
import type { LogSegment } from './log-segment.ts'
import type { LogSegments } from './log-segments.ts'
import { isNoRoom } from './owed-recovery.ts'
import { isReadFailure } from './read-failure.ts'
import { isPreallocated } from './preallocation.ts'
import { findLastGroupStart, type ScanResult } from './segment-scan.ts'
import { valuesOfTornBatches } from './torn-batch.ts'
import { isUnrepresentable } from './unrepresentable.ts'

/**
 * Bytes that were cut from the end of a log: they did not form a whole batch, or a sync had failed
 * before they were durable.
 */
export interface Truncation {
  readonly path: string
  /** Where the file ends now. */
  readonly position: number
  readonly sizeBytes: number
  readonly reason: string
  /**
   * File that all of the bytes were copied to; `null` if they were all zero, or there was no space
   * for them. It counts in no size, may be deleted by anybody, and is deleted once the log starts
   * after its segment.
   */
  readonly keptIn: string | null
}

/** What tells whether bytes at the end of a segment were durable. */
export interface DurabilityEvidence {
  readonly fileSizeBytes: number
  /** Everything below was durable, by the recovery point or by the mark of a failed sync. */
  readonly durableOffset: number
  /** Base offset of the next segment; `null` if there is none. */
  readonly nextBaseOffset: number | null
}

/**
 * Tells rot from a write that a crash interrupted.
 *
 * @returns the damage if something says that bytes from the end of the scan on were durable: the
 * recovery point, a later segment (the one before is durable when it is created), or a later batch
 * with the group start bit, unless it is a part of a record. Also if the bytes there are intact,
 * but of a kind that cannot be read. `null` otherwise.
 */
export async function findDamage(
  fileSystem: FileSystem,
  segment: LogSegment,
  scan: ScanResult,
  evidence: DurabilityEvidence,
): Promise<CorruptRecordError | null> {
  const { position, nextOffset, reason } = scan
  const { fileSizeBytes: end, durableOffset, nextBaseOffset } = evidence
  const { baseOffset, path } = segment
  const file = await fileSystem.open(path, 'read')
  let later: number | null
  let isForeign: boolean
  try {
    // Batches of any offset count: a flipped bit in a base offset, which no checksum covers, makes
    // every later batch look out of order, although it was durable. A batch at the end of the scan
    // tells nothing of its own bytes: a torn write may have lost only its base offset.
    const range = { position: position + 1, end, baseOffset, nextOffset: baseOffset }
    const values = await valuesOfTornBatches(file, { position, end, nextOffset })
    later = (await findLastGroupStart(file, range, values))?.baseOffset ?? null
    isForeign = await isUnrepresentable(file, position, end)
  } finally {
    await file.close()
  }
  const wasDurable = nextBaseOffset !== null || later !== null || nextOffset < durableOffset
  if (!wasDurable && !isForeign) return null
  const durableEnd = Math.max(durableOffset, later ?? 0, nextBaseOffset ?? 0)
  const proof = isForeign ? 'its own checksum matches' : 'these bytes had been durable'
  return new CorruptRecordError(`${reason ?? ''}; ${proof}`, {
    path,
    position,
    firstOffset: nextOffset,
    lastOffset: durableEnd > nextOffset ? durableEnd - 1 : null,
  })
}

/**
 * Takes a log back to where it was durable when a sync of it failed, whatever the files seem to
 * hold after that.
 *
 * @param readOnly whether to leave the files as they are, and only ignore the rest of them.
 * @returns what was cut; `null` if nothing was.
 */
export async function goBackTo(
  fileSystem: FileSystem,
  segments: LogSegments,
  end: DurableEnd,
  readOnly: boolean,
): Promise<Truncation | null> {
  const kept = segments.all.filter(({ baseOffset }) => baseOffset <= end.segment)
  // Also a segment that begins at the end: a roll has created it, and if its sync was the one that
  // failed, the name of the segment is in doubt as well.
  await (readOnly ? segments.replace(kept) : segments.removeAbove(end.segment))
  const last = segments.active
  if (last?.baseOffset !== end.segment) return null
  const { position } = end
  const { sizeBytes } = last
  if (sizeBytes <= position) return null
  last.sizeBytes = position
  if (readOnly) return null
  return cutTornTail(fileSystem, last, sizeBytes, `a sync failed at offset ${end.offset}`)
}

/**
 * Truncates the file after its last valid batch, and keeps the bytes in a file beside it.
 *
 * @returns `null` if all of them were preallocated: nothing was lost.
 */
export async function cutTornTail(
  fileSystem: FileSystem,
  segment: LogSegment,
  fileSizeBytes: number,
  reason: string,
): Promise<Truncation | null> {
  const { path, sizeBytes: position } = segment
  const isNothing = await segment.file.use((file) => isPreallocated(file, position, fileSizeBytes))
  const keptIn = isNothing ? null : await keepAside(fileSystem, path, position, fileSizeBytes)
  try {
    await segment.cutFile()
  } catch (error) {
    // It is cut when all is made durable, now or once there is space.
    if (!isNoRoom(error)) throw error
  }
  return isNothing ? null : { path, position, sizeBytes: fileSizeBytes - position, reason, keptIn }
}

async function keepAside(
  fileSystem: FileSystem,
  path: string,
  position: number,
  end: number,
): Promise<string | null> {
  const file = await fileSystem.open(path, 'read')
  try {
    if (await isAllZero(file, position, end)) return null
    // Other bytes may have been cut there before, acknowledged ones among them.
    for (let count = 1; ; count += 1) {
      const number = count === 1 ? '' : `.${count}`
      const keptIn = `${path}.${position}${number}${TORN_SUFFIX}`
      const kept = await fileSystem.stat(keptIn)
      if (kept === null) {
        const isKept = await isCopied(fileSystem, keptIn, readPieces(file, position, end))
        return isKept ? keptIn : null
      }
      if (!(await beginsWith(fileSystem, keptIn, readPieces(file, position, end)))) continue
      // An open that was interrupted has kept these bytes, and perhaps more. Its file may be in the
      // page cache only.
      const isKept = await isWrittenAgain(fileSystem, keptIn, kept.sizeBytes)
      return isKept ? keptIn : null
    }
  } finally {
    await file.close()
  }
}

/** Whether a file begins with these bytes; false if it cannot be read. */
async function beginsWith(
  fileSystem: FileSystem,
  path: string,
  content: AsyncIterable<Uint8Array>,
): Promise<boolean> {
  let file: File | null = null
  try {
    file = await fileSystem.open(path, 'read')
    let position = 0
    for await (const piece of content) {
      const kept = Buffer.alloc(piece.length)
      if ((await readFully(file, kept, position)) < kept.length || !kept.equals(piece)) return false
      position += piece.length
    }
    return true
  } catch (error) {
    if (!isReadFailure(error)) throw error
    return false
  } finally {
    await file?.close()
  }
}

async function isWrittenAgain(
  fileSystem: FileSystem,
  path: string,
  sizeBytes: number,
): Promise<boolean> {
  const file = await fileSystem.open(path, 'read')
  try {
    return await isCopied(fileSystem, path, readPieces(file, 0, sizeBytes))
  } finally {
    await file.close()
  }
}

async function isAllZero(file: File, position: number, end: number): Promise<boolean> {
  for await (const piece of readPieces(file, position, end)) {
    if (piece.some((byte) => byte !== 0)) return false
  }
  return true
}

/** @returns `false` if there is no space for all of it. */
async function isCopied(
  fileSystem: FileSystem,
  path: string,
  content: AsyncIterable<Uint8Array>,
): Promise<boolean> {
  try {
    await replaceFile(fileSystem, path, content)
    return true
  } catch (error) {
    // Nobody was told that these bytes are safe, and a log must open on a full disk too. After any
    // other failure nothing is cut: the next open may be able to keep them.
    if (!isSystemError(error, 'ENOSPC', 'EDQUOT')) throw error
    // A partial copy is of no use, and takes space that the next steps need.
    await fileSystem.unlink(`${path}.tmp`).catch(() => undefined)
    return false
  }
}
