import { CorruptRecordError } from '../errors.ts'
import { readPieces, replaceFile } from '../platform/file-io.ts'
import { isSystemError } from '../platform/system-error.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { TORN_SUFFIX } from './log-files.ts'
import type { DurableEnd } from './durable-end.ts'
import type { LogSegment } from './log-segment.ts'
import type { LogSegments } from './log-segments.ts'
import { isNoRoom } from './owed-recovery.ts'
import { isPreallocated } from './preallocation.ts'
import { findLastGroupStart, type ScanResult } from './segment-scan.ts'
import { valuesOfTornBatches } from './torn-batch.ts'
import { isUnrepresentable } from './unrepresentable.ts'

/**
 * Bytes that were cut from the end of a log: no whole batch could be made of them, or a sync had
 * failed before they were durable.
 */
export interface Truncation {
  readonly path: string
  /** Where the file ends now. */
  readonly position: number
  readonly sizeBytes: number
  readonly reason: string
  /**
   * File that the bytes were copied to, all of them; `null` when they were all zero, or there was
   * no room. It counts in no size, may be deleted by anybody, and goes with its segment when that is older
   * than is kept.
   */
  readonly keptIn: string | null
}

/** What tells whether bytes at the end of a segment had been durable. */
export interface DurabilityEvidence {
  readonly fileSizeBytes: number
  /** Everything below was durable: the recovery point, or what a failed sync has marked. */
  readonly durableOffset: number
  /** Base offset of the next segment, `null` when there is none. */
  readonly nextBaseOffset: number | null
}

/**
 * Tells rot from a write that a crash interrupted.
 *
 * @returns the damage when something says that bytes from where the scan stopped had been durable:
 * the recovery point, a later segment (the one before is durable when it is created), or a later
 * batch with the group start bit, unless it is a part of a record; or when what stands there is whole,
 * and not of the kind that can be read; `null` otherwise.
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
    // Whatever its offset: a flipped bit in a base offset, which no checksum covers, makes every
    // batch behind it look out of order, and those had been durable all the same.
    // One that begins where the scan stopped says nothing of its own bytes: a torn write may have
    // lost its base offset alone.
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
  const proof = isForeign ? 'its own checksum fits' : 'what follows had been durable'
  return new CorruptRecordError(`${reason ?? ''}; ${proof}`, {
    path,
    position,
    firstOffset: nextOffset,
    lastOffset: durableEnd > nextOffset ? durableEnd - 1 : null,
  })
}

/**
 * Takes a log back to where it was durable when a sync of it failed, whatever the files seem to hold
 * behind that.
 *
 * @param readOnly whether to leave the files as they are, and only see no more of them.
 * @returns what was cut, `null` when there was nothing.
 */
export async function goBackTo(
  fileSystem: FileSystem,
  segments: LogSegments,
  end: DurableEnd,
  readOnly: boolean,
): Promise<Truncation | null> {
  const kept = segments.all.filter(({ baseOffset }) => baseOffset <= end.segment)
  // Also one that begins at the end: it was made while rolling, and if that sync failed its name is
  // in doubt as well.
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
 * Cuts the file behind its last valid batch, and keeps the bytes in a file beside it.
 *
 * @returns `null` when they were preallocated, all of them: nothing was lost.
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
    // It is cut with all that has to be made durable, now or when there is room.
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
    const keptIn = `${path}.${position}${TORN_SUFFIX}`
    const isKept = await isCopied(fileSystem, keptIn, readPieces(file, position, end))
    return isKept ? keptIn : null
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

/** @returns `false` where there is no room for all of it. */
async function isCopied(
  fileSystem: FileSystem,
  path: string,
  content: AsyncIterable<Uint8Array>,
): Promise<boolean> {
  try {
    await replaceFile(fileSystem, path, content)
    return true
  } catch (error) {
    // Nobody was told that these bytes are safe, and a log must open on a full disk too. After another
    // failure nothing is cut: the next open may be able to keep them.
    if (!isSystemError(error, 'ENOSPC', 'EDQUOT')) throw error
    // A part of them is of no use, and takes room that what follows needs.
    await fileSystem.unlink(`${path}.tmp`).catch(() => undefined)
    return false
  }
}
