import type { FileSystem } from '../../lib/platform/file-system.ts'

/** The disk with some calls replaced, as whoever is given it sees it. */
export function seenThrough(disk: FileSystem, calls: Partial<FileSystem>): FileSystem {
  return new Proxy<FileSystem>(disk, {
    get(_, name) {
      const value: unknown = Reflect.get(calls, name) ?? Reflect.get(disk, name)
      return typeof value === 'function' ? (value.bind(disk) as unknown) : value
    },
  })
}
