import { resolve } from 'node:path'
import { StorageError } from '../index.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import { isSystemError } from '../platform/system-error.ts'

/** Errors of opening a directory. No sync was tried then, so nothing has been dropped. */
const NOT_OPENED = ['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'EMFILE', 'ENFILE'] as const

/** Per file system, the directories whose sync has failed, with the error. */
const doubtful: WeakMap<object, Map<string, unknown>> = new WeakMap()

/**
 * Syncs a directory for names that exist and are not created again if the sync fails. A failed sync
 * must not be repeated, because the kernel may have dropped what it covered and would then report
 * success. From then on the directory is refused in this process, for every caller.
 *
 * @param sync of the directory
 * @throws {@link StorageError} if an earlier sync has failed
 */
export async function syncOnce(
  fileSystem: FileSystem,
  path: string,
  sync: () => Promise<void>,
): Promise<void> {
  refuseDoubtful(fileSystem, path)
  try {
    await sync()
  } catch (error) {
    if (hasDropped(error)) failuresOf(fileSystem).set(resolve(path), error)
    throw error
  }
  // A concurrent sync by another caller may have failed for the same names.
  refuseDoubtful(fileSystem, path)
}

/** Whether the error of a sync of a directory means that the kernel may have dropped names. */
export function hasDropped(error: unknown): boolean {
  return !isSystemError(error, ...NOT_OPENED)
}

/** @throws {@link StorageError} if a sync of the directory has failed */
export function refuseDoubtful(fileSystem: FileSystem, path: string): void {
  const failures = failuresOf(fileSystem)
  if (!failures.has(resolve(path))) return
  throw new StorageError(
    `a sync of ${path} has failed: the names in it may be lost in a power failure, and this process ` +
      'no longer relies on them',
    { path, outcome: 'unknown' },
    { cause: failures.get(resolve(path)) },
  )
}

/** The owner of the paths. There is one real file system, however many objects represent it. */
export function ownerOf(fileSystem: FileSystem): object {
  return fileSystem instanceof NodeFileSystem ? NodeFileSystem : fileSystem
}

function failuresOf(fileSystem: FileSystem): Map<string, unknown> {
  const owner = ownerOf(fileSystem)
  const failures = doubtful.get(owner) ?? new Map<string, unknown>()
  doubtful.set(owner, failures)
  return failures
}
