import { readFully, readWholeFile, replaceFile, writeFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { segmentFilePath } from './log-files.ts'
import { isBadMedium } from './read-failure.ts'

/** Version, producer id, and the first, the last and the last stable offset of a transaction. */
const ENTRY_BYTES = 34
/** The last offset is that of the marker that ended the transaction. */
const LAST_OFFSET_POSITION = 18
const MAX_FILE_BYTES = 64 * 1024 * 1024

/**
 * Writes the aborted transactions of several segments, as a broker has noted them, for the segment
 * that replaces these; durable when it resolves. Compaction keeps all transactional records and
 * markers, so all entries stay. Without them, a broker would show aborted records as committed.
 *
 * Creates no file if there are no entries. Drops an incomplete last entry, which a broker leaves if
 * it is killed while writing it; no broker reads that either.
 */
export async function joinTransactionIndexes(
  fileSystem: FileSystem,
  sources: readonly string[],
  target: string,
): Promise<void> {
  const found: Buffer[] = []
  for (const path of sources) {
    const content = await readWholeFile(fileSystem, path, MAX_FILE_BYTES)
    if (content === null || content.length < ENTRY_BYTES) continue
    found.push(content.subarray(0, content.length - (content.length % ENTRY_BYTES)))
  }
  if (found.length === 0) return
  const file = await fileSystem.open(target, 'create')
  try {
    await file.truncate(0)
    await writeFully(file, found, 0)
    await file.sync()
  } finally {
    await file.close()
  }
}

/**
 * Forgets aborted transactions of a segment that end at or after `offset`, the new end of its log;
 * durable when it resolves. A broker would apply them to the records that follow.
 *
 * The log must be truncated first. A missing entry is lost for good, and aborted records show as
 * committed. An extra one is removed at the next open, before any record can take its place.
 */
export async function truncateTransactionIndex(
  fileSystem: FileSystem,
  dir: string,
  { baseOffset, offset }: { readonly baseOffset: number; readonly offset: number },
): Promise<void> {
  const path = segmentFilePath(dir, baseOffset, 'txnindex')
  let file: File
  try {
    file = await fileSystem.open(path, 'update')
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return
    throw error
  }
  try {
    const { sizeBytes } = await file.stat()
    const keptBytes = ENTRY_BYTES * (await countBelow(file, sizeBytes, offset))
    if (keptBytes < sizeBytes) await file.truncate(keptBytes)
    // Even if there is nothing to cut: an earlier truncation may be in memory only.
    await file.sync()
  } finally {
    await file.close()
  }
}

/**
 * Copies what a broker has noted of the aborted transactions that these markers ended; nothing if
 * the disk cannot read the file. Durable when it resolves. If a marker is lost, the log does not
 * show the end of its transaction, and a reader would search for it in vain.
 *
 * @param source `null` if nothing was noted.
 * @param targetLog path of the log file that the index belongs to.
 */
export async function copyTransactionIndex(
  fileSystem: FileSystem,
  source: string | null,
  targetLog: string,
  markers: ReadonlySet<number>,
): Promise<void> {
  if (source === null) return
  const kept: Buffer[] = []
  try {
    const content = (await readWholeFile(fileSystem, source, MAX_FILE_BYTES)) ?? Buffer.alloc(0)
    for (let end = ENTRY_BYTES; end <= content.length; end += ENTRY_BYTES) {
      const entry = content.subarray(end - ENTRY_BYTES, end)
      if (markers.has(lastOffsetOf(entry))) kept.push(entry)
    }
  } catch (error) {
    if (!isBadMedium(error)) throw error
  }
  const target = `${targetLog.slice(0, -'log'.length)}txnindex`
  if (kept.length > 0) await replaceFile(fileSystem, target, Buffer.concat(kept))
}

/** Number of complete entries that end below `offset`. Their last offsets increase. */
async function countBelow(file: File, sizeBytes: number, offset: number): Promise<number> {
  const entry = Buffer.alloc(ENTRY_BYTES)
  let [low, high] = [0, Math.floor(sizeBytes / ENTRY_BYTES)]
  while (low < high) {
    const middle = (low + high) >>> 1
    await readFully(file, entry, middle * ENTRY_BYTES)
    if (lastOffsetOf(entry) < offset) low = middle + 1
    else high = middle
  }
  return low
}

function lastOffsetOf(entry: Buffer): number {
  return Number(entry.readBigInt64BE(LAST_OFFSET_POSITION))
}
