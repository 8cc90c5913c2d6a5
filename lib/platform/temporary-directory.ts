import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Creates a new directory that nobody else uses, in the system's temporary directory. */
export function createTemporaryDirectory(prefix: string): Promise<string> {
  return mkdtemp(join(tmpdir(), prefix))
}

/** Removes a directory with everything in it. Does nothing if it does not exist. */
export async function removeDirectoryTree(path: string): Promise<void> {
  // Virus scanners and indexers may hold a file for a moment, especially on Windows.
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
}
