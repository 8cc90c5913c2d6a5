import type { File, FileSystem, OpenMode } from '../../lib/platform/file-system.ts'
import { systemError } from '../../lib/platform/system-error.ts'
import { WindowsNames } from '../../lib/platform/windows-names.ts'
import type { SimulatedFileSystem } from '../../lib/testing/simulated-file-system.ts'

/**
 * A disk whose names behave as on Windows with Node.js 20. An open file cannot be replaced. If it
 * is removed, it keeps its name until it is closed, and nothing else can use that name meanwhile.
 */
class OpenNames {
  readonly #disk: SimulatedFileSystem
  readonly #open = new Map<string, Set<File>>()
  readonly #removed = new Set<string>()

  constructor(disk: SimulatedFileSystem) {
    this.#disk = disk
  }

  async open(path: string, mode: OpenMode): Promise<File> {
    this.#ensureHere('open', path)
    const file = await this.#disk.open(path, mode)
    this.#filesOf(path).add(file)
    const close = file.close.bind(file)
    file.close = async () => {
      await close()
      await this.#closed(file)
    }
    return file
  }

  async rename(from: string, to: string): Promise<void> {
    this.#ensureHere('rename', from)
    this.#ensureHere('rename', to)
    if (this.#filesOf(to).size > 0) throw systemError('EPERM', 'rename', to, 'it is open')
    await this.#disk.rename(from, to)
    this.#open.set(to, this.#filesOf(from))
    this.#open.delete(from)
  }

  async unlink(path: string): Promise<void> {
    this.#ensureHere('unlink', path)
    if (this.#filesOf(path).size > 0) this.#removed.add(path)
    else await this.#disk.unlink(path)
  }

  removeDirectory(path: string): Promise<void> {
    return this.#disk.removeDirectory(path)
  }

  #filesOf(path: string): Set<File> {
    const files = this.#open.get(path) ?? new Set()
    this.#open.set(path, files)
    return files
  }

  async #closed(file: File): Promise<void> {
    for (const [path, files] of this.#open) {
      if (!files.delete(file) || files.size > 0 || !this.#removed.delete(path)) continue
      await this.#disk.unlink(path)
    }
  }

  #ensureHere(syscall: string, path: string): void {
    if (this.#removed.has(path)) throw systemError('EPERM', syscall, path, 'it is being removed')
  }
}

/** Wraps a simulated disk as a broker on Windows sees it. Its retries do not wait. */
export function onWindows(disk: SimulatedFileSystem): FileSystem {
  const names = new OpenNames(disk)
  let count = 0
  const changes = new WindowsNames(
    names,
    () => Promise.resolve(),
    (size) => {
      count += 1
      return Buffer.alloc(size, count)
    },
  )
  return {
    open: (path, mode) => names.open(path, mode),
    rename: (from, to) => changes.rename(from, to),
    unlink: (path) => changes.unlink(path),
    removeDirectory: (path) => changes.removeDirectory(path),
    list: (path) => disk.list(path),
    stat: (path) => disk.stat(path),
    createDirectory: (path) => disk.createDirectory(path),
    syncDirectory: (path) => disk.syncDirectory(path),
    freeBytes: (path) => disk.freeBytes(path),
    lock: (path) => disk.lock(path),
  }
}
