import { isSystemError } from '../platform/system-error.ts'
import type { LogSegments } from './log-segments.ts'
import type { SegmentEntry, SegmentRecordFile } from './segment-record.ts'

/** Keeps the record of segments up with a log. Calls must not overlap. */
export class SegmentRecorder {
  /** Whether the record knows less than there has to be once the next sync is done. */
  isBehind: boolean
  readonly #file: SegmentRecordFile

  constructor(file: SegmentRecordFile) {
    this.#file = file
    this.isBehind = !file.isThere
  }

  /**
   * Brings the record up to date; durable when it resolves.
   *
   * @param logStartOffset everything below is deleted, or about to be.
   */
  async write(logStartOffset: number, entries: readonly SegmentEntry[]): Promise<void> {
    const lastSlot = entries.length - 1
    const segments = entries.filter(
      ({ nextOffset }, slot) => slot === lastSlot || nextOffset > logStartOffset,
    )
    if (segments.length > 0) await this.#file.write({ logStartOffset, segments })
    this.isBehind = false
  }

  /**
   * Before anybody is told of a record in a new segment it is on record that there is one. An append
   * that fails takes its segments back before it comes here.
   */
  async catchUp(logStartOffset: number, segments: LogSegments): Promise<void> {
    try {
      await this.write(logStartOffset, entriesOf(segments))
    } catch (error) {
      // The records are safe all the same. The next checkpoint tries again, and tells.
      if (!isSystemError(error)) throw error
    }
  }
}

/** All of the sealed segments, and what is durable of the active one. */
export function entriesOf({ all, active }: LogSegments): SegmentEntry[] {
  return all.map((segment) => (segment === active ? segment.durable : segment.entry))
}

/** What a truncation leaves that cuts the segment at `slot`. */
export function entriesUpTo(
  segments: LogSegments,
  slot: number,
  rest: { readonly sizeBytes: number; readonly endOffset: number } | null,
): SegmentEntry[] {
  const entries = entriesOf(segments).slice(0, slot + 1)
  const last = entries.pop()
  if (last === undefined) return entries
  if (rest === null || rest.sizeBytes >= last.sizeBytes) return [...entries, last]
  const { sizeBytes, endOffset: nextOffset } = rest
  return [...entries, { ...last, nextOffset, sizeBytes, crc: null }]
}

/**
 * Removes the segments that end at or below `logStartOffset`. As long as the record wants them they
 * stay: one that is on record and not there would be damage to the next open.
 */
export async function removeDeleted(
  segments: LogSegments,
  logStartOffset: number,
  file: SegmentRecordFile,
): Promise<void> {
  if (!segments.hasBelow(logStartOffset)) return
  try {
    await new SegmentRecorder(file).write(logStartOffset, entriesOf(segments))
  } catch (error) {
    // A log opens on a full disk too.
    if (isSystemError(error)) return
    throw error
  }
  await segments.removeBelow(logStartOffset)
}
