import { join } from 'node:path'
import { writeFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { systemRandom } from '../platform/random.ts'
import { isSystemError } from '../platform/system-error.ts'

/** A file that is written sequentially under a temporary name. */
export class OutputFile {
  readonly #fileSystem: FileSystem
  readonly #file: File
  #sizeBytes = 0
  #isThere = true

  private constructor(fileSystem: FileSystem, file: File) {
    this.#fileSystem = fileSystem
    this.#file = file
  }

  /**
   * Creates `_<name>.<random>.tmp` in `directory`. Readers of directories ignore names that begin
   * with an underscore, and no other writer uses this name.
   */
  static async create(
    fileSystem: FileSystem,
    directory: string,
    name: string,
  ): Promise<OutputFile> {
    const chance = systemRandom.bytes(8).toString('hex')
    const path = join(directory, `_${name}.${chance}.tmp`)
    return new OutputFile(fileSystem, await fileSystem.open(path, 'create-new'))
  }

  get path(): string {
    return this.#file.path
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  async append(bytes: Uint8Array): Promise<void> {
    await writeFully(this.#file, [bytes], this.#sizeBytes)
    this.#sizeBytes += bytes.length
  }

  /** Makes the content durable. Nothing can be appended afterwards. */
  async finish(): Promise<void> {
    await this.#file.sync()
    await this.#file.close()
  }

  /** Renames it to its final name, replacing any file. Durable once its directory is synced. */
  async rename(path: string): Promise<void> {
    await this.#fileSystem.rename(this.path, path)
    this.#isThere = false
  }

  /** Removes the file, unless it has its final name. */
  async discard(): Promise<void> {
    await this.#file.close()
    if (!this.#isThere) return
    this.#isThere = false
    try {
      await this.#fileSystem.unlink(this.path)
    } catch (error) {
      // A process that has published the same records removes the files of other attempts.
      if (!isSystemError(error, 'ENOENT')) throw error
    }
  }
}
