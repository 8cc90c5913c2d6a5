import { rename, rmdir, unlink } from 'node:fs/promises'
import type { FileSystem } from './file-system.ts'
import { systemRandom } from './random.ts'
import { isSystemError } from './system-error.ts'

/** The calls of a file system that change names. */
export type NameChanges = Pick<FileSystem, 'rename' | 'unlink' | 'removeDirectory'>

/** What stands behind the name of a file that is on its way out. */
const ASIDE_NAME = /\.[0-9a-f]{8}\.deleted$/
const ASIDE_BYTES = 4

/** What a change of a name fails with where somebody has the file open. */
const BUSY = ['EPERM', 'EACCES', 'EBUSY'] as const

/** The first wait; each of the next is twice as long. */
const FIRST_WAIT_MS = 1
/** So many waits, a second in all. */
const MOST_WAITS = 10

/**
 * Changes names on Windows, where others get into the way of it as nowhere else.
 *
 * - Who has a file open for a moment, such as a virus scanner, an indexer or a reader of a checkpoint, keeps
 *   it from being renamed, replaced or removed. So each change is tried for a second.
 * - A file that is removed while it is open keeps its name until it is closed (always up to libuv 1.48, which
 *   is that of Node.js 20, and with any on FAT), and nothing else can have that name. So a file gets
 *   another name first, which is allowed while it is open. What a crash, or somebody who has it open, leaves
 *   under that name counts for nothing: see {@link isAside}.
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
      // Nothing is under its name any more, which is what was asked for.
      if (!isSystemError(error)) throw error
    }
  }

  removeDirectory(path: string): Promise<void> {
    return this.whileBusy(() => this.#names.removeDirectory(path))
  }

  /**
   * Makes a call again that fails since somebody has a file open.
   *
   * @param codes what it fails with then.
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

/** `null` where names can be changed whoever has a file open. */
export const windowsNames: WindowsNames | null =
  process.platform === 'win32'
    ? new WindowsNames(
        { rename, unlink, removeDirectory: rmdir },
        (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
        (count) => systemRandom.bytes(count),
      )
    : null

/** Makes a call that changes a name: on Windows until nobody has the file open any more, for a second. */
export async function whileBusy<T>(call: () => T): Promise<T> {
  return windowsNames === null ? call() : windowsNames.whileBusy(call)
}

/** The name that a file had before {@link WindowsNames} took it out of the way; any other stays as it is. */
export function nameBefore(name: string): string {
  return name.replace(ASIDE_NAME, '')
}
