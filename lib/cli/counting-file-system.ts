import type {
  DirectoryEntry,
  DirectoryLock,
  File,
  FileStat,
  FileSystem,
  OpenMode,
} from '../platform/file-system.ts'

/** What was asked of a disk. */
export interface DiskCounts {
  writes: number
  writtenBytes: number
  /** Syncs of files and of directories. */
  syncs: number
}

/** A file system that counts what goes to the one behind it. */
export class CountingFileSystem implements FileSystem {
  readonly counts: DiskCounts = { writes: 0, writtenBytes: 0, syncs: 0 }
  readonly #behind: FileSystem

  constructor(behind: FileSystem) {
    this.#behind = behind
  }

  async open(path: string, mode: OpenMode): Promise<File> {
    return countingFile(await this.#behind.open(path, mode), this.counts)
  }

  list(path: string): Promise<DirectoryEntry[]> {
    return this.#behind.list(path)
  }

  stat(path: string): Promise<FileStat | null> {
    return this.#behind.stat(path)
  }

  createDirectory(path: string): Promise<string[]> {
    return this.#behind.createDirectory(path)
  }

  rename(from: string, to: string): Promise<void> {
    return this.#behind.rename(from, to)
  }

  unlink(path: string): Promise<void> {
    return this.#behind.unlink(path)
  }

  removeDirectory(path: string): Promise<void> {
    return this.#behind.removeDirectory(path)
  }

  syncDirectory(path: string): Promise<void> {
    this.counts.syncs += 1
    return this.#behind.syncDirectory(path)
  }

  freeBytes(path: string): Promise<number> {
    return this.#behind.freeBytes(path)
  }

  lock(path: string): Promise<DirectoryLock> {
    return this.#behind.lock(path)
  }
}

function countingFile(file: File, counts: DiskCounts): File {
  return {
    path: file.path,
    read: (buffer, position) => file.read(buffer, position),
    readNow: (buffer, position) => file.readNow?.(buffer, position) ?? -1,
    write: (buffers, position) => {
      counts.writes += 1
      for (const buffer of buffers) counts.writtenBytes += buffer.length
      return file.write(buffers, position)
    },
    truncate: (sizeBytes) => file.truncate(sizeBytes),
    datasync: () => {
      counts.syncs += 1
      return file.datasync()
    },
    sync: () => {
      counts.syncs += 1
      return file.sync()
    },
    setModified: async (modifiedMs) => file.setModified?.(modifiedMs),
    stat: () => file.stat(),
    close: () => file.close(),
  }
}
