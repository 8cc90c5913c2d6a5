import { basename, join } from 'node:path'
import type { DirectoryEntry, FileSystem } from '../platform/file-system.ts'
import { tornFileOffset } from './log-files.ts'
import type { Truncation } from './torn-tail.ts'

/**
 * Files with bytes that opens have cut from the segments of a log. These were written right after
 * the records before them, so they are deleted together with those.
 */
export class TornFiles {
  readonly #fileSystem: FileSystem
  readonly #dir: string
  /** Base offset of the segment that each file was cut from, by file name. */
  readonly #offsets: Map<string, number>

  private constructor(fileSystem: FileSystem, dir: string, offsets: Map<string, number>) {
    this.#fileSystem = fileSystem
    this.#dir = dir
    this.#offsets = offsets
  }

  /**
   * @param entries what was in the log's directory when it was opened
   * @param truncations what was cut since
   * @returns `null` if there are no such files
   */
  static find(
    fileSystem: FileSystem,
    dir: string,
    entries: readonly DirectoryEntry[],
    truncations: readonly Truncation[],
  ): TornFiles | null {
    const offsets = new Map<string, number>()
    const note = (name: string): void => {
      const offset = tornFileOffset(name)
      if (offset !== null) offsets.set(name, offset)
    }
    for (const { name, kind } of entries) if (kind === 'file') note(name)
    for (const { keptIn } of truncations) if (keptIn !== null) note(basename(keptIn))
    return offsets.size === 0 ? null : new TornFiles(fileSystem, dir, offsets)
  }

  /**
   * Removes the files of segments below `offset`. Durable with the next sync of the directory. They
   * are for people to look at, so one that cannot be removed, for example because somebody has it
   * open, does not block other deletions. It is tried again when further segments are deleted.
   */
  async removeBelow(offset: number): Promise<void> {
    for (const [name, baseOffset] of this.#offsets) {
      if (baseOffset < offset && (await this.#isRemoved(join(this.#dir, name)))) {
        this.#offsets.delete(name)
      }
    }
  }

  async #isRemoved(path: string): Promise<boolean> {
    try {
      if ((await this.#fileSystem.stat(path)) !== null) await this.#fileSystem.unlink(path)
      return true
    } catch {
      return false
    }
  }
}
