import fs from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { onTestFinished, vi } from 'vitest'

/**
 * Notes the syncs that a thread of the pool is asked for from now on, until the test is over.
 *
 * @param directory any directory: handles have no class that could be had otherwise.
 * @param note what to put on the list for a sync.
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

/** Notes the syncs that are made at once from now on, until the test is over. */
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
