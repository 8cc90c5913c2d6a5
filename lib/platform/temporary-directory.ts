import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Makes a fresh directory that nobody else uses, under the system's directory for such. */
export function createTemporaryDirectory(prefix: string): Promise<string> {
  return mkdtemp(join(tmpdir(), prefix))
}

/** Removes a directory with everything in it. Does nothing when it is not there. */
export async function removeDirectoryTree(path: string): Promise<void> {
  // Virus scanners and indexers may hold a file for a moment, on Windows above all.
  await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
}
