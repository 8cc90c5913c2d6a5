import fs from 'node:fs'
import { open } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { onTestFinished, vi } from 'vitest'
import { PlainDescriptor, type FileDescriptor } from '../../lib/platform/plain-descriptor.ts'

/**
 * Records the syncs that a thread of the pool is asked to make from now on, until the test ends, of
 * files and directories opened either way.
 *
 * @param directory any directory: the class of file handles can only be had from an open handle.
 * @param note what to record for a sync.
 */
export async function syncsInPool(
  directory: string,
  note: (kind: 'sync' | 'datasync') => Promise<string> | string = (kind) => kind,
): Promise<string[]> {
  const syncs: string[] = []
  const handle = await open(directory)
  const ofHandles = Object.getPrototypeOf(handle) as FileDescriptor
  await handle.close()
  for (const prototype of [ofHandles, PlainDescriptor.prototype as FileDescriptor]) {
    for (const kind of ['sync', 'datasync'] as const) {
      const original = Reflect.get(prototype, kind)
      const spy = vi.spyOn(prototype, kind).mockImplementation(async function (
        this: FileDescriptor,
      ) {
        syncs.push(await note(kind))
        await original.call(this)
      })
      onTestFinished(() => {
        spy.mockRestore()
      })
    }
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
