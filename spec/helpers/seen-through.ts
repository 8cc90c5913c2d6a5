import type { FileSystem } from '../../lib/platform/file-system.ts'

/** Wraps a disk with some calls replaced. The disk itself does not change. */
export function seenThrough(disk: FileSystem, calls: Partial<FileSystem>): FileSystem {
  return new Proxy<FileSystem>(disk, {
    get(_, name) {
      const value: unknown = Reflect.get(calls, name) ?? Reflect.get(disk, name)
      return typeof value === 'function' ? (value.bind(disk) as unknown) : value
    },
  })
}
