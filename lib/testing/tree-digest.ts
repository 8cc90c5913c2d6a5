import { hash } from 'node:crypto'
import type { EntryOperation } from './entry-journal.ts'
import type { DirectoryInode, FileInode, Inode } from './simulated-inode.ts'
import type { SimulatedTree } from './simulated-tree.ts'

/**
 * Digest of everything in a tree that a program can see or a power loss can reveal: names,
 * contents, what of both is on the disk, and what no sync has covered. Times and open handles are
 * not included.
 */
export function digestOf(tree: SimulatedTree): string {
  return new TreeDigest().digest(tree)
}

/** Numbers inodes in the order of a walk, so that equal trees get equal numbers. */
class TreeDigest {
  #text = ''
  readonly #numbers = new Map<Inode, number>()

  digest(tree: SimulatedTree): string {
    this.#addInode(tree.root)
    for (const operation of tree.journal.operations) this.#addOperation(operation)
    return hash('sha1', this.#text, 'base64')
  }

  #addInode(inode: Inode): void {
    const known = this.#numbers.get(inode)
    this.#add(known ?? `new ${inode.kind}`)
    if (known !== undefined) return
    this.#numbers.set(inode, this.#numbers.size)
    if (inode.kind === 'file') this.#addFile(inode)
    else this.#addDirectory(inode)
  }

  #addDirectory(directory: DirectoryInode): void {
    for (const entries of [directory.memory, directory.durable]) {
      this.#add(entries.size)
      for (const name of [...entries.keys()].sort()) {
        this.#add(name)
        const inode = entries.get(name)
        if (inode !== undefined) this.#addInode(inode)
      }
    }
  }

  #addFile({ memory, durable, unsynced }: FileInode): void {
    this.#add(memory.digest())
    this.#add(durable.digest())
    this.#add(unsynced.length)
    for (const change of unsynced) {
      if (change.kind === 'write') {
        this.#add(change.position)
        this.#addBytes(change.bytes)
      } else {
        this.#add(`truncate ${change.sizeBytes}`)
      }
    }
  }

  #addOperation({ kind, changes, abandoned }: EntryOperation): void {
    this.#add(`${kind} ${abandoned} ${changes.length}`)
    for (const { directory, name, inode } of changes) {
      this.#add(name)
      this.#addInode(directory)
      if (inode !== null) this.#addInode(inode)
    }
  }

  /** Adds the length first, so that no two sequences of bytes look alike. */
  #addBytes(bytes: Buffer): void {
    this.#add(bytes.length)
    this.#add(bytes.toString('latin1'))
  }

  #add(value: string | number): void {
    this.#text += `${value}\0`
  }
}
