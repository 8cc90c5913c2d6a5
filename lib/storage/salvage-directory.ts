import { StorageError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { PARTITION_METADATA_FILE } from './partition-metadata.ts'
import { SEGMENTS_FILE } from './segment-record.ts'
import { findLogFiles } from './swap-files.ts'

/** What a log leaves of itself, also where all of its segments are gone. */
const TRACES: ReadonlySet<string> = new Set([SEGMENTS_FILE, PARTITION_METADATA_FILE])

/**
 * Refuses to salvage what is no log's directory, as the one that holds all partitions of a broker: that
 * nothing was found there must not read as if nothing had been lost.
 *
 * @throws {@link StorageError}, the system's error where the directory cannot be listed
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
