import { basename, join } from 'node:path'
import { IllegalStateError } from '../index.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { refuseDoubtful, syncOnce } from './doubtful-directories.ts'
import { makeDurableDirectory } from './durable-directory.ts'
import { describeTask } from './load-errors.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'
import { overlaps } from './offset-ranges.ts'
import { OutputFile } from './output-file.ts'

/** As many as the largest offset has, so that names sort as their offsets do. */
const DIGITS = 20
const RANGE_NAME = /^(_?)(\d{20})-(\d{20})\.(.+)$/

interface RangeFile {
  readonly name: string
  readonly range: OffsetRange
  readonly kind: 'published' | 'temporary' | 'other'
}

/**
 * The files of one partition, each under the name of the offsets that it covers:
 * `00000000000000000000-00000000000000000100.ndjson`, end exclusive. A file is written under a
 * temporary name and there as a whole once it is renamed, so the names say what is loaded.
 */
export class RangeDirectory {
  readonly path: string
  readonly #fileSystem: FileSystem
  readonly #root: string
  readonly #extensions: readonly string[]
  #isMade = false
  /** Names that outlast a power loss. */
  readonly #durable = new Set<string>()
  /** What attempts had left by the last look: a task looks once for all that it asks when it ends. */
  #temporary: readonly RangeFile[] = []
  /** Names whose sync has failed and that could not be taken back: nobody may rely on them. */
  readonly #doubtful = new Set<string>()

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
   * The published ranges. Their names are durable when it resolves.
   *
   * @throws `StorageError` once a sync that was to make them so has failed
   */
  async published(): Promise<OffsetRange[]> {
    const files = this.#fileSystem
    const all = await this.#list()
    const found = all.filter(({ kind }) => kind === 'published')
    // One that is taken away and put back has a new name there, which must be made durable anew.
    const names = new Set(all.map(({ name }) => name))
    for (const name of this.#durable) if (!names.has(name)) this.#durable.delete(name)
    if (found.some(({ name }) => !this.#durable.has(name))) {
      await this.#make()
      await syncOnce(files, this.path, () => files.syncDirectory(this.path))
      for (const { name } of found) this.#durable.add(name)
      // Their writer may have been killed before it took away what attempts had left.
      for (const { name, kind, range } of all) {
        if (kind !== 'temporary' || !found.some((each) => overlaps(each.range, range))) continue
        await this.#unlink(name)
      }
    }
    return found.map(({ range }) => range)
  }

  /** A file for a range, under a temporary name. */
  async create(range: OffsetRange, extension: string): Promise<OutputFile> {
    await this.#make()
    const name = nameOf(range, extension)
    try {
      return await OutputFile.create(this.#fileSystem, this.path, name)
    } catch (error) {
      // Who has taken away what was loaded may have taken the directory with it.
      if (!isSystemError(error, 'ENOENT')) throw error
      this.#isMade = false
      await this.#make()
      return OutputFile.create(this.#fileSystem, this.path, name)
    }
  }

  /**
   * Whether the range is published already.
   *
   * @throws {@link IllegalStateError} when a part of it is, or more than it, under another name.
   */
  async holds(task: LoadTask): Promise<boolean> {
    return this.isIn(await this.published(), task)
  }

  /** {@link RangeDirectory.holds}, as of what {@link RangeDirectory.published} has just given. */
  isIn(published: readonly OffsetRange[], task: LoadTask): boolean {
    for (const range of published) {
      if (!overlaps(range, task)) continue
      const { startOffset, endOffset } = range
      if (startOffset === task.startOffset && endOffset === task.endOffset) return true
      throw new IllegalStateError(
        `${describeTask(task)} cannot be published in ${this.path}: the records ${startOffset} to ` +
          `${endOffset} (exclusive) have been published meanwhile`,
      )
    }
    return false
  }

  /** Gives a finished file its name, durably. */
  async publish(output: OutputFile, range: OffsetRange, extension: string): Promise<void> {
    const name = nameOf(range, extension)
    await output.rename(join(this.path, name))
    const own = basename(output.path)
    this.#temporary = this.#temporary.filter((each) => each.name !== own)
    try {
      await this.#fileSystem.syncDirectory(this.path)
    } catch (error) {
      // A name that may go with the next power loss must not be taken for a durable one: the next attempt
      // gives it anew, which its own sync covers.
      this.#doubtful.add(name)
      await this.#fileSystem.unlink(join(this.path, name)).catch(() => undefined)
      throw error
    }
    this.#doubtful.delete(name)
    this.#durable.add(name)
  }

  /**
   * Takes away what attempts had left by the last look, as far as that can be done: once the records of a
   * range are loaded, what is written for some of them can never be published itself.
   */
  async removeTemporary(range: OffsetRange): Promise<void> {
    try {
      for (const { name, range: other } of this.#temporary) {
        if (overlaps(range, other)) await this.#unlink(name)
      }
    } catch {
      // It is in nobody's way.
    }
  }

  /** Removes published files of which some offsets are in `range`, durably, unless `isKept` says otherwise. */
  async removeOverlapping(
    range: OffsetRange,
    isKept: (other: OffsetRange) => boolean,
  ): Promise<void> {
    const files = this.#fileSystem
    // What a failed sync was to take away for good is in no list any more.
    refuseDoubtful(files, this.path)
    let isChanged = false
    for (const { name, kind, range: other } of await this.#list()) {
      if (kind !== 'published' || !overlaps(range, other) || isKept(other)) continue
      await this.#unlink(name)
      isChanged = true
    }
    if (isChanged) await syncOnce(files, this.path, () => files.syncDirectory(this.path))
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
      // Another process may have been quicker.
      if (!isSystemError(error, 'ENOENT')) throw error
    }
  }

  async #list(): Promise<RangeFile[]> {
    try {
      const entries = await this.#fileSystem.list(this.path)
      const found = entries.flatMap(({ name, kind }) => (kind === 'file' ? this.#fileOf(name) : []))
      this.#temporary = found.filter(({ kind }) => kind === 'temporary')
      return found
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) throw error
      this.#isMade = false
      this.#temporary = []
      return []
    }
  }

  #fileOf(name: string): RangeFile[] {
    const match = RANGE_NAME.exec(name)
    if (match === null) return []
    const [, hidden, start, end, extension = ''] = match
    const range = { startOffset: Number(start), endOffset: Number(end) }
    if (!Number.isSafeInteger(range.endOffset) || range.endOffset <= range.startOffset) return []
    if (hidden === '_') {
      const isOwn = this.#extensions.some((each) => extension.startsWith(`${each}.`))
      return [{ name, range, kind: isOwn && extension.endsWith('.tmp') ? 'temporary' : 'other' }]
    }
    const isPublished = this.#extensions.includes(extension) && !this.#doubtful.has(name)
    return [{ name, range, kind: isPublished ? 'published' : 'other' }]
  }
}

/** `00000000000000000000-00000000000000000100.ndjson` */
function nameOf({ startOffset, endOffset }: OffsetRange, extension: string): string {
  const digits = (offset: number): string => String(offset).padStart(DIGITS, '0')
  return `${digits(startOffset)}-${digits(endOffset)}.${extension}`
}
