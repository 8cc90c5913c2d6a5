import { rename, rmdir, unlink } from 'node:fs/promises'
import type { FileSystem } from './file-system.ts'
import { systemRandom } from './random.ts'
import { isSystemError } from './system-error.ts'

/** The calls of a file system that change names. */
export type NameChanges = Pick<FileSystem, 'rename' | 'unlink' | 'removeDirectory'>

/** The suffix of a file that is being removed. */
const ASIDE_NAME = /\.[0-9a-f]{8}\.deleted$/
const ASIDE_BYTES = 4

/** Error codes of a name change while somebody has the file open. */
const BUSY = ['EPERM', 'EACCES', 'EBUSY'] as const

/** The first wait; each further one is twice as long. */
const FIRST_WAIT_MS = 1
/** The number of waits, a second in total. */
const MOST_WAITS = 10

/**
 * Changes names on Windows, where other processes can prevent that.
 *
 * - A process that has a file open for a moment, such as a virus scanner, an indexer or a reader of
 *   a checkpoint, keeps it from being renamed, replaced or removed. So each change is retried for a
 *   second.
 * - A file that is removed while it is open keeps its name until it is closed (always with libuv up
 *   to 1.48, as in Node.js 20; on FAT with every version), and nothing else can have that name.
 *   So a file is renamed first, which is allowed while it is open. A file that is left under that
 *   name, by a crash or because somebody has it open, is ignored: see {@link nameBefore}.
 */
export class WindowsNames implements NameChanges {
  readonly #names: NameChanges
  readonly #wait: (delayMs: number) => Promise<void>
  readonly #randomBytes: (count: number) => Buffer

  constructor(
    names: NameChanges,
    wait: (delayMs: number) => Promise<void>,
    randomBytes: (count: number) => Buffer,
  ) {
    this.#names = names
    this.#wait = wait
    this.#randomBytes = randomBytes
  }

  rename(from: string, to: string): Promise<void> {
    return this.whileBusy(() => this.#names.rename(from, to))
  }

  async unlink(path: string): Promise<void> {
    if (nameBefore(path) !== path) return this.#names.unlink(path)
    const aside = `${path}.${this.#randomBytes(ASIDE_BYTES).toString('hex')}.deleted`
    await this.rename(path, aside)
    try {
      await this.#names.unlink(aside)
    } catch (error) {
      // Its name is free, which is what was requested.
      if (!isSystemError(error)) throw error
    }
  }

  removeDirectory(path: string): Promise<void> {
    return this.whileBusy(() => this.#names.removeDirectory(path))
  }

  /**
   * Retries a call that fails because somebody has a file open.
   *
   * @param codes the errors of such a failure.
   */
  async whileBusy<T>(call: () => T | Promise<T>, codes: readonly string[] = BUSY): Promise<T> {
    for (let waits = 0; ; waits += 1) {
      try {
        return await call()
      } catch (error) {
        if (waits === MOST_WAITS || !isSystemError(error, ...codes)) throw error
      }
      await this.#wait(FIRST_WAIT_MS * 2 ** waits)
    }
  }
}

/** `null` on systems that change names even if somebody has the file open. */
export const windowsNames: WindowsNames | null =
  process.platform === 'win32'
    ? new WindowsNames(
        { rename, unlink, removeDirectory: rmdir },
        (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
        (count) => systemRandom.bytes(count),
      )
    : null

/** Makes a call that changes a name; on Windows, retries for a second while the file is open. */
export async function whileBusy<T>(call: () => T): Promise<T> {
  return windowsNames === null ? call() : windowsNames.whileBusy(call)
}

/** The name of a file before {@link WindowsNames} renamed it. Other names stay as they are. */
export function nameBefore(name: string): string {
  return name.replace(ASIDE_NAME, '')
}
