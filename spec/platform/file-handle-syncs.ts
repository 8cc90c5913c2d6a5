import fs from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { onTestFinished, vi } from 'vitest'

/**
 * Records the syncs that a thread of the pool is asked to make from now on, until the test ends.
 *
 * @param directory any directory: the class of file handles can only be had from an open handle.
 * @param note what to record for a sync.
 */
export async function syncsOfFileHandles(
  directory: string,
  note: (kind: 'sync' | 'datasync') => Promise<string> | string = (kind) => kind,
): Promise<string[]> {
  const syncs: string[] = []
  const handle = await open(directory)
  const prototype = Object.getPrototypeOf(handle) as FileHandle
  await handle.close()
  for (const kind of ['sync', 'datasync'] as const) {
    const original = Reflect.get(prototype, kind)
    const spy = vi.spyOn(prototype, kind).mockImplementation(async function (this: FileHandle) {
      syncs.push(await note(kind))
      await original.call(this)
    })
    onTestFinished(() => {
      spy.mockRestore()
    })
  }
  return syncs
}

/** Records the synchronous syncs from now on, until the test ends. */
export function syncsAtOnce(): number[] {
  const descriptors: number[] = []
  const original = fs.fdatasyncSync
  const spy = vi.spyOn(fs, 'fdatasyncSync').mockImplementation((fd) => {
    descriptors.push(fd)
    original(fd)
  })
  syncBuiltinESMExports()
  onTestFinished(() => {
    spy.mockRestore()
    syncBuiltinESMExports()
  })
  return descriptors
}
