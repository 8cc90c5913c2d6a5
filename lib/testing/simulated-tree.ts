import { posix, resolve, sep } from 'node:path'
import { EntryJournal, type EntryChange, type EntryOperation } from './entry-journal.ts'
import { DirectoryInode, FileInode, type Inode } from './simulated-inode.ts'
import { simulatedError } from './simulated-error.ts'

/** Where a path leads: the directory of its last name, and the inode that the name refers to. */
export interface Place {
  readonly path: string
  /** `null` for the root, which has no name. */
  readonly directory: DirectoryInode | null
  readonly name: string
  readonly inode: Inode | null
}

/**
 * Names and files of a simulated file system, and what of them is on the disk.
 *
 * All of it is synchronous: the caller decides when things happen and whether they fail. Errors are
 * those of the system calls on Linux. Paths must be normal (see {@link normalPath}).
 */
export class SimulatedTree {
  readonly root: DirectoryInode
  readonly journal: EntryJournal

  constructor(root: DirectoryInode, journal: EntryJournal = new EntryJournal()) {
    this.root = root
    this.journal = journal
  }

  /**
   * Resolves `path`.
   *
   * @throws ENOENT or ENOTDIR if the directory of its last name does not exist
   */
  find(path: string, syscall: string): Place {
    const place = this.#follow(path, syscall)
    if (place === null) {
      throw simulatedError('ENOENT', syscall, path)
    }
    return place
  }

  /** The inode at `path`, `null` if it or something above it is missing. */
  findOrNull(path: string, syscall: string): Inode | null {
    return this.#follow(path, syscall)?.inode ?? null
  }

  findDirectory(path: string, syscall: string): DirectoryInode {
    const { inode } = this.find(path, syscall)
    if (inode === null) {
      throw simulatedError('ENOENT', syscall, path)
    }
    if (inode.kind === 'file') {
      throw simulatedError('ENOTDIR', syscall, path)
    }
    return inode
  }

  createFile(place: Place, nowMs: number): FileInode {
    const file = new FileInode(nowMs)
    this.#change('create', [this.#entry(place, file)], nowMs)
    return file
  }

  createDirectory(place: Place, nowMs: number): DirectoryInode {
    const directory = new DirectoryInode(nowMs)
    this.#change('create', [this.#entry(place, directory)], nowMs)
    return directory
  }

  unlink(path: string, nowMs: number): void {
    const place = this.find(path, 'unlink')
    if (place.inode === null) {
      throw simulatedError('ENOENT', 'unlink', path)
    }
    if (place.inode.kind === 'directory') {
      throw simulatedError('EISDIR', 'unlink', path)
    }
    this.#change('unlink', [this.#entry(place, null)], nowMs)
  }

  /** Returns the removed directory. */
  removeDirectory(path: string, nowMs: number): DirectoryInode {
    const place = this.find(path, 'rmdir')
    const directory = this.findDirectory(path, 'rmdir')
    if (place.directory === null) {
      throw simulatedError('EBUSY', 'rmdir', path)
    }
    if (directory.memory.size > 0) {
      throw simulatedError('ENOTEMPTY', 'rmdir', path)
    }
    this.#change('unlink', [this.#entry(place, null)], nowMs)
    return directory
  }

  /** Returns the inode that `to` named before, `null` for none or for the same inode. */
  rename(from: string, to: string, nowMs: number): Inode | null {
    const fail = (code: string): never => {
      throw simulatedError(code, 'rename', from, to)
    }
    const source = this.find(from, 'rename')
    const target = this.find(to, 'rename')
    const moved = source.inode ?? fail('ENOENT')
    if (source.directory === null || target.directory === null) {
      return fail('EBUSY')
    }
    if (moved === target.inode) {
      return null
    }
    if (from.startsWith(`${to}/`)) {
      fail('ENOTEMPTY')
    }
    if (moved.kind === 'directory') {
      if (to.startsWith(`${from}/`)) {
        fail('EINVAL')
      }
      if (target.inode?.kind === 'file') {
        fail('ENOTDIR')
      }
      if (target.inode?.kind === 'directory' && target.inode.memory.size > 0) {
        fail('ENOTEMPTY')
      }
    } else if (target.inode?.kind === 'directory') {
      fail('EISDIR')
    }
    this.#change('rename', [this.#entry(source, null), this.#entry(target, moved)], nowMs)
    return target.inode
  }

