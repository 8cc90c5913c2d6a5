import fs from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, sep } from 'node:path'
import type * as fsExtraModule from 'fs-extra/esm'
import type * as properLockfileModule from 'proper-lockfile'

type FsExtra = typeof fsExtraModule
type ProperLockfile = Pick<typeof properLockfileModule, 'lock'>

const requireFromHere = createRequire(import.meta.url)

let fsExtra: Promise<FsExtra> | null = null
let properLockfile: Promise<ProperLockfile> | null = null

/**
 * Loads fs-extra when it is first needed, without what its import does to the host process. After a
 * failure, be it for want of a descriptor, the next call tries again.
 */
export function loadFsExtra(): Promise<FsExtra> {
  fsExtra ??= importFsExtra().catch((error: unknown) => {
    fsExtra = null
    throw error
  })
  return fsExtra
}

/**
 * Loads a copy of proper-lockfile that belongs to this library alone, without what its import does
 * to the host process.
 *
 * On its own the import adds up to 18 signal listeners, replaces `process.emit`,
 * `process.reallyExit`, `process.cwd`, `process.chdir`, `fs.close` and `fs.closeSync`, and removes
 * its locks when the process exits. All of that is taken back, so a process that exits without
 * releasing a lock leaves it behind. What remains is the queue that graceful-fs publishes under a
 * symbol of `fs` and of `globalThis`, empty, in a property that cannot be deleted.
 *
 * In a bundled application, where the package cannot be found on disk, the bundle's copy is used as
 * it is.
 *
 * After a failure the next call tries again: otherwise one moment without a descriptor would keep
 * the process from every lock from then on.
 */
export function loadProperLockfile(): Promise<ProperLockfile> {
  properLockfile ??= importProperLockfile().catch((error: unknown) => {
    properLockfile = null
    throw error
  })
  return properLockfile
}

async function importFsExtra(): Promise<FsExtra> {
  const fsExtraPath = findModule(requireFromHere, 'fs-extra')
  // All of the import's side effects come from graceful-fs, which is evaluated only once.
  if (fsExtraPath !== null)
    keepingGlobals(() => createRequire(fsExtraPath)('graceful-fs') as unknown)
  return import('fs-extra/esm')
}

async function importProperLockfile(): Promise<ProperLockfile> {
  const lockfilePath = findModule(requireFromHere, 'proper-lockfile')
  if (lockfilePath === null) return import('proper-lockfile')
  return keepingGlobals(() => requirePrivately(lockfilePath))
}

/**
 * Evaluates proper-lockfile and its signal-exit afresh, and switches that signal-exit off.
 *
 * The application may use both packages too, sooner or later, and rely on their exit handlers. Its
 * copies live in the module cache under the same paths, so they are set aside and put back.
 */
function requirePrivately(lockfilePath: string): ProperLockfile {
  const requireFromLockfile = createRequire(lockfilePath)
  const signalExitPath = requireFromLockfile.resolve('signal-exit')
  const folders = [dirname(lockfilePath) + sep, dirname(signalExitPath) + sep]
  const setAside = takeFromCache(folders)
  const exitListeners = signalExitListeners()
  const restoreOn = refuseSignalListeners()
  try {
    const lockfile = requireFromHere(lockfilePath) as ProperLockfile
    const signalExit = requireFromLockfile('signal-exit') as { unload(): void }
    for (const listener of signalExitListeners()) {
      if (!exitListeners.includes(listener)) signalExitEmitter()?.removeListener('exit', listener)
    }
    signalExit.unload()
    return lockfile
  } finally {
    restoreOn()
    takeFromCache(folders)
    Object.assign(requireFromHere.cache, setAside)
  }
}

/**
 * Lets nobody listen for signals until the result is called. To take a listener away again is not the
 * same: it leaves the signal with the system's default. Node.js ignores SIGXFSZ, so that a file that
 * grows beyond a limit is an error of the write; by default it ends the process.
 */
function refuseSignalListeners(): () => void {
  const restore = savedProperty(process, 'on')
  const on = process.on.bind(process) as (event: string, listener: ExitListener) => NodeJS.Process
  const refusing = (event: string, listener: ExitListener): NodeJS.Process =>
    event.startsWith('SIG') ? process : on(event, listener)
  Object.defineProperty(process, 'on', { value: refusing, configurable: true, writable: true })
  return restore
}

/** Removes the modules below `folders` from the module cache, and returns them. */
function takeFromCache(folders: readonly string[]): NodeJS.Dict<NodeJS.Module> {
  const taken: NodeJS.Dict<NodeJS.Module> = {}
  for (const path of Object.keys(requireFromHere.cache)) {
    if (!folders.some((folder) => path.startsWith(folder))) continue
    taken[path] = requireFromHere.cache[path]
    // The cache is an object by contract, and assigning undefined would not make it load again.
    Reflect.deleteProperty(requireFromHere.cache, path)
  }
  return taken
}

type ExitListener = (...args: unknown[]) => void

/** The emitter that all copies of signal-exit 3 in a process share. */
function signalExitEmitter(): NodeJS.EventEmitter | undefined {
  return (process as { __signal_exit_emitter__?: NodeJS.EventEmitter }).__signal_exit_emitter__
}

function signalExitListeners(): ExitListener[] {
  return (signalExitEmitter()?.listeners('exit') ?? []) as ExitListener[]
}

const PROCESS_KEYS = ['emit', 'reallyExit', 'cwd', 'chdir', '__signal_exit_emitter__'] as const
const FS_KEYS = ['close', 'closeSync'] as const

/**
 * Runs `load` and puts back what it replaced on `process` and `fs`.
 *
 * `load` has to be synchronous: then nothing but the loaded module can have made a change. The
 * replacements are conveniences (they make graceful-fs retry sooner, and cache a string), so the
 * modules work without them.
 */
function keepingGlobals<T>(load: () => T): T {
  const saved = [
    ...PROCESS_KEYS.map((key) => savedProperty(process, key)),
    ...FS_KEYS.map((key) => savedProperty(fs, key)),
  ]
  try {
    return load()
  } finally {
    for (const restore of saved) restore()
  }
}

function savedProperty(target: object, key: string): () => void {
  const before = Object.getOwnPropertyDescriptor(target, key)
  return () => {
    if (before === undefined) Reflect.deleteProperty(target, key)
    else Object.defineProperty(target, key, before)
  }
}

function findModule(requireFrom: NodeJS.Require, name: string): string | null {
  try {
    return requireFrom.resolve(name)
  } catch {
    return null
  }
}
