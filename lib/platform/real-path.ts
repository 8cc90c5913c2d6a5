import type { FileSystem } from './file-system.ts'
import { isSystemError } from './system-error.ts'

/**
 * Resolves the symbolic links in the path of a directory. To be called once, when the directory is
 * opened: if a link later points to another owner's directory, calls by path would reach that one.
 *
 * @returns `null` if the file system has no links; resolves with `path` if nothing exists there.
 */
export function realPathOf(fileSystem: FileSystem, path: string): Promise<string> | null {
  const following = fileSystem.realPath?.(path)
  if (following === undefined) return null
  return following.catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return path
    throw error
  })
}
