import { lstat, opendir } from 'node:fs/promises'
import { join } from 'node:path'

/** A regular file of a tree. */
export interface TreeFile {
  readonly path: string
  readonly sizeBytes: number
  /** Last modification, whole milliseconds since the epoch. */
  readonly modifiedMs: number
}

/**
 * Walks the regular files below `root`, in name order. Symbolic links are not followed. Entries
 * that disappear during the walk, or cannot be read, are reported to `onSkipped`.
 *
 * @param exclude path of a directory to skip.
 */
export async function* filesBelow(
  root: string,
  onSkipped: (path: string, error: unknown) => void,
  exclude: string | null = null,
): AsyncGenerator<TreeFile, void, undefined> {
  if (root === exclude) return
  const names: { name: string; isDirectory: boolean }[] = []
  try {
    for await (const entry of await opendir(root)) {
      if (entry.isDirectory() || entry.isFile()) {
        names.push({ name: entry.name, isDirectory: entry.isDirectory() })
      }
    }
  } catch (error) {
    onSkipped(root, error)
    return
  }
  names.sort((left, right) => (left.name < right.name ? -1 : 1))
  for (const { name, isDirectory } of names) {
    const path = join(root, name)
    if (isDirectory) {
      yield* filesBelow(path, onSkipped, exclude)
      continue
    }
    try {
      const { size, mtimeMs } = await lstat(path)
      yield { path, sizeBytes: size, modifiedMs: Math.floor(mtimeMs) }
    } catch (error) {
      onSkipped(path, error)
    }
  }
}
