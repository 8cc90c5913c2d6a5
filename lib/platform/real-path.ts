import type { FileSystem } from './file-system.ts'
import { isSystemError } from './system-error.ts'

/**
 * Where a directory is, behind all symbolic links. To be asked once, when it is opened: a link may lead
 * to the directory of another owner later, and what is called by its path would go there.
 *
 * @returns `null` where there are no links; resolves with `path` itself where nothing is there.
 */
export function realPathOf(fileSystem: FileSystem, path: string): Promise<string> | null {
  const following = fileSystem.realPath?.(path)
  if (following === undefined) return null
  return following.catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return path
    throw error
  })
}
