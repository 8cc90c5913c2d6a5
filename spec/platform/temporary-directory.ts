import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** Creates a directory on the real disk, removed when the test ends. Its path has no links. */
export async function temporaryDirectory(): Promise<string> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'varve-spec-')))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}