  /** Every file that has a name, with its path, in path order. */
  files(): [string, FileInode][] {
    const found: [string, FileInode][] = []
    const visit = (directory: DirectoryInode, path: string): void => {
      for (const [name, inode] of directory.memory) {
        if (inode.kind === 'file') {
          found.push([`${path}/${name}`, inode])
        } else {
          visit(inode, `${path}/${name}`)
        }
      }
    }
    visit(this.root, '')
    return found.sort(([a], [b]) => (a < b ? -1 : 1))
  }

  /** An equal tree that shares no state with this one; file contents are copied on change. */
  clone(): SimulatedTree {
    const copies = new Map<Inode, Inode>()
    const directoryOf = (original: DirectoryInode): DirectoryInode => {
      const known = copies.get(original)
      if (known?.kind === 'directory') {
        return known
      }
      const copy = new DirectoryInode(original.createdMs, original.modifiedMs)
      copies.set(original, copy)
      for (const [name, inode] of original.memory) {
        link(copy, name, inodeOf(inode))
      }
      for (const [name, inode] of original.durable) {
        copy.durable.set(name, inodeOf(inode))
      }
      return copy
    }
    const inodeOf = (original: Inode): Inode => {
      if (original.kind === 'directory') {
        return directoryOf(original)
      }
      const copy = copies.get(original) ?? original.clone()
      copies.set(original, copy)
      return copy
    }
    const root = directoryOf(this.root)
    return new SimulatedTree(root, this.journal.clone(inodeOf, directoryOf))
  }

  #follow(path: string, syscall: string): Place | null {
    if (path === '/') {
      return { path, directory: null, name: '', inode: this.root }
    }
    const names = path.split('/')
    let directory = this.root
    for (let i = 1; i < names.length - 1; i += 1) {
      const next = directory.memory.get(names[i] ?? '')
      if (next === undefined) {
        return null
      }
      if (next.kind === 'file') {
        throw simulatedError('ENOTDIR', syscall, path)
      }
      directory = next
    }
    const name = names.at(-1) ?? ''
    return { path, directory, name, inode: directory.memory.get(name) ?? null }
  }

  #entry(place: Place, inode: Inode | null): EntryChange {
    if (place.directory === null) {
      throw simulatedError('EBUSY', 'rename', place.path)
    }
    return { directory: place.directory, name: place.name, inode }
  }

  #change(kind: EntryOperation['kind'], changes: readonly EntryChange[], nowMs: number): void {
    for (const { directory, name, inode } of changes) {
      if (inode === null) {
        directory.memory.delete(name)
      } else {
        link(directory, name, inode)
      }
      directory.modifiedMs = nowMs
    }
    this.journal.add(kind, changes)
  }
}

/** Gives `inode` a name that programs see. */
export function link(directory: DirectoryInode, name: string, inode: Inode): void {
  directory.memory.set(name, inode)
  inode.parent = directory
}

/** Matches paths that are already normal, as nearly all are, but not those with a hidden name. */
const NORMAL = /^(?:\/[^/.][^/]*)+$/

/**
 * The simulation's form of a user's path: absolute, with slashes, without `.`, `..` or a trailing
 * slash. Relative paths start at the working directory of the process.
 */
export function normalPath(path: string): string {
  if (path === '') {
    throw simulatedError('ENOENT', 'open', path)
  }
  if (sep === '/' && NORMAL.test(path)) return path
  return sep === '/' ? posix.resolve(path) : `/${resolve(path).replaceAll(sep, '/')}`
}
