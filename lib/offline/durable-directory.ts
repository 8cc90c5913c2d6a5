import { dirname } from 'node:path'
import type { FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { syncOnce } from './doubtful-directories.ts'

/**
 * Makes a directory, and those between it and `root`, so that their names outlast a power loss.
 * Those that were there may be what a process left that was killed before it could sync them.
 *
 * @param root `path` itself, or a directory above it.
 * @throws `StorageError` once the sync of a directory above has failed, also for another call
 */
export async function makeDurableDirectory(
  fileSystem: FileSystem,
  root: string,
  path: string,
): Promise<void> {
  const created = await fileSystem.createDirectory(path)
  try {
    await syncParents(fileSystem, { root, path, created })
  } catch (error) {
    await removeEmpty(fileSystem, created)
    throw error
  }
}

async function syncParents(
  fileSystem: FileSystem,
  { root, path, created }: { root: string; path: string; created: readonly string[] },
): Promise<void> {
  const parents = new Set(created.map((each) => dirname(each)))
  for (let at = path; at !== root && at !== dirname(at); at = dirname(at)) parents.add(dirname(at))
  for (const parent of parents) {
    await syncOnce(fileSystem, parent, () => fileSystem.syncDirectory(parent))
  }
  const above = dirname(root)
  if (parents.has(above)) return
  try {
    await syncOnce(fileSystem, above, () => fileSystem.syncDirectory(above))
  } catch (error) {
    // Who was given a directory need not be allowed to read the one above it, nor have made it.
    if (!isSystemError(error, 'EACCES', 'EPERM')) throw error
  }
}

/** The next process makes them anew, and does not take them for durable. As far as that can be done. */
async function removeEmpty(fileSystem: FileSystem, created: readonly string[]): Promise<void> {
  try {
    for (const each of created.toReversed()) await fileSystem.removeDirectory(each)
  } catch {
    // Somebody has put something into it meanwhile, or the disk does not obey.
  }
}
