import { CorruptRecordError } from '../errors.ts'
import type { DirectoryEntry } from '../platform/file-system.ts'
import { systemError } from '../platform/system-error.ts'
import { LogSegment } from './log-segment.ts'
import {
  auditSegments,
  chooseLogStart,
  uncoveredOffset,
  type SegmentBreach,
} from './segment-audit.ts'
import type { SegmentOptions } from './segment-options.ts'
import type { SegmentEntry, SegmentRecord, SegmentRecordFile } from './segment-record.ts'
import { findLogFiles, type FoundFile } from './swap-files.ts'

/** Number of index files that every segment must have. */
const INDEX_KINDS = 2

/** The content of a log's directory, by the names and sizes of its files and by its record. */
export interface LogInventory {
  /** In offset order. */
  readonly segments: readonly LogSegment[]
  /** Segments that lack an index file, except those whose records are all deleted. */
  readonly unindexed: ReadonlySet<LogSegment>
  /** `null` if there is none, or it is unreadable. */
  readonly record: SegmentRecord | null
  readonly isRecordDamaged: boolean
  readonly logStartOffset: number
  readonly breach: SegmentBreach | null
}

interface FoundRecord extends Pick<LogInventory, 'record' | 'isRecordDamaged'> {
  /** See {@link SegmentRecordFile.beforeLastEdit}. */
  readonly beforeLastEdit: SegmentRecord | null
}

/**
 * Lists a log's segments and compares them with the record. Only reads the sizes of the files. If a
 * replacement of segments was interrupted, the last new segment is read as well.
 *
 * @param entries the names in the log's directory.
 * @throws an `ENOENT` error if a writer is replacing a segment, so that neither file has its name.
 */
export async function takeInventory(
  options: SegmentOptions & { readonly logStartOffset: number },
  recordFile: SegmentRecordFile,
  entries: readonly DirectoryEntry[],
): Promise<LogInventory> {
  const { fileSystem, dir, readOnly } = options
  // Later entries of the record may belong to files that are not in the list.
  const before = readOnly ? await readRecord(recordFile) : null
  const names = readOnly ? await fileSystem.list(dir) : entries
  let listed = await listSegments(options, names)
  let after = await readRecord(recordFile)
  if (readOnly && lacksFiles(options, listed, after)) {
    listed = await listSegments(options, await fileSystem.list(dir))
    after = await readRecord(recordFile)
  }
  const { segments, unindexed, vanished, orphans } = listed
  const found = before === null ? after : inBoth(before, after)
  const { record, isRecordDamaged } = withoutTornEdit(found, options, segments)
  for (const { offset, path } of readOnly ? [] : orphans) {
    // A recorded segment without its log file is damage, of which nothing is deleted.
    if (entryOf(record, offset) === null) await fileSystem.unlink(path)
  }
  for (const segment of segments) {
    const entry = entryOf(record, segment.baseOffset)
    if (entry !== null) segment.sum.restore(entry)
  }
  const logStartOffset = chooseLogStart(record, segments, options.logStartOffset)
  ensureDeleted(vanished, logStartOffset)
  // The log file of a deleted segment may be removed last.
  for (const segment of segments.slice(0, -1)) {
    if (segment.nextOffset <= logStartOffset) unindexed.delete(segment)
  }
  const breach = record === null ? null : auditSegments(dir, record, segments, logStartOffset)
  return { segments, unindexed, record, isRecordDamaged, logStartOffset, breach }
}

/**
 * Takes the record without a last edit that does not match its checksum if the files and the
 * checkpoint are as that record says: nothing is removed or replaced, and no start is stored, before
 * the edit that tells is durable. Otherwise it was, and is damaged.
 */
function withoutTornEdit(
  found: FoundRecord,
  { dir, logStartOffset }: { readonly dir: string; readonly logStartOffset: number },
  segments: readonly LogSegment[],
): Pick<LogInventory, 'record' | 'isRecordDamaged'> {
  const record = found.beforeLastEdit
  if (record === null || record.logStartOffset < logStartOffset) return found
  const start = chooseLogStart(record, segments, logStartOffset)
  const isAsBefore = auditSegments(dir, record, segments, start) === null
  return isAsBefore ? { record, isRecordDamaged: false } : found
}

/**
 * Whether a list that was made before its record was read may lack a file that was renamed
 * meanwhile.
 */
function lacksFiles(
  { logStartOffset }: { readonly logStartOffset: number },
  { segments }: ListedSegments,
  { record }: FoundRecord,
): boolean {
  return record !== null && uncoveredOffset(record, { found: segments, logStartOffset }) !== null
}

/** The entry of a segment in the record; `null` if there is none. */
export function entryOf(record: SegmentRecord | null, baseOffset: number): SegmentEntry | null {
  if (record === null) return null
  const { segments } = record
  let low = 0
  let high = segments.length - 1
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    if ((segments[middle]?.baseOffset ?? Infinity) <= baseOffset) low = middle
    else high = middle - 1
  }
  const entry = segments[low]
  return entry?.baseOffset === baseOffset ? entry : null
}

/**
 * The entry of a sealed segment in the record. The last entry describes what was durable when it
 * was written: that segment may since have grown and been rolled.
 */
export function sealedOf(record: SegmentRecord | null, baseOffset: number): SegmentEntry | null {
  const entry = entryOf(record, baseOffset)
  return entry === record?.segments.at(-1) ? null : entry
}

