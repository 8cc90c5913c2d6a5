import { readdirSync, statSync, type Dirent } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { promptIo } from './prompt-io.ts'

/** A directory of at most this size holds a few hundred names. */
const MAX_DIRECTORY_BYTES = 16 * 1024

/** What is in a directory, in no order. If there is little, it needs no other thread. */
export function entriesIn(path: string): Promise<Dirent[]> {
  const withFileTypes = { withFileTypes: true } as const
  return listIn(
    path,
    () => readdirSync(path, withFileTypes),
    () => readdir(path, withFileTypes),
  )
}

/**
 * The names alone. Where a file system does not list the types, as over NFS, Node.js looks at each
 * entry, and the listing fails if one has been removed since.
 */
export function namesIn(path: string): Promise<string[]> {
  return listIn(
    path,
    () => readdirSync(path),
    () => readdir(path),
  )
}

async function listIn<T>(
  path: string,
  list: () => T[],
  listInPool: () => Promise<T[]>,
): Promise<T[]> {
  const call = (): T[] | null => (mayBeLong(path) ? null : list())
  let found = promptIo.attempt(call)
  if (found === undefined) found = await promptIo.attemptNextTurn(call)
  return found ?? listInPool()
}

function mayBeLong(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false })
  return stats === undefined || stats.size > MAX_DIRECTORY_BYTES
}
