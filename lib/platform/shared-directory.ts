import { sep } from 'node:path'
import { StorageError } from '../errors.ts'
import type { FileSystem } from './file-system.ts'

/** The bit of a mode that lets everybody write. */
const WRITABLE_BY_ALL = 0o002

/**
 * Refuses a directory that every user of the machine can write to: they could create files of their
 * own under the names of a log. A directory that does not exist is not refused.
 *
 * @throws {@link StorageError} when everybody can write to it.
 */
export async function refuseSharedDirectory(fileSystem: FileSystem, dir: string): Promise<void> {
  // With the dot, the directory's name is not the last one, so a link to the directory is followed.
  const found = await fileSystem.stat(`${dir}${sep}.`)
  if (found === null || (found.permissions & WRITABLE_BY_ALL) === 0) return
  throw new StorageError(
    `every user may write to ${dir} (mode ${found.permissions.toString(8)}): remove that permission, ` +
      'use a directory inside it, or set allowSharedDirectory',
    { path: dir, outcome: 'not-written' },
  )
}
