import { GrowableBytes } from './growable-bytes.ts'

/** A change of a file's content that no sync has covered. */
export type UnsyncedChange =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly sizeBytes: number }

/**
 * Unsynced bytes of one file above which they are written back, as a kernel does on its own
 * schedule. It bounds the memory of a long run that never syncs, and is far above the workload of
 * any crash test.
 */
const WRITE_BACK_BYTES = 16 * 1024 * 1024

let inodeCount = 0

/** A file of the simulation, under any names: the content that readers see, and that on disk. */
export class FileInode {
  readonly kind = 'file'
  /** Unique number. */
  readonly number: number = ++inodeCount
  parent: DirectoryInode | null = null
  readonly createdMs: number
  modifiedMs: number
  /** Number of open handles. */
  openCount = 0
  /** The content that reads see. */
  memory: GrowableBytes = new GrowableBytes()
  /** The content that is certain to be on the disk. */
  durable: GrowableBytes = new GrowableBytes()
  /** In the order in which they were made. */
  unsynced: UnsyncedChange[] = []
  #unsyncedBytes = 0

  constructor(createdMs: number, modifiedMs: number = createdMs) {
    this.createdMs = createdMs
    this.modifiedMs = modifiedMs
  }

  get sizeBytes(): number {
    return this.memory.sizeBytes
  }

  write(bytes: Buffer, position: number): void {
    if (bytes.length === 0) {
      return
    }
    this.memory.write(bytes, position)
    this.unsynced.push({ kind: 'write', position, bytes })
    this.#unsyncedBytes += bytes.length
    if (this.#unsyncedBytes > WRITE_BACK_BYTES) {
      this.sync()
    }
  }

  truncate(sizeBytes: number): void {
    this.memory.resize(sizeBytes)
    this.unsynced.push({ kind: 'truncate', sizeBytes })
  }

  /** Writes every unsynced change to the disk. */
  sync(): void {
    applyChanges(this.durable, this.unsynced)
    this.#forgetUnsynced()
  }

  /**
   * Effect of a failed sync: the changes count as clean, so no later sync writes them to the disk,
   * while reads still see them.
   */
  abandonUnsynced(): void {
    this.#forgetUnsynced()
  }

  /** Makes reads see the disk again, with only those changes that are still to be synced. */
  evict(): void {
    this.memory = this.durable.clone()
    applyChanges(this.memory, this.unsynced)
  }

  /** Bit rot: inverts one bit in every copy of the byte, so that no later sync repairs it. */
  flipBit(position: number, bit: number): void {
    this.memory.flipBit(position, bit)
    if (position < this.durable.sizeBytes) {
      this.durable.flipBit(position, bit)
    }
    this.unsynced = this.unsynced.map((change) => {
      if (change.kind === 'truncate' || !covers(change, position)) {
        return change
      }
      const bytes = Buffer.from(change.bytes)
      const at = position - change.position
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
      return { ...change, bytes }
    })
  }

  /** A separate file with the same content, in memory and on the disk, without names or handles. */
  clone(): FileInode {
    const copy = new FileInode(this.createdMs, this.modifiedMs)
    copy.memory = this.memory.clone()
    copy.durable = this.durable.clone()
    copy.unsynced = [...this.unsynced]
    copy.#unsyncedBytes = this.#unsyncedBytes
    return copy
  }

  #forgetUnsynced(): void {
    this.unsynced = []
    this.#unsyncedBytes = 0
  }
}

/** A directory of the simulation: the names that programs see, and the names on the disk. */
export class DirectoryInode {
  readonly kind = 'directory'
  /** Unique number. */
  readonly number: number = ++inodeCount
  parent: DirectoryInode | null = null
  readonly createdMs: number
  modifiedMs: number
  readonly memory: Map<string, Inode> = new Map<string, Inode>()
  readonly durable: Map<string, Inode> = new Map<string, Inode>()

  constructor(createdMs: number, modifiedMs: number = createdMs) {
    this.createdMs = createdMs
    this.modifiedMs = modifiedMs
  }
}

/** What a name can refer to. */
export type Inode = FileInode | DirectoryInode

/** Applies `changes` in order, as if nothing had happened between them. */
export function applyChanges(content: GrowableBytes, changes: readonly UnsyncedChange[]): void {
  for (const change of changes) {
    if (change.kind === 'write') {
      content.write(change.bytes, change.position)
    } else {
      content.resize(change.sizeBytes)
    }
  }
}

function covers(
  change: { readonly position: number; readonly bytes: Buffer },
  position: number,
): boolean {
  return position >= change.position && position < change.position + change.bytes.length
}
