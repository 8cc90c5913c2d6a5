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
  // The root, and what is above it, are somebody else's unless they were made here.
  const own = new Set<string>()
  for (let at = path; at !== root && at !== dirname(at); at = dirname(at)) own.add(at)
  for (const each of created.toReversed()) own.add(each)
  try {
    await syncParents(fileSystem, root, new Set([...own].map((each) => dirname(each))))
  } catch (error) {
    await removeEmpty(fileSystem, [...own])
    throw error
  }
}

async function syncParents(
  fileSystem: FileSystem,
  root: string,
  parents: ReadonlySet<string>,
): Promise<void> {
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

/**
 * The next process makes them anew, and does not take them for durable. As far as that can be done, and
 * whoever has made them: of those who make several at once, the last to give up finds nothing in them.
 *
 * @param paths deepest first
 */
async function removeEmpty(fileSystem: FileSystem, paths: readonly string[]): Promise<void> {
  try {
    for (const each of paths) await fileSystem.removeDirectory(each)
  } catch {
    // Somebody has put something into it meanwhile, or the disk does not obey.
  }
}
