import { join } from 'node:path'
import { writeFully } from '../platform/file-io.ts'
import type { File, FileSystem } from '../platform/file-system.ts'
import { systemRandom } from '../platform/random.ts'
import { isSystemError } from '../platform/system-error.ts'

/** A file that is written under a temporary name, from its start to its end. */
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
   * Creates `_<name>.<chance>.tmp` in `directory`: the name begins with what readers of directories
   * pass over, and no other writer has it.
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

  /** Makes the content durable; nothing can be appended any more. */
  async finish(): Promise<void> {
    await this.#file.sync()
    await this.#file.close()
  }

  /** Gives it its final name, in place of what has it. Durable with its directory. */
  async rename(path: string): Promise<void> {
    await this.#fileSystem.rename(this.path, path)
    this.#isThere = false
  }

  /** Removes it, unless it has its final name. */
  async discard(): Promise<void> {
    await this.#file.close()
    if (!this.#isThere) return
    this.#isThere = false
    try {
      await this.#fileSystem.unlink(this.path)
    } catch (error) {
      // Who has published the same records takes away what others had begun.
      if (!isSystemError(error, 'ENOENT')) throw error
    }
  }
}
