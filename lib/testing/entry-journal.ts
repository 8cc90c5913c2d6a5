import type { DirectoryInode, Inode } from './simulated-inode.ts'

/** A change of one name in one directory to another inode, or to none. */
export interface EntryChange {
  readonly directory: DirectoryInode
  readonly name: string
  readonly inode: Inode | null
}

/** A change of names that programs see at once and that is not on the disk yet. */
export interface EntryOperation {
  readonly kind: 'create' | 'rename' | 'unlink'
  readonly changes: readonly EntryChange[]
  /** Whether a failed sync covered it. Later syncs of the directory then do not persist it. */
  readonly abandoned: boolean
}

/**
 * The changes of names that no sync has covered, in the order in which they were made.
 *
 * A change becomes durable together with all earlier changes of the same names. What a name refers
 * to on the disk may be old, but is always part of the name's history.
 */
export class EntryJournal {
  #operations: EntryOperation[] = []

  get operations(): readonly EntryOperation[] {
    return this.#operations
  }

  add(kind: EntryOperation['kind'], changes: readonly EntryChange[]): void {
    this.#operations.push({ kind, changes, abandoned: false })
  }

  /**
   * Makes the names in `directory` durable.
   *
   * @param whole whether an operation that also changes another directory becomes durable there
   * too. Otherwise each side of a move needs a sync of its own directory, and a sync of only the
   * old directory can lose the file.
   */
  commitDirectory(directory: DirectoryInode, whole: boolean): void {
    const touched = this.#operations.filter(
      ({ abandoned, changes }) =>
        !abandoned && changes.some((change) => change.directory === directory),
    )
    if (whole) {
      this.#commit(withPredecessors(this.#operations, new Set(touched)))
      return
    }
    const selected = withPredecessors(this.#operations, new Set(touched), directory)
    this.#commit(selected, directory)
  }

  /** Makes the creation of `inode` durable, and that of the directories above it. */
  commitCreation(inode: Inode): void {
    for (let node: Inode | null = inode; node !== null; node = node.parent) {
      const created: Inode = node
      const creation = this.#operations.find(
        ({ kind, changes }) => kind === 'create' && changes.some((it) => it.inode === created),
      )
      if (creation !== undefined) {
        this.#commit(withPredecessors(this.#operations, new Set([creation])))
      }
    }
  }

  /** Makes the current inode of `name` in `directory` durable. */
  commitName(directory: DirectoryInode, name: string): void {
    const latest = this.#operations.findLast(({ changes }) =>
      changes.some((change) => change.directory === directory && change.name === name),
    )
    if (latest !== undefined) {
      this.#commit(withPredecessors(this.#operations, new Set([latest])))
    }
  }

  /** Effect of a failed sync of `directory`: its changes stay uncertain permanently. */
  abandonDirectory(directory: DirectoryInode): void {
    this.#operations = this.#operations.map((operation) =>
      operation.changes.some((change) => change.directory === directory)
        ? { ...operation, abandoned: true }
        : operation,
    )
  }

  /** The same operations on the inodes of a copy of the tree. */
  clone(
    inodeOf: (inode: Inode) => Inode,
    directoryOf: (inode: DirectoryInode) => DirectoryInode,
  ): EntryJournal {
    const copy = new EntryJournal()
    copy.#operations = this.#operations.map((operation) => ({
      ...operation,
      changes: operation.changes.map(({ directory, name, inode }) => ({
        directory: directoryOf(directory),
        name,
        inode: inode === null ? null : inodeOf(inode),
      })),
    }))
    return copy
  }

  #commit(selected: ReadonlySet<EntryOperation>, only?: DirectoryInode): void {
    const left: EntryOperation[] = []
    for (const operation of this.#operations) {
      if (!selected.has(operation)) {
        left.push(operation)
        continue
      }
      const rest: EntryChange[] = []
      for (const change of operation.changes) {
        if (only === undefined || change.directory === only) {
          applyEntry(change.directory.durable, change)
        } else {
          rest.push(change)
        }
      }
      if (rest.length > 0) {
        left.push({ ...operation, changes: rest })
      }
    }
    this.#operations = left
  }
}

/** Sets or removes the name of `change` in `entries`. */
export function applyEntry(entries: Map<string, Inode>, change: EntryChange): void {
  if (change.inode === null) {
    entries.delete(change.name)
  } else {
    entries.set(change.name, change.inode)
  }
}

/**
 * `wanted`, and every earlier operation on a name that one of them changes.
 *
 * @param only considers only the names of this directory
 */
export function withPredecessors(
  operations: readonly EntryOperation[],
  wanted: ReadonlySet<EntryOperation>,
  only?: DirectoryInode,
): Set<EntryOperation> {
  const selected = new Set<EntryOperation>()
  const names = new Map<DirectoryInode, Set<string>>()
  for (const operation of operations.toReversed()) {
    const changes = operation.changes.filter(
      ({ directory }) => only === undefined || directory === only,
    )
    const needed = changes.some(({ directory, name }) => names.get(directory)?.has(name))
    if (!needed && !wanted.has(operation)) {
      continue
    }
    selected.add(operation)
    for (const { directory, name } of changes) {
      const known = names.get(directory)
      if (known === undefined) {
        names.set(directory, new Set([name]))
      } else {
        known.add(name)
      }
    }
  }
  return selected
}
