import { replaceFile } from '../platform/file-io.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { entryOf } from './log-inventory.ts'
import { LogSegment } from './log-segment.ts'
import type { LogSegments } from './log-segments.ts'
import type { SegmentOptions } from './segment-options.ts'
import type { SegmentRecord } from './segment-record.ts'

/**
 * The end of a log that was not closed cleanly, as far as nothing proves that it was durable.
 *
 * Its writer may have died after a failed sync without leaving a mark. The page cache then shows
 * the bytes as if they were on disk, and another sync succeeds, because the kernel has nothing left
 * to write. So they are written again, over themselves, before they are synced. A batch with the
 * group start bit proves everything before it, so they are hardly more than what one sync was to
 * cover.
 */
export class UnprovenTail {
  readonly #starts = new Map<LogSegment, TailStart>()

  /** Notes a batch after the offset up to which the log is known to be durable. */
  note(segment: LogSegment, batch: RecordBatch, position: number): void {
    const { baseOffset: offset, isGroupStart } = batch
    const start = this.#starts.get(segment)
    // A segment whose indexes turn out to be wrong is read from its start again.
    if (start === undefined || isGroupStart || position <= start.position) {
      this.#starts.set(segment, { offset, position, isGroupStart })
    }
  }

  /** Writes the noted batches again, and the size of the last segment. A sync must follow. */
  async writeAgain(segments: LogSegments): Promise<void> {
    for (const { segment, start } of this.#due(segments)) {
      const { sizeBytes } = segment
      await segment.file.writeAgain(start?.position ?? sizeBytes, sizeBytes)
    }
  }

  /** End of what is proven to be durable; `null` if all that was found is. */
  provenEnd(segments: LogSegments): number | null {
    const lowest = this.#due(segments).findLast(({ start }) => start !== undefined)
    return lowest?.start?.offset ?? null
  }

  /** What has to be written again, from the end of the log down. */
  #due(segments: LogSegments): { segment: LogSegment; start: TailStart | undefined }[] {
    const due: { segment: LogSegment; start: TailStart | undefined }[] = []
    for (const segment of segments.all.toReversed()) {
      const start = this.#starts.get(segment)
      if (start !== undefined || segment === segments.active) due.push({ segment, start })
      if (start?.isGroupStart === true) break
    }
    return due
  }
}

/** Start of the unproven part of a segment. */
interface TailStart {
  readonly offset: number
  readonly position: number
  readonly isGroupStart: boolean
}

/**
 * Gives the last segment a new file if it is empty and not on record: nobody knows whether the sync
 * of its name in the directory has succeeded, and another sync of the same name would not tell.
 */
export async function renewEmptySegment(
  options: SegmentOptions,
  segments: LogSegments,
  record: SegmentRecord | null,
): Promise<void> {
  const { active } = segments
  if (active === undefined || active.sizeBytes > 0) return
  if (entryOf(record, active.baseOffset) !== null) return
  await replaceFile(options.fileSystem, active.path, '')
  // The open file is the one that had the name before.
  const renewed = await LogSegment.create(active.baseOffset, options)
  const kept = segments.all.slice(0, -1)
  await segments.changing(() => segments.replace([...kept, renewed]))
}
