import { CorruptRecordError } from '../errors.ts'
import { segmentFilePath } from './log-files.ts'
import type { SegmentEntry, SegmentRecord } from './segment-record.ts'

/** A segment file as it was found. */
export interface FoundSegment {
  readonly baseOffset: number
  readonly path: string
  readonly sizeBytes: number
}

/** Where the files are not those that are on record. */
export interface SegmentBreach {
  readonly entry: SegmentEntry
  /** The file that is not as it was, or was not there; `null` when the one on record is missing. */
  readonly path: string | null
  readonly reason: string
  /** First byte that is missing, or too much. */
  readonly position: number
}

/**
 * Compares the segments that are there with those that are on record, by names and sizes only.
 *
 * Segments that are wholly deleted need not be there, and there may be more than on record at the
 * end: what was rolled and not yet durable, or not yet removed. What is on record has to be there:
 * a sealed segment as it was, of the active one at least what had been durable. No other may begin
 * inside of it: where its name says, the one on record would seem to end.
 *
 * @param found in offset order.
 * @param isExempt whether a segment on record may be otherwise. @defaultValue none may
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
    // The active one may have got more since than is on record, so it counts up to its very end.
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
 * Compares what a reader has found beside the writer with the record that he has read behind it. The
 * writer takes off record what it removes or replaces before it does, and puts a segment on it behind
 * making the file. So what is on record has to have been there: but for what lies at the end of the
 * list or behind it, which may have been made since, unless it was known before.
 *
 * A truncation, or two replacements, may still come in between. Only what is found twice is a breach.
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

/** What a reader knows of a log beside its writer. */
export interface FollowedSegments {
  /** In offset order; all but the last one sealed. */
  readonly found: readonly FoundSegment[]
  /** Base offsets of the segments that were there at an earlier look. */
  readonly known: ReadonlySet<number>
  readonly logStartOffset: number
}

/**
 * Where records begin for which there is no file, though they are not deleted. They are off record
 * while their segments are replaced, and the first of these gives its name to what replaces them. A
 * file that gets its name while a directory is listed may be in the list under neither name, so a list
 * that lacks it is to be made again.
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

/** What is wrong with the file that has to be there for an entry; `null` for nothing. */
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
  const expected = isActive ? `of which ${sizeBytes} were durable` : `not ${sizeBytes}`
  const reason = `the segment has ${found.sizeBytes} bytes, ${expected} as on record`
  return { entry, path: found.path, position, reason }
}

/** Whether a file that is not on record begins inside of the segment before it, which is. */
export function isIntruder(
  entry: SegmentEntry | null,
  next: Pick<FoundSegment, 'baseOffset'>,
): boolean {
  return entry !== null && entry.baseOffset < next.baseOffset && next.baseOffset < entry.nextOffset
}

function intrusionOf(entry: SegmentEntry, next: FoundSegment | undefined): SegmentBreach | null {
  if (next === undefined || !isIntruder(entry, next)) return null
  const { baseOffset, nextOffset } = entry
  const reason = `it is not on record, where the segment of ${baseOffset} goes on to ${nextOffset}`
  return { entry, path: next.path, position: 0, reason }
}

/**
 * Where the log starts: the checkpoint and the record say so, and either may be damaged or behind.
 *
 * The record is written first and has a checksum, so a checkpoint beyond it is believed only where
 * what it says is deleted is indeed not there any more.
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

/** The error that a breach stands for, in a log that can be read up to `endOffset`. */
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

/** The error for a log without a segment; `null` where no record was durable that is not deleted. */
export function nothingLeft(
  dir: string,
  logStartOffset: number,
  durableEnd: number,
): CorruptRecordError | null {
  if (durableEnd <= logStartOffset) return null
  return new CorruptRecordError(`there is no segment, records up to ${durableEnd} were durable`, {
    path: dir,
    position: 0,
    firstOffset: logStartOffset,
    lastOffset: durableEnd - 1,
  })
}

/** The error for offsets that no segment holds, between one that ends there and the next. */
export function gapBehind(
  { path, sizeBytes }: FoundSegment,
  endOffset: number,
  nextBaseOffset: number,
): CorruptRecordError {
  return new CorruptRecordError('a segment is missing behind it', {
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
  const reason = `the log ends at offset ${endOffset}, not at ${knownEnd} where it did`
  return new CorruptRecordError(reason, {
    path,
    position,
    firstOffset: Math.min(endOffset, knownEnd),
  })
}
