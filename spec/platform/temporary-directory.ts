import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** A fresh directory on the real disk that is removed when the test ends. Its path is real. */
export async function temporaryDirectory(): Promise<string> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'varve-spec-')))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}
