import { constants, type Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import type { File } from './file-system.ts'
import { NodeFile } from './node-file.ts'
import { promptSyncOf } from './prompt-sync.ts'
import { systemError } from './system-error.ts'

/**
 * Opens a file that the user provides, for reading only. Unlike the files of a data directory it
 * may be reached through a symbolic link and have several hard links.
 *
 * @throws a system error; `EINVAL` for anything but a regular file.
 */
export async function openInputFile(path: string): Promise<File> {
  // Without O_NONBLOCK, opening a FIFO blocks a thread of the pool until somebody writes to it.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  let stats: Stats
  try {
    stats = await handle.stat()
    if (!stats.isFile()) {
      throw systemError('EINVAL', 'open', path, 'it is not a regular file')
    }
  } catch (error) {
    await handle.close()
    throw error
  }
  return new NodeFile(path, handle, promptSyncOf(stats.dev))
}
