import { StorageError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { PARTITION_METADATA_FILE } from './partition-metadata.ts'
import { SEGMENTS_FILE } from './segment-record.ts'
import { findLogFiles } from './swap-files.ts'

/** Files that a log leaves even if all of its segments are gone. */
const TRACES: ReadonlySet<string> = new Set([SEGMENTS_FILE, PARTITION_METADATA_FILE])

/**
 * Refuses to salvage a directory that holds no log, such as the one with all partitions of a
 * broker. Otherwise an empty result would look as if nothing had been lost.
 *
 * @throws {@link StorageError}; the system's error if the directory cannot be listed
 */
export async function ensureHoldsLog(fileSystem: FileSystem, dir: string): Promise<void> {
  const entries = await fileSystem.list(dir)
  if (entries.some(({ name }) => TRACES.has(name))) return
  if ((await findLogFiles(fileSystem, dir, entries)).length > 0) return
  throw new StorageError(`${dir} holds no segments: it is not the directory of a partition`, {
    path: dir,
    outcome: 'not-written',
  })
}
