import { basename } from 'node:path'
import type { FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { isDeletedFileName, segmentFilePath, type SegmentFileKind } from './log-files.ts'

/** Files that are rebuilt from the log file if they are missing. */
export const INDEX_KINDS: readonly SegmentFileKind[] = ['timeindex', 'index']
/** The log file and what is rebuilt from it. Files without a log file are removed at open. */
export const LOG_KINDS: readonly SegmentFileKind[] = ['snapshot', ...INDEX_KINDS, 'log']
/** Files that cannot be rebuilt from the log file. */
export const TRANSACTION_KINDS: readonly SegmentFileKind[] = ['txnindex']

/**
 * Removes the files of a segment that exist. Durable with the next sync of `dir`.
 *
 * @returns whether there were any.
 */
export async function removeSegmentFiles(
  fileSystem: FileSystem,
  dir: string,
  baseOffset: number,
  kinds: readonly SegmentFileKind[] = [...LOG_KINDS, ...TRANSACTION_KINDS],
): Promise<boolean> {
  let wasThere = false
  for (const kind of kinds) {
    const path = segmentFilePath(dir, baseOffset, kind)
    if ((await fileSystem.stat(path)) === null) continue
    await fileSystem.unlink(path)
    wasThere = true
  }
  return wasThere
}

/** Removes a file of a log. A file marked as deleted may stay while somebody has it open. */
export async function removeLogFile(fileSystem: FileSystem, path: string): Promise<void> {
  try {
    await fileSystem.unlink(path)
  } catch (error) {
    if (!isDeletedFileName(basename(path)) || !isSystemError(error)) throw error
  }
}
