import { readFully, readWholeFile, replaceFile, writeFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { segmentFilePath } from './log-files.ts'
import { isBadMedium } from './read-failure.ts'

/** Version, id of the producer, and the first, the last and the last stable offset of a transaction. */
const ENTRY_BYTES = 34
/** The last offset is that of the marker that has ended the transaction. */
const LAST_OFFSET_POSITION = 18
const MAX_FILE_BYTES = 64 * 1024 * 1024

/**
 * Writes the aborted transactions of several segments, as a broker has noted them, for the one that takes
 * their place; durable when it resolves. Compaction keeps all records of transactions and their markers, so
 * all entries stay. Without them a broker would show what was aborted as committed.
 *
 * Makes no file where there is no entry. What a broker has left of its last one, where it was killed while it
 * wrote that, is read by no broker either.
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
 * Forgets aborted transactions of a segment that end at or behind `offset`, where its log ends now; durable
 * when it resolves. A broker would take what comes in their place for theirs.
 *
 * The log is cut first, and this then. An entry too few is there for good, and what was aborted shows as
 * committed; one too many goes with the next open, before anything can come in its place.
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
    // Also where there is nothing to cut: an earlier cut may be in memory alone.
    await file.sync()
  } finally {
    await file.close()
  }
}

/**
 * Copies what a broker has noted of the aborted transactions that these markers have ended, as far as the
 * disk gives it; durable when it resolves. Of one whose marker is lost the log does not say that it has
 * ended, and a reader would look for its end in vain.
 *
 * @param source `null` where nothing is noted.
 * @param targetLog path of the log file that it goes beside.
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

/** How many of the whole entries end below `offset`. They rise in their last offsets. */
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
