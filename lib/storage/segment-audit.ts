import { CorruptRecordError } from '../errors.ts'
import { segmentFilePath } from './log-files.ts'
import type { SegmentEntry, SegmentRecord } from './segment-record.ts'

/** A segment file as it was found. */
export interface FoundSegment {
  readonly baseOffset: number
  readonly path: string
  readonly sizeBytes: number
}

/** A difference between the segment files and the record of segments. */
export interface SegmentBreach {
  readonly entry: SegmentEntry
  /** The file that was different or not there; `null` when the recorded one is missing. */
  readonly path: string | null
  readonly reason: string
  /** First byte that is missing or in excess. */
  readonly position: number
}

/**
 * Compares the existing segments with the recorded ones, by names and sizes only.
 *
 * Segments that are wholly deleted need not exist. There may be unrecorded ones at the end: rolled
 * and not yet durable, or not yet removed. Other recorded segments must exist: a sealed one
 * unchanged, the active one with at least the bytes that were durable. No other segment may begin
 * inside a recorded one, which would seem to end there.
 *
 * @param found in offset order.
 * @param isExempt whether a recorded segment may differ. @defaultValue none may
 * @returns the first breach in offset order, `null` when there is none.
 */
export function auditSegments(
  dir: string,
  record: SegmentRecord,
  found: readonly FoundSegment[],
  logStartOffset: number,
  isExempt: (baseOffset: number, isFound: boolean) => boolean = () => false,
): SegmentBreach | null {
  const slots = new Map(found.map((segment, at) => [segment.baseOffset, at]))
  for (const [slot, entry] of record.segments.entries()) {
    const { baseOffset, nextOffset } = entry
    const isActive = slot === record.segments.length - 1
    // The active one may have grown since it was recorded: it counts even if it ends at the start.
    if (isActive ? nextOffset < logStartOffset : nextOffset <= logStartOffset) continue
    const at = slots.get(baseOffset) ?? -1
    const segment = found[at]
    if (isExempt(baseOffset, segment !== undefined)) continue
    const breach = breachOf(dir, entry, segment, isActive) ?? intrusionOf(entry, found[at + 1])
    if (breach !== null) return breach
  }
  return null
}

/**
 * Compares the segments that a reader has found beside the writer with the record, read after them.
 * The writer takes a segment off record before it removes or replaces it, and records a segment
 * after it has created the file. So a recorded segment must have existed, unless it is the last one
 * found or a later one: these may have been created in the meantime, unless they were known before.
 *
 * A truncation or two replacements may still come in between. Only what is found twice is a breach.
 *
 * @returns the first breach in offset order, `null` when there is none.
 */
export function auditFollowed(
  dir: string,
  record: SegmentRecord,
  { found, known, logStartOffset }: FollowedSegments,
): SegmentBreach | null {
  const lastBase = found.at(-1)?.baseOffset ?? -1
  const start = Math.max(logStartOffset, record.logStartOffset)
  return auditSegments(
    dir,
    record,
    found,
    start,
    (baseOffset, isFound) => baseOffset >= lastBase && (isFound || !known.has(baseOffset)),
  )
}

/** What a reader knows of a log that another process writes. */
export interface FollowedSegments {
  /** In offset order; all but the last one sealed. */
  readonly found: readonly FoundSegment[]
  /** Base offsets of the segments that were known before. */
  readonly known: ReadonlySet<number>
  readonly logStartOffset: number
}

/**
 * Start of records that have no file although they are not deleted. Segments are off record while
 * they are replaced, and their replacement takes the name of the first. A file that is renamed
 * while a directory is listed may be listed under neither name, so a list that lacks it must be
 * made again.
 *
 * @returns `null` when there is none.
 */
export function uncoveredOffset(
  record: SegmentRecord,
  { found, logStartOffset }: Omit<FollowedSegments, 'known'>,
): number | null {
  const bases = new Set(found.map(({ baseOffset }) => baseOffset))
  const start = Math.max(logStartOffset, record.logStartOffset)
  let from = start
  for (const { baseOffset, nextOffset } of record.segments) {
    if (nextOffset <= from) continue
    const isCovered = from === start ? (found[0]?.baseOffset ?? Infinity) <= from : bases.has(from)
    if (baseOffset > from && !isCovered) return from
    from = nextOffset
  }
  return null
}

