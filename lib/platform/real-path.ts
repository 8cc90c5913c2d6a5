import type { FileSystem } from './file-system.ts'
import { isSystemError } from './system-error.ts'

/**
 * Where a directory is, behind all symbolic links. To be asked once, when it is opened: a link may lead
 * to the directory of another owner later, and what is called by its path would go there.
 *
 * @returns `path` itself where nothing is there.
 */
export async function realPathOf(fileSystem: FileSystem, path: string): Promise<string> {
  try {
    return (await fileSystem.realPath?.(path)) ?? path
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return path
    throw error
  }
}
