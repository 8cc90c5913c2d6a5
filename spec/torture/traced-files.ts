import { basename, dirname, join } from 'node:path'
import { batchesIn } from '../record/raw-batch.ts'

/** Bytes of a file that no sync has covered yet. */
interface UnsyncedRange {
  readonly start: number
  readonly end: number
  /** When the call that made them returned; `Infinity` while it has not. */
  readonly returnedAt: number
}

/** A batch in a log file. */
export interface TracedBatch {
  readonly baseOffset: number
  readonly lastOffset: number
  readonly start: number
  readonly end: number
}

/** One file, as far as the calls that changed it show. */
export class TracedFile {
  content: Buffer = Buffer.alloc(0)
  unsynced: UnsyncedRange[] = []
  readonly batches: TracedBatch[] = []

  /** Where the last complete batch ends. */
  get endOfBatches(): number {
    return this.batches.at(-1)?.end ?? 0
  }

  write(bytes: Buffer, position: number, at: number): void {
    const end = position + bytes.length
    const content = Buffer.alloc(Math.max(end, this.content.length))
    this.content.copy(content)
    bytes.copy(content, position)
    this.content = content
    this.unsynced.push({ start: position, end, returnedAt: at })
  }

  truncate(sizeBytes: number, at: number): void {
    const content = Buffer.alloc(sizeBytes)
    this.content.copy(content)
    this.content = content
    this.unsynced.push({ start: sizeBytes, end: Infinity, returnedAt: at })
    while (this.endOfBatches > sizeBytes) this.batches.pop()
  }

  /** Adds the complete batches after the last known one. */
  findBatches(): void {
    const from = this.endOfBatches
    let start = from
    for (const batch of batchesIn(this.content.subarray(from))) {
      const { baseOffset, lastOffset, sizeBytes } = batch
      this.batches.push({ baseOffset, lastOffset, start, end: start + sizeBytes })
      start += sizeBytes
    }
  }

  batchOf(offset: number): TracedBatch | undefined {
    return this.batches.findLast(
      (batch) => batch.baseOffset <= offset && offset <= batch.lastOffset,
    )
  }

  isSynced(range: { start: number; end: number }): boolean {
    return !this.unsynced.some((each) => each.start < range.end && each.end > range.start)
  }
}

/** A change to a directory that no sync of it has covered yet. */
interface UnsyncedName {
  readonly path: string
  readonly change: 'created' | 'renamed' | 'removed'
  readonly returnedAt: number
}

/** The files below one directory as a trace leaves them, and which parts are not durable. */
export class TracedFiles {
  readonly root: string
  readonly files: Map<string, TracedFile> = new Map()
  unsyncedNames: UnsyncedName[] = []

  /** @param root an existing, empty directory. */
  constructor(root: string) {
    this.root = root
  }

  isBelowRoot(path: string): boolean {
    return path.startsWith(`${this.root}/`)
  }

  /**
   * Returns the file of that path. An unknown one is added: it exists, but its content is unknown.
   */
  file(path: string): TracedFile {
    const file = this.files.get(path) ?? new TracedFile()
    this.files.set(path, file)
    return file
  }

  addName(path: string, change: UnsyncedName['change'], at: number): void {
    this.unsyncedNames.push({ path, change, returnedAt: at })
  }

  rename(from: string, to: string, at: number): void {
    const file = this.file(from)
    this.files.delete(from)
    this.files.set(to, file)
    // The old name can no longer be lost.
    this.unsyncedNames = this.unsyncedNames.filter((each) => each.path !== from)
    this.addName(to, 'renamed', at)
  }

  unlink(path: string, at: number): void {
    this.files.delete(path)
    // The names in a directory are removed with it.
    this.unsyncedNames = this.unsyncedNames.filter((each) => dirname(each.path) !== path)
    this.addName(path, 'removed', at)
  }

  /** Notes a sync of a file or directory that succeeded, and began at `startedAt`. */
  synced(path: string, startedAt: number): void {
    const file = this.files.get(path)
    if (file !== undefined) {
      file.unsynced = file.unsynced.filter((each) => each.returnedAt >= startedAt)
    }
    this.unsyncedNames = this.unsyncedNames.filter(
      (each) => dirname(each.path) !== path || each.returnedAt >= startedAt,
    )
  }

  /** The log files in a partition's directory, with the offsets in their names. */
  logsIn(directory: string): { path: string; baseOffset: number; file: TracedFile }[] {
    const logs = []
    for (const [path, file] of this.files) {
      if (dirname(path) !== directory || !path.endsWith('.log')) continue
      logs.push({ path, baseOffset: Number(basename(path, '.log')), file })
    }
    return logs.sort((a, b) => a.baseOffset - b.baseOffset)
  }

  /** Names that may be lost with `path`: its own, and those of the directories that hold it. */
  namesAbove(path: string): UnsyncedName[] {
    return this.unsyncedNames.filter(
      (each) => each.path === path || path.startsWith(`${each.path}/`),
    )
  }

  /** Everything that a power loss could lose now. */
  notDurable(): string[] {
    const files = [...this.files].filter(([, file]) => file.unsynced.length > 0)
    return [
      ...files.map(([path]) => `content of ${path}`),
      ...this.unsyncedNames.map(({ path, change }) => `${path} ${change}`),
    ]
  }

  /** The path of a partition's directory. */
  partition(name: string): string {
    return join(this.root, 'data', name)
  }
}
