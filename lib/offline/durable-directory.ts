import { dirname } from 'node:path'
import type { FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { syncOnce } from './doubtful-directory.ts'

/**
 * Creates a directory, and those between it and `root`, so that their names survive a power loss.
 * Existing ones are synced too, as a process may have been killed before it could sync them.
 *
 * @param root `path` itself, or a directory above it.
 * @throws `StorageError` once the sync of a directory above has failed, also in another call
 */
export async function makeDurableDirectory(
  fileSystem: FileSystem,
  root: string,
  path: string,
): Promise<void> {
  const created = await fileSystem.createDirectory(path)
  // The root and the directories above it belong to others unless they were created here.
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
    // A user who was given a directory may not be allowed to read the one above it, and may not
    // have created it.
    if (!isSystemError(error, 'EACCES', 'EPERM')) throw error
  }
}

/**
 * Removes the directories, so that the next process creates them again instead of taking them for
 * durable. This is best effort, and includes directories that others have created: if several
 * callers create them at once, the last one to give up finds them empty.
 *
 * @param paths deepest first
 */
async function removeEmpty(fileSystem: FileSystem, paths: readonly string[]): Promise<void> {
  try {
    for (const each of paths) await fileSystem.removeDirectory(each)
  } catch {
    // Another caller has put something into it, or the disk fails.
  }
}
