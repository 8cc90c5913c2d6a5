import { readdirSync, statSync, type Dirent } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { promptIo } from './prompt-io.ts'

/** A directory of at most this size holds a few hundred names. */
const MAX_DIRECTORY_BYTES = 16 * 1024

/** The names in a directory, in no order. If there are few, they need no other thread. */
export async function namesIn(path: string): Promise<Dirent[]> {
  const call = (): Dirent[] | null => readNamesNow(path)
  let names = promptIo.attempt(call)
  if (names === undefined) names = await promptIo.attemptNextTurn(call)
  return names ?? readdir(path, { withFileTypes: true })
}

/** `null` if there may be many names, which would take long. */
function readNamesNow(path: string): Dirent[] | null {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined || stats.size > MAX_DIRECTORY_BYTES) return null
  return readdirSync(path, { withFileTypes: true })
}
