import { resolve } from 'node:path'
import { StorageError } from '../index.ts'
import type { DirectoryEntry, FileSystem } from '../platform/file-system.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import { isSystemError } from '../platform/system-error.ts'

/** Errors of opening a directory. No sync was tried then, so nothing has been dropped. */
const NOT_OPENED = ['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'EMFILE', 'ENFILE'] as const

/** A name that is being given to a file. */
interface Publication {
  readonly name: string
  /** The error of a sync that has failed meanwhile, whoever called it. */
  failure: { readonly error: unknown } | null
}

/** What failed syncs of a directory have left in doubt, for all who write to it in this process. */
class DirectoryState {
  /** Number of calls that use it. */
  calls = 0
  /** Error of a sync that could not be made up for, after which the directory is refused. */
  failure: { readonly error: unknown } | null = null
  /** By name, what has left it in doubt. */
  readonly names = new Map<string, Publication>()
  readonly publishing = new Set<Publication>()
  /** Given, and not covered by a sync since: the directory could not be opened for it. */
  readonly unsynced = new Set<Publication>()
  /** Calls that are removing names. */
  readonly removing = new Set<object>()
  /** Calls that have removed names which no sync has covered since. */
  readonly removed = new Set<object>()
}

const NO_NAMES: ReadonlyMap<string, unknown> = new Map()

/** Per file system, by path, as long as they are in use or something is in doubt. */
const known: WeakMap<object, Map<string, DirectoryState>> = new WeakMap()

/**
 * Syncs a directory for names that exist and are not created again if the sync fails. A failed sync
 * must not be repeated, because the kernel may have dropped what it covered and would then report
 * success. From then on the directory is refused in this process, for every caller.
 *
 * @param sync of the directory
 * @throws {@link StorageError} if an earlier sync has failed
 */
export async function syncOnce(
  fileSystem: FileSystem,
  path: string,
  sync: () => Promise<void>,
): Promise<void> {
  await withState(fileSystem, path, async (state) => {
    refuseDoubtful(fileSystem, path)
    try {
      await watch(state, sync)
    } catch (error) {
      if (hasDropped(error)) state.failure = { error }
      throw error
    }
    // A concurrent sync by another caller may have failed for the same names.
    refuseDoubtful(fileSystem, path)
  })
}

/** @throws {@link StorageError} if a sync of the directory has failed */
export function refuseDoubtful(fileSystem: FileSystem, path: string): void {
  const failure = statesOf(fileSystem).get(resolve(path))?.failure ?? null
  if (failure === null) return
  throw new StorageError(
    `a sync of ${path} has failed: the names in it may be lost in a power failure, and this process ` +
      'no longer relies on them',
    { path, outcome: 'unknown' },
    { cause: failure.error },
  )
}

/**
 * Gives a name in a directory to a file.
 *
 * @throws the error of the rename, of the sync, or of another sync of the directory that has
 * failed meanwhile: it covered the name, too
 */
export async function publishName(
  fileSystem: FileSystem,
  path: string,
  { name, rename, sync }: { name: string; rename: () => Promise<void>; sync: () => Promise<void> },
): Promise<void> {
  await withState(fileSystem, path, async (state) => {
    const publication: Publication = { name, failure: null }
    state.publishing.add(publication)
    try {
      // Another writer may have failed to remove a file that this one replaces.
      refuseDoubtful(fileSystem, path)
      await rename()
      state.unsynced.add(publication)
      await watch(state, sync)
    } finally {
      state.publishing.delete(publication)
    }
    if (publication.failure !== null) throw publication.failure.error
    state.names.delete(name)
  })
}

/**
 * Removes names from a directory, durably. Also syncs what earlier calls have removed, if no sync
 * has covered it since. A sync that fails must not be repeated, and the names cannot be removed once
 * more, so the directory is refused then.
 *
 * @throws {@link StorageError} if an earlier sync has failed
 */
export async function removeNames(
  fileSystem: FileSystem,
  path: string,
  {
    names,
    unlink,
    sync,
  }: {
    readonly names: readonly string[]
    readonly unlink: (name: string) => Promise<void>
    readonly sync: () => Promise<void>
  },
): Promise<void> {
  await withState(fileSystem, path, async (state) => {
    refuseDoubtful(fileSystem, path)
    const removal = {}
    if (names.length > 0) state.removing.add(removal)
    try {
      for (const name of names) await unlink(name)
    } finally {
      // Some of them, if it has failed.
      if (state.removing.delete(removal)) state.removed.add(removal)
    }
    if (state.removed.size > 0) await watch(state, sync)
    refuseDoubtful(fileSystem, path)
    for (const name of names) state.names.delete(name)
  })
}

/**
 * The names in a directory that a failed sync has left in doubt. The kernel may have dropped them,
 * and would still report success for the next sync. So they must not be relied on until they are
 * given to a file once more. They are removed only to make way for a file with all of their records:
 * another writer may rely on them, as its own sync may have succeeded before.
 */
export function doubtfulNames(fileSystem: FileSystem, path: string): ReadonlyMap<string, unknown> {
  return statesOf(fileSystem).get(resolve(path))?.names ?? NO_NAMES
}

/**
 * Lists a directory, and forgets names in doubt that are gone.
 *
 * @returns `null` if there is no such directory
 */
export async function listNames(
  fileSystem: FileSystem,
  path: string,
): Promise<readonly DirectoryEntry[] | null> {
  return withState(fileSystem, path, async ({ names }) => {
    const before = [...names]
    const entries = await fileSystem.list(path).catch((error: unknown) => {
      if (isSystemError(error, 'ENOENT')) return null
      throw error
    })
    if (before.length === 0) return entries
    const listed = new Set(entries?.map(({ name }) => name))
    for (const [name, cause] of before) {
      if (!listed.has(name) && names.get(name) === cause) names.delete(name)
    }
    return entries
  })
}

/** Paths of the directories that are remembered. @internal */
export function rememberedIn(fileSystem: FileSystem): string[] {
  return [...statesOf(fileSystem).keys()]
}

/** The owner of the paths. There is one real file system, however many objects represent it. */
export function ownerOf(fileSystem: FileSystem): object {
  return fileSystem instanceof NodeFileSystem ? NodeFileSystem : fileSystem
}

function statesOf(fileSystem: FileSystem): Map<string, DirectoryState> {
  const owner = ownerOf(fileSystem)
  const states = known.get(owner) ?? new Map<string, DirectoryState>()
  known.set(owner, states)
  return states
}

/** Runs a call with the state of a directory, and forgets it if nothing is in doubt then. */
async function withState<T>(
  fileSystem: FileSystem,
  path: string,
  call: (state: DirectoryState) => Promise<T>,
): Promise<T> {
  const states = statesOf(fileSystem)
  const key = resolve(path)
  const state = states.get(key) ?? new DirectoryState()
  states.set(key, state)
  state.calls += 1
  try {
    return await call(state)
  } finally {
    state.calls -= 1
    const doubts = state.names.size + state.unsynced.size + state.removed.size
    const isClear = state.failure === null && doubts === 0
    if (state.calls === 0 && isClear) states.delete(key)
  }
}

/**
 * Runs a sync of a directory. If it fails, all names that no sync has covered are in doubt, and so
 * is the directory if names are removed.
 */
async function watch(state: DirectoryState, sync: () => Promise<void>): Promise<void> {
  const { names, publishing, unsynced, removing, removed } = state
  const covered = [...unsynced]
  const coveredRemovals = [...removed]
  try {
    await sync()
  } catch (error) {
    if (hasDropped(error)) {
      if (removing.size + removed.size > 0) state.failure ??= { error }
      removed.clear()
      for (const each of [...publishing, ...unsynced]) {
        each.failure ??= { error }
        names.set(each.name, each)
      }
      unsynced.clear()
    }
    throw error
  }
  for (const each of covered) unsynced.delete(each)
  for (const each of coveredRemovals) removed.delete(each)
}

/** Whether the error of a sync of a directory means that the kernel may have dropped names. */
function hasDropped(error: unknown): boolean {
  return !isSystemError(error, ...NOT_OPENED)
}
