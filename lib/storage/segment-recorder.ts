import { isSystemError } from '../platform/system-error.ts'
import type { LogSegment } from './log-segment.ts'
import type { LogSegments } from './log-segments.ts'
import type { SegmentEntry, SegmentRecordEdit, SegmentRecordFile } from './segment-record.ts'

const NONE: ReadonlySet<LogSegment> = new Set()

/** What was last recorded. */
interface OnRecord {
  readonly logStartOffset: number
  readonly segments: readonly LogSegment[]
  /** The entry of the last segment. */
  readonly active: SegmentEntry
}

/**
 * Keeps the record of segments up to date with a log. It appends edits as long as it knows what the
 * record says, so that a roll costs no more in a log of many segments. Calls must not overlap.
 */
export class SegmentRecorder {
  /** Whether the record lacks segments that it must have after the next sync. */
  isBehind: boolean
  readonly #file: SegmentRecordFile
  #onRecord: OnRecord | null = null

  constructor(file: SegmentRecordFile) {
    this.#file = file
    this.isBehind = !file.isThere
  }

  /**
   * Brings the record up to date; durable when it resolves.
   *
   * @param logStartOffset everything below is deleted, or about to be.
   * @param without segments to be left out of the record.
   */
  async write(
    logStartOffset: number,
    { all, active }: LogSegments,
    without: ReadonlySet<LogSegment> = NONE,
  ): Promise<void> {
    const segments = all.filter(
      (segment) =>
        segment === active || (segment.nextOffset > logStartOffset && !without.has(segment)),
    )
    if (active !== undefined)
      await this.#bringTo({ logStartOffset, segments, active: active.durable })
    this.isBehind = false
  }

  async #bringTo(now: OnRecord): Promise<void> {
    const before = this.#onRecord
    this.#onRecord = null
    if (before === null || !(await this.#edit(editsBetween(before, now)))) {
      const { logStartOffset } = now
      await this.#file.write({ logStartOffset, segments: entriesOf(now) })
    }
    this.#onRecord = now
  }

  /** One by one: if they were written together, a crash might leave only the last one. */
  async #edit(edits: readonly SegmentRecordEdit[]): Promise<boolean> {
    for (const edit of edits) {
      if (!(await this.#file.edit(edit))) return false
    }
    return true
  }

  /** Replaces the record with one that differs from the present segments. */
  async replace(logStartOffset: number, segments: readonly SegmentEntry[]): Promise<void> {
    this.#onRecord = null
    const last = segments.at(-1)
    const left = segments.filter((each) => each === last || each.nextOffset > logStartOffset)
    if (left.length > 0) await this.#file.write({ logStartOffset, segments: left })
    this.isBehind = false
  }

  /** Leaves a record without edits, which the next close can compare with. */
  async settle(logStartOffset: number, segments: LogSegments): Promise<void> {
    // Without edits it is compared, and the next write replaces it only if it differs.
    if (this.#file.hasEdits) this.#file.distrust()
    this.#onRecord = null
    await this.write(logStartOffset, segments)
  }

  /**
   * Records a new segment before anybody is told of a record in it. An append that fails takes its
   * segments back before it gets here.
   */
  async catchUp(logStartOffset: number, segments: LogSegments): Promise<void> {
    try {
      await this.write(logStartOffset, segments)
    } catch (error) {
      // The records are safe nevertheless. The next checkpoint tries again, and reports a failure.
      if (!isSystemError(error)) throw error
    }
  }
}

/** The sealed segments, and the durable part of the active one. */
function entriesOf({ segments, active }: OnRecord): SegmentEntry[] {
  return [...segments.slice(0, -1).map(({ entry }) => entry), active]
}

/**
 * The changes to the record: the range in which segments were added or removed, and then the last
 * segment, which changes as long as it is active. A segment that is in both lists has not changed.
 */
function editsBetween(before: OnRecord, now: OnRecord): SegmentRecordEdit[] {
  const { logStartOffset, segments, active } = now
  const old = before.segments
  const most = Math.min(old.length, segments.length)
  let [same, sameAtEnd] = [0, 0]
  while (same < most - 1 && old[same] === segments[same]) same += 1
  while (same + sameAtEnd < most && old.at(-1 - sameAtEnd) === segments.at(-1 - sameAtEnd)) {
    sameAtEnd += 1
  }
  const edits: SegmentRecordEdit[] = []
  const entries = entriesOf(now).slice(same, segments.length - sameAtEnd)
  if (entries.length > 0 || old.length > same + sameAtEnd) {
    const from = Math.min(
      ...[old[same], segments[same]].map((each) => each?.baseOffset ?? Infinity),
    )
    const to = sameAtEnd === 0 ? Infinity : (segments.at(-sameAtEnd)?.baseOffset ?? Infinity)
    edits.push({ logStartOffset, from, to, segments: entries })
  }
  const isChanged = !isEqual(before.active, active) || before.logStartOffset !== logStartOffset
  if (sameAtEnd > 0 && isChanged) {
    edits.push({ logStartOffset, from: active.baseOffset, to: Infinity, segments: [active] })
  }
  return edits
}

function isEqual(a: SegmentEntry, b: SegmentEntry): boolean {
  return a.sizeBytes === b.sizeBytes && a.nextOffset === b.nextOffset && a.crc === b.crc
}

/** The entries that are left by a truncation to `offset` in the segment at `slot`. */
export function entriesUpTo(
  segments: LogSegments,
  offset: number,
  slot: number,
  rest: { readonly sizeBytes: number; readonly endOffset: number } | null,
): SegmentEntry[] {
  const { all, active } = segments
  const entries = all
    .slice(0, slot + 1)
    .map((segment) => (segment === active ? segment.durable : segment.entry))
  const last = entries.pop()
  if (last === undefined) return entries
  if (rest === null) return [...entries, last]
  const { sizeBytes, endOffset } = rest
  const nextOffset = Math.min(last.nextOffset, endOffset)
  // Until the later segments are removed, offsets may be missing before them: compaction may have
  // left gaps, or an earlier truncation has ended inside a batch. If this one does, offsets are
  // missing before the next segment from the moment that it is created.
  const isDense = last.isDense && slot === all.length - 1 && endOffset === offset
  if (sizeBytes >= last.sizeBytes) return [...entries, { ...last, nextOffset, isDense }]
  return [...entries, { ...last, nextOffset, sizeBytes, isDense, crc: null }]
}

/**
 * Removes the segments that end at or below `logStartOffset`. They stay if the record cannot be
 * updated first: to the next open, a recorded segment that is missing would be damage.
 */
export async function removeDeleted(
  segments: LogSegments,
  logStartOffset: number,
  file: SegmentRecordFile,
): Promise<void> {
  if (!segments.hasBelow(logStartOffset)) return
  try {
    await new SegmentRecorder(file).write(logStartOffset, segments)
  } catch (error) {
    // A log can be opened on a full disk too.
    if (isSystemError(error)) return
    throw error
  }
  await segments.removeBelow(logStartOffset)
}
