import { basename, join } from 'node:path'
import { IllegalStateError, StorageError } from '../index.ts'
import type { DirectoryEntry, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import {
  doubtfulNames,
  listNames,
  publishName,
  refuseDoubtful,
  removeNames,
  syncOnce,
} from './doubtful-directory.ts'
import { makeDurableDirectory } from './durable-directory.ts'
import { describeTask } from './load-errors.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'
import { contains, overlaps } from './offset-ranges.ts'
import { OutputFile } from './output-file.ts'

/** Digits of an offset in a name, as in Kafka's file names, so that names sort by offset. */
const DIGITS = 20
const RANGE_NAME = /^(_?)(\d{20})-(\d{20})\.(.+)$/

interface RangeFile {
  readonly name: string
  readonly range: OffsetRange
  readonly kind: 'published' | 'temporary' | 'other'
  /** Whether its name survives a power loss. */
  isDurable: boolean
}

/**
 * The files of one partition. The name of each is the range of offsets that it covers:
 * `00000000000000000000-00000000000000000100.ndjson`, end exclusive. A file is written under a
 * temporary name and is complete once it is renamed, so the names tell what is loaded.
 */
export class RangeDirectory {
  readonly path: string
  readonly #fileSystem: FileSystem
  readonly #root: string
  readonly #extensions: readonly string[]
  #isMade = false
  /** The last listing, in name order. The next listing finds most files of it again. */
  #files: readonly RangeFile[] = []
  /** Durable names of files that no listing has found yet. */
  readonly #durable = new Set<string>()
  /** Files of attempts in the last listing. A task lists the directory once, when it ends. */
  #temporary: readonly RangeFile[] = []

  /**
   * @param path of the partition, `root` or below it.
   * @param extensions of files that count as published, without a dot.
   */
  constructor(
    fileSystem: FileSystem,
    { root, path, extensions }: { root: string; path: string; extensions: readonly string[] },
  ) {
    this.#fileSystem = fileSystem
    this.#root = root
    this.path = path
    this.#extensions = extensions
  }

  /**
   * The published ranges. Their names are durable once it resolves.
   *
   * @throws `StorageError` once a sync to make them durable has failed
   */
  async published(): Promise<OffsetRange[]> {
    const files = this.#fileSystem
    const all = await this.#list()
    let found = this.#publishedOf(all)
    if (found.some(({ isDurable }) => !isDurable)) {
      await this.#make()
      await syncOnce(files, this.path, () => files.syncDirectory(this.path))
      // A sync by another caller may have failed in the meantime.
      found = this.#publishedOf(found)
      for (const file of found) file.isDurable = true
      // Their writer may have been killed before it removed what attempts had left.
      for (const { name, kind, range } of all) {
        if (kind !== 'temporary' || !found.some((each) => overlaps(each.range, range))) continue
        await this.#unlink(name)
      }
    }
    return found.map(({ range }) => range)
  }

  /** Creates a file for a range, under a temporary name. */
  async create(range: OffsetRange, extension: string): Promise<OutputFile> {
    await this.#make()
    const name = nameOf(range, extension)
    try {
      return await OutputFile.create(this.#fileSystem, this.path, name)
    } catch (error) {
      // Whoever removed the loaded files may have removed the directory too.
      if (!isSystemError(error, 'ENOENT')) throw error
      this.#isMade = false
      await this.#make()
      return OutputFile.create(this.#fileSystem, this.path, name)
    }
  }

  /**
   * Whether the range is in a result of {@link RangeDirectory.published}.
   *
   * @throws {@link IllegalStateError} if a part of it, or a larger range, is published under
   * another name.
   */
  isIn(published: readonly OffsetRange[], task: LoadTask): boolean {
    for (const range of published) {
      if (!overlaps(range, task)) continue
      const { startOffset, endOffset } = range
      if (startOffset === task.startOffset && endOffset === task.endOffset) return true
      throw new IllegalStateError(
        `${describeTask(task)} cannot be published in ${this.path}: the records ${startOffset} to ` +
          `${endOffset} (exclusive) were published in the meantime`,
      )
    }
    return false
  }

  /**
   * Renames a finished file to its published name, durably. If its sync fails, the name stays and
   * does not count in this process until it is published again.
   */
  async publish(output: OutputFile, range: OffsetRange, extension: string): Promise<void> {
    const name = nameOf(range, extension)
    await publishName(this.#fileSystem, this.path, {
      name,
      rename: async () => {
        await output.rename(join(this.path, name))
        const own = basename(output.path)
        this.#temporary = this.#temporary.filter((each) => each.name !== own)
      },
      sync: () => this.#fileSystem.syncDirectory(this.path),
    })
    this.#durable.add(name)
  }

  /**
   * Checks that `range` can be published, although some names of the last listing do not count.
   *
   * @returns the names of files that a failed sync has left in doubt, and whose records would then
   * be there twice: to be given to {@link RangeDirectory.remove}.
   * @throws {@link StorageError} if such a file has records of other ranges, too, or if the removal
   * of such files could not be synced: they are no longer listed.
   */
  doubtfulIn(range: OffsetRange, extension: string): string[] {
    refuseDoubtful(this.#fileSystem, this.path)
    const names: string[] = []
    for (const name of doubtfulNames(this.#fileSystem, this.path).keys()) {
      if (name === nameOf(range, extension)) continue
      const other = this.#fileOf(name)
      if (other?.kind !== 'published' || !overlaps(other.range, range)) continue
      if (contains(range, other.range)) {
        names.push(name)
        continue
      }
      throw new StorageError(
        `a sync of ${this.path} has failed: ${name} may be lost in a power failure, and this process ` +
          'can replace it only with a file that has all of its offsets',
        { path: this.path, outcome: 'not-written' },
      )
    }
    return names
  }

  /** Durably removes files, and those that an earlier call has removed without a sync. */
  async remove(names: readonly string[]): Promise<void> {
    await removeNames(this.#fileSystem, this.path, {
      names,
      unlink: (name) => this.#unlink(name),
      sync: () => this.#syncRemovals(),
    })
  }

  /**
   * Removes the files that attempts had left at the last listing, if possible. Once the records of
   * a range are loaded, a file with some of them can never be published.
   */
  async removeTemporary(range: OffsetRange): Promise<void> {
    try {
      for (const { name, range: other } of this.#temporary) {
        if (overlaps(range, other)) await this.#unlink(name)
      }
    } catch {
      // A remaining file does no harm.
    }
  }

  /** Durably removes published files with offsets in `range`, unless `isKept` returns true. */
  async removeOverlapping(
    range: OffsetRange,
    isKept: (other: OffsetRange) => boolean,
  ): Promise<void> {
    const names: string[] = []
    for (const file of await this.#list()) {
      const isPublished = file.kind === 'published'
      if (isPublished && overlaps(range, file.range) && !isKept(file.range)) names.push(file.name)
    }
    await this.remove(names)
  }

  async #syncRemovals(): Promise<void> {
    await this.#fileSystem.syncDirectory(this.path)
  }

  async #make(): Promise<void> {
    if (this.#isMade) return
    await makeDurableDirectory(this.#fileSystem, this.#root, this.path)
    this.#isMade = true
  }

  async #unlink(name: string): Promise<void> {
    try {
      await this.#fileSystem.unlink(join(this.path, name))
    } catch (error) {
      // Another process may have been faster.
      if (!isSystemError(error, 'ENOENT')) throw error
    }
  }

  async #list(): Promise<readonly RangeFile[]> {
    const durable = [...this.#durable]
    const entries = await listNames(this.#fileSystem, this.path)
    if (entries === null) this.#isMade = false
    this.#files = this.#filesOf(entries ?? [])
    // A file that is removed and put back has a new name, which must be made durable again.
    for (const name of durable) this.#durable.delete(name)
    this.#temporary = this.#files.filter(({ kind }) => kind === 'temporary')
    return this.#files
  }

  /** Parses each name once: a load lists as often as it has tasks, and each task leaves a file. */
  #filesOf(entries: readonly DirectoryEntry[]): RangeFile[] {
    const files: RangeFile[] = []
    let at = 0
    for (const { name, kind } of entries) {
      while (at < this.#files.length && (this.#files[at]?.name ?? '') < name) at += 1
      const known = this.#files[at]
      const file = kind !== 'file' ? null : known?.name === name ? known : this.#fileOf(name)
      if (file === null) continue
      if (this.#durable.size > 0 && this.#durable.has(name)) file.isDurable = true
      files.push(file)
    }
    return files
  }

  #publishedOf(files: readonly RangeFile[]): readonly RangeFile[] {
    const doubtful = doubtfulNames(this.#fileSystem, this.path)
    return files.filter(({ name, kind }) => kind === 'published' && !doubtful.has(name))
  }

  #fileOf(name: string): RangeFile | null {
    const match = RANGE_NAME.exec(name)
    if (match === null) return null
    const [, hidden, start, end, extension = ''] = match
    const range = { startOffset: Number(start), endOffset: Number(end) }
    if (!Number.isSafeInteger(range.endOffset) || range.endOffset <= range.startOffset) return null
    return { name, range, kind: this.#kindOf(hidden === '_', extension), isDurable: false }
  }

  #kindOf(isHidden: boolean, extension: string): RangeFile['kind'] {
    if (!isHidden) return this.#extensions.includes(extension) ? 'published' : 'other'
    const isOwn = this.#extensions.some((each) => extension.startsWith(`${each}.`))
    return isOwn && extension.endsWith('.tmp') ? 'temporary' : 'other'
  }
}

/** `00000000000000000000-00000000000000000100.ndjson` */
function nameOf({ startOffset, endOffset }: OffsetRange, extension: string): string {
  const digits = (offset: number): string => String(offset).padStart(DIGITS, '0')
  return `${digits(startOffset)}-${digits(endOffset)}.${extension}`
}
