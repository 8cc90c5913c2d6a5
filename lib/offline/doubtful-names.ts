import { resolve } from 'node:path'
import type { FileSystem } from '../platform/file-system.ts'
import { hasDropped, ownerOf } from './doubtful-directories.ts'

/** A name that is being given to a file. */
interface Publication {
  readonly name: string
  /** The error of a sync that has failed meanwhile, whoever called it. */
  failure: { readonly error: unknown } | null
}

/** Per file system, the names in each directory. */
const known: WeakMap<object, Map<string, DoubtfulNames>> = new WeakMap()

/** The names in a directory, for all who write to it in this process. */
export function doubtfulNamesIn(fileSystem: FileSystem, path: string): DoubtfulNames {
  const owner = ownerOf(fileSystem)
  const directories = known.get(owner) ?? new Map<string, DoubtfulNames>()
  known.set(owner, directories)
  const names = directories.get(resolve(path)) ?? new DoubtfulNames()
  directories.set(resolve(path), names)
  return names
}

/**
 * The names in a directory that a failed sync has left in doubt. The kernel may have dropped them,
 * and would still report success for the next sync. So they must not be relied on until they are
 * given to a file once more. They are removed only to make way for a file with all of their records:
 * another writer may rely on them, as its own sync may have succeeded before.
 */
export class DoubtfulNames {
  /** By name, what has left it in doubt. */
  readonly #names = new Map<string, Publication>()
  readonly #publishing = new Set<Publication>()

  has(name: string): boolean {
    return this.#names.has(name)
  }

  /** @returns a function to call with a later listing, which forgets names that are gone. */
  beforeListing(): (listed: readonly { readonly name: string }[]) => void {
    const before = [...this.#names]
    return (listed) => {
      if (before.length === 0) return
      const names = new Set(listed.map(({ name }) => name))
      for (const [name, cause] of before) {
        if (!names.has(name) && this.#names.get(name) === cause) this.#names.delete(name)
      }
    }
  }

  [Symbol.iterator](): IterableIterator<string> {
    return this.#names.keys()
  }

  /**
   * Gives `name` to a file.
   *
   * @throws the error of the rename, of the sync, or of another sync of the directory that has
   * failed meanwhile: it covered the name, too
   */
  async publish(
    name: string,
    { rename, sync }: { rename: () => Promise<void>; sync: () => Promise<void> },
  ): Promise<void> {
    const publication: Publication = { name, failure: null }
    this.#publishing.add(publication)
    try {
      await rename()
      await this.watch(sync)
    } finally {
      this.#publishing.delete(publication)
    }
    if (publication.failure !== null) throw publication.failure.error
    this.#names.delete(name)
  }

  /** Runs a sync of the directory. If it fails, all names that are being given are in doubt. */
  async watch(sync: () => Promise<void>): Promise<void> {
    try {
      await sync()
    } catch (error) {
      if (hasDropped(error)) {
        for (const each of this.#publishing) {
          each.failure ??= { error }
          this.#names.set(each.name, each)
        }
      }
      throw error
    }
  }
}