/** Whether no batch of a segment is preceded by a gap, according to the record. */
export function isDenseOnRecord(record: SegmentRecord | null, baseOffset: number): boolean {
  const active = record?.segments.at(-1)
  if (active === undefined) return false
  // A segment after the last one on record was started by this library after the record was
  // written, or is left from a truncation, which marked that last one as possibly having gaps.
  return entryOf(record, baseOffset)?.isDense ?? (active.isDense && baseOffset > active.baseOffset)
}

/** Whether offsets are missing between a segment that was just read to its end and the next one. */
export function isGapBetween(
  record: SegmentRecord | null,
  segment: LogSegment,
  next: LogSegment,
  isNextLast: boolean,
): boolean {
  const active = record?.segments.at(-1)
  const { baseOffset, nextOffset } = segment
  if (active === undefined || baseOffset < active.baseOffset) return false
  if (!isDenseOnRecord(record, baseOffset) || nextOffset === next.baseOffset) return false
  // A truncation into the middle of a batch was interrupted before it was on record.
  return !(isNextLast && next.sizeBytes === 0)
}

/**
 * The entries that were on record both before and after the files were listed, and so apply to the
 * list: a writer updates the record after it creates files and before it removes them. For the last
 * segment, the earlier entry is used.
 */
function inBoth(before: FoundRecord, after: FoundRecord): FoundRecord {
  const isRecordDamaged = before.isRecordDamaged || after.isRecordDamaged
  const beforeLastEdit = before.beforeLastEdit === null ? null : after.beforeLastEdit
  const none = { record: null, isRecordDamaged, beforeLastEdit }
  if (before.record === null || after.record === null) return none
  const { record } = after
  const { segments } = before.record
  const last = segments.at(-1)
  const stillThere = segments.filter((entry) => {
    const now = entryOf(record, entry.baseOffset)
    if (now === null) return false
    return entry === last ? now.sizeBytes >= entry.sizeBytes : areSame(now, entry)
  })
  const logStartOffset = Math.max(before.record.logStartOffset, record.logStartOffset)
  if (stillThere.length === 0) return none
  return { ...none, record: { logStartOffset, segments: stillThere } }
}

function areSame(left: SegmentEntry, right: SegmentEntry): boolean {
  const isSameFile = left.sizeBytes === right.sizeBytes && left.crc === right.crc
  return isSameFile && left.nextOffset === right.nextOffset && left.isDense === right.isDense
}

/** The record; `null` if there is none, or it is damaged. */
export async function readRecord(recordFile: SegmentRecordFile): Promise<FoundRecord> {
  try {
    const record = await recordFile.read()
    return { record, isRecordDamaged: false, beforeLastEdit: null }
  } catch (error) {
    // Without it less can be checked, as in a directory left by a broker.
    if (!(error instanceof CorruptRecordError)) throw error
    const { beforeLastEdit } = recordFile
    return { record: null, isRecordDamaged: true, beforeLastEdit }
  }
}

/**
 * Segments that disappeared after they were listed are deleted if the log starts after them.
 * Otherwise the file may only be without a name for a moment, and the log would seem to lack its
 * records.
 *
 * @param vanished with the base offset of the next segment in the list; `null` for the last.
 * @throws an `ENOENT` error unless all of them are deleted.
 */
export function ensureDeleted(
  vanished: readonly { readonly path: string; readonly endOffset: number | null }[],
  logStartOffset: number,
): void {
  const found = vanished.find(({ endOffset }) => endOffset === null || endOffset > logStartOffset)
  if (found !== undefined)
    throw systemError('ENOENT', 'stat', found.path, 'it was listed, but no longer exists')
}

interface ListedSegments {
  readonly segments: LogSegment[]
  readonly unindexed: Set<LogSegment>
  /** See {@link ensureDeleted}. */
  readonly vanished: { readonly path: string; readonly endOffset: number | null }[]
  /** Files of segments that have no log file. */
  readonly orphans: readonly FoundFile[]
}

async function listSegments(
  options: SegmentOptions,
  entries: readonly DirectoryEntry[],
): Promise<ListedSegments> {
  const { fileSystem, dir } = options
  const files = await findLogFiles(fileSystem, dir, entries)
  const listed: LogSegment[] = []
  const bases = new Set<number>()
  const indexFiles = new Map<number, number>()
  for (const { kind, offset, suffix } of files) {
    if (kind === 'log') {
      bases.add(offset)
      listed.push(new LogSegment(offset, options, suffix))
    } else if (kind === 'index' || kind === 'timeindex') {
      indexFiles.set(offset, (indexFiles.get(offset) ?? 0) + 1)
    }
  }
  const orphans = files.filter(({ kind, offset }) => kind !== 'snapshot' && !bases.has(offset))
  const found: ListedSegments = { segments: [], unindexed: new Set(), vanished: [], orphans }
  for (const [slot, segment] of listed.entries()) {
    const { baseOffset, path } = segment
    const endOffset = listed[slot + 1]?.baseOffset ?? null
    const stat = await fileSystem.stat(path)
    if (stat === null) {
      found.vanished.push({ path, endOffset })
      continue
    }
    segment.sizeBytes = stat.sizeBytes
    segment.file.identity = stat.identity
    segment.nextOffset = endOffset ?? baseOffset
    found.segments.push(segment)
    if (indexFiles.get(baseOffset) !== INDEX_KINDS) found.unindexed.add(segment)
  }
  return found
}
