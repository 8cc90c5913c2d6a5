import { readFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { TIME_ENTRY_BYTES } from './time-index.ts'
import { isUnrepresentable } from './unrepresentable.ts'

/** The part of a segment that is needed here. */
interface LookedAtSegment {
  readonly path: string
  readonly sizeBytes: number
  readonly indexes: { readonly timeIndex: { readonly path: string } }
}

/**
 * Whether a segment that another program has written seems to hold what this library cannot read:
 * messages of an older format, by its first bytes, or a timestamp that is too large, by the last
 * entry of its time index. A broker stores the largest timestamp of a segment there when it rolls
 * the segment or closes it cleanly, so one entry covers all batches. No more is read, however large
 * the segment is.
 *
 * An index is only a hint: the batches themselves have to confirm it.
 */
export async function seemsForeign(
  fileSystem: FileSystem,
  { path, sizeBytes, indexes }: LookedAtSegment,
): Promise<boolean> {
  const log = await fileSystem.open(path, 'read')
  const isForeign = await isUnrepresentable(log, 0, sizeBytes).finally(() => log.close())
  return isForeign || hasLargeTimestamp(fileSystem, indexes.timeIndex.path)
}

async function hasLargeTimestamp(fileSystem: FileSystem, path: string): Promise<boolean> {
  let index: File
  try {
    index = await fileSystem.open(path, 'read')
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false
    throw error
  }
  try {
    const { sizeBytes } = await index.stat()
    const entry = Buffer.alloc(TIME_ENTRY_BYTES)
    const position = Math.max(0, sizeBytes - TIME_ENTRY_BYTES)
    if ((await readFully(index, entry, position)) < TIME_ENTRY_BYTES) return false
    return entry.readBigInt64BE(0) > BigInt(Number.MAX_SAFE_INTEGER)
  } finally {
    await index.close()
  }
}
