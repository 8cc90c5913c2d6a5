import { dirname } from 'node:path'
import type { FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'

/**
 * Makes a directory, and those between it and `root`, so that their names outlast a power loss.
 * Those that were there may be what a process left that was killed before it could sync them.
 *
 * @param root `path` itself, or a directory above it.
 */
export async function makeDurableDirectory(
  fileSystem: FileSystem,
  root: string,
  path: string,
): Promise<void> {
  const created = await fileSystem.createDirectory(path)
  const parents = new Set(created.map((each) => dirname(each)))
  for (let at = path; at !== root && at !== dirname(at); at = dirname(at)) parents.add(dirname(at))
  for (const parent of parents) await fileSystem.syncDirectory(parent)
  if (parents.has(dirname(root))) return
  try {
    await fileSystem.syncDirectory(dirname(root))
  } catch (error) {
    // Who was given a directory need not be allowed to read the one above it, nor have made it.
    if (!isSystemError(error, 'EACCES', 'EPERM')) throw error
  }
}
