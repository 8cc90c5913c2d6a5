import type { File, OpenMode } from '../platform/file-system.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'

/** Counts of disk operations. */
export interface DiskCounts {
  writes: number
  writtenBytes: number
  /** Syncs of files and of directories. */
  syncs: number
}

/** The real file system, which counts its writes and syncs. */
export class CountingFileSystem extends NodeFileSystem {
  readonly counts: DiskCounts = { writes: 0, writtenBytes: 0, syncs: 0 }

  override async open(path: string, mode: OpenMode): Promise<File> {
    return countingFile(await super.open(path, mode), this.counts)
  }

  override syncDirectory(path: string): Promise<void> {
    this.counts.syncs += 1
    return super.syncDirectory(path)
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