/** What is wrong with the file that an entry requires; `null` if nothing is. */
function breachOf(
  dir: string,
  entry: SegmentEntry,
  found: FoundSegment | undefined,
  isActive: boolean,
): SegmentBreach | null {
  const { baseOffset, sizeBytes } = entry
  if (found === undefined) {
    const name = segmentFilePath(dir, baseOffset, 'log')
    return { entry, path: null, position: 0, reason: `the segment ${name} is missing` }
  }
  if (isActive ? found.sizeBytes >= sizeBytes : found.sizeBytes === sizeBytes) return null
  const position = Math.min(found.sizeBytes, sizeBytes)
  const expected = `${sizeBytes} ${isActive ? 'durable bytes' : 'bytes'}`
  const reason = `the segment has ${found.sizeBytes} bytes, but ${expected} are recorded`
  return { entry, path: found.path, position, reason }
}

/** Whether a file that is not on record begins inside the recorded segment before it. */
export function isIntruder(
  entry: SegmentEntry | null,
  next: Pick<FoundSegment, 'baseOffset'>,
): boolean {
  return entry !== null && entry.baseOffset < next.baseOffset && next.baseOffset < entry.nextOffset
}

function intrusionOf(entry: SegmentEntry, next: FoundSegment | undefined): SegmentBreach | null {
  if (next === undefined || !isIntruder(entry, next)) return null
  const { baseOffset, nextOffset } = entry
  const reason = `it is not recorded, and the segment at offset ${baseOffset} extends to ${nextOffset}`
  return { entry, path: next.path, position: 0, reason }
}

/**
 * Where the log starts, by the checkpoint and the record, either of which may be damaged or behind.
 *
 * The record is written first and has a checksum, so a checkpoint beyond it is believed only if a
 * recorded segment below it is indeed gone.
 */
export function chooseLogStart(
  record: SegmentRecord | null,
  found: readonly FoundSegment[],
  checkpoint: number,
): number {
  if (record === null || checkpoint <= record.logStartOffset) {
    return Math.max(checkpoint, record?.logStartOffset ?? 0)
  }
  const bases = new Set(found.map((segment) => segment.baseOffset))
  const isDeleted = record.segments.some(
    ({ baseOffset, nextOffset }) => nextOffset <= checkpoint && !bases.has(baseOffset),
  )
  return isDeleted ? checkpoint : record.logStartOffset
}

/** The error for a breach, in a log that can be read up to `endOffset`. */
export function breachError(
  dir: string,
  breach: Omit<SegmentBreach, 'entry'> & ErrorOptions,
  endOffset: number,
  durableEnd: number,
): CorruptRecordError {
  const { path, position, reason, cause } = breach
  const lastOffset = durableEnd > endOffset ? durableEnd - 1 : null
  const place = { path: path ?? dir, position, firstOffset: endOffset, lastOffset }
  return new CorruptRecordError(reason, place, cause === undefined ? undefined : { cause })
}

/**
 * The breach of a segment that holds offsets of the segment before it: a removal that was not durable
 * may have brought it back.
 */
export function overlapOf(
  { baseOffset, path }: FoundSegment,
  endOffset: number,
): Omit<SegmentBreach, 'entry'> {
  const reason = `it begins at offset ${baseOffset}, but the segment before it extends to ${endOffset}`
  return { path, position: 0, reason }
}

/** The error for a log without a segment; `null` if all durable records are deleted. */
export function nothingLeft(
  dir: string,
  logStartOffset: number,
  durableEnd: number,
): CorruptRecordError | null {
  if (durableEnd <= logStartOffset) return null
  return new CorruptRecordError(
    `there is no segment, but records below offset ${durableEnd} were durable`,
    {
      path: dir,
      position: 0,
      firstOffset: logStartOffset,
      lastOffset: durableEnd - 1,
    },
  )
}

/** The error for offsets that no segment holds, between the end of one and the next one. */
export function gapBehind(
  { path, sizeBytes }: FoundSegment,
  endOffset: number,
  nextBaseOffset: number,
): CorruptRecordError {
  return new CorruptRecordError('a segment is missing after it', {
    path,
    position: sizeBytes,
    firstOffset: endOffset,
    lastOffset: nextBaseOffset - 1,
  })
}

/** The error for a log that does not end where it is known to have ended. */
export function endsElsewhere(
  path: string,
  position: number,
  endOffset: number,
  knownEnd: number,
): CorruptRecordError {
  const reason = `the log ends at offset ${endOffset}, but it ended at ${knownEnd} before`
  return new CorruptRecordError(reason, {
    path,
    position,
    firstOffset: Math.min(endOffset, knownEnd),
  })
}
