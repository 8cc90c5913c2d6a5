import fs from 'node:fs'
import { createRequire, Module } from 'node:module'
import { devNull } from 'node:os'
import { dirname, sep } from 'node:path'
import type * as fsExtraModule from 'fs-extra/esm'
import type * as properLockfileModule from 'proper-lockfile'
import { loadedOnce } from './loaded-once.ts'
import { requireFromHere } from './require-from-here.ts'
import { isSystemError } from './system-error.ts'

type FsExtra = Pick<typeof fsExtraModule, 'ensureDir'>
type ProperLockfile = Pick<typeof properLockfileModule, 'lock'>

/**
 * Loads fs-extra when it is first needed, without the side effects of its import on the host
 * process.
 */
export const loadFsExtra: () => Promise<FsExtra> = loadedOnce(importFsExtra)

/**
 * Loads a copy of proper-lockfile that belongs to this library alone, without the side effects of
 * its import on the host process.
 *
 * A plain import adds up to 18 signal listeners, replaces `process.emit`, `process.reallyExit`,
 * `process.cwd`, `process.chdir`, `fs.close` and `fs.closeSync`, and removes its locks when the
 * process exits. All of that comes from two of its dependencies, graceful-fs and signal-exit, which
 * also take three quarters of the time. Stand-ins without side effects replace them. So a process
 * that exits without releasing a lock leaves it behind.
 *
 * In a bundled application, where the package cannot be found on disk, the bundle's copy is used as
 * it is.
 */
export const loadProperLockfile: () => Promise<ProperLockfile> = loadedOnce(importProperLockfile)

async function importFsExtra(): Promise<FsExtra> {
  ensureDescriptor()
  const fsExtraPath = findModule(requireFromHere, 'fs-extra')
  if (fsExtraPath === null) return import('fs-extra/esm')
  // An import takes up to nine descriptors at once, and if it fails, Node.js never tries again.
  return keepingGlobals(() => requireFromHere(fsExtraPath) as FsExtra)
}

async function importProperLockfile(): Promise<ProperLockfile> {
  ensureDescriptor()
  const lockfilePath = findModule(requireFromHere, 'proper-lockfile')
  if (lockfilePath === null) return import('proper-lockfile')
  return requirePrivately(lockfilePath)
}

/**
 * To be called before a package is looked up: if Node.js cannot open its `package.json`, it takes
 * the package for absent from then on. The modules are then read one by one.
 *
 * @throws the system's error when there is no descriptor.
 */
function ensureDescriptor(): void {
  try {
    fs.closeSync(fs.openSync(devNull, 'r'))
  } catch (error) {
    if (isSystemError(error, 'EMFILE', 'ENFILE')) throw error
  }
}

/**
 * Replacements for the dependencies of proper-lockfile. The first is only used for locks without a
 * file system of their own.
 */
const STAND_INS: Readonly<Record<string, unknown>> = {
  'graceful-fs': fs,
  'signal-exit': () => undefined,
}

/**
 * Evaluates a fresh copy of proper-lockfile.
 *
 * The application may use the same packages, sooner or later, and rely on their side effects. Its
 * copies are in the module cache under the same paths, so they are set aside and restored.
 */
function requirePrivately(lockfilePath: string): ProperLockfile {
  const requireFromLockfile = createRequire(lockfilePath)
  const standIns = Object.entries(STAND_INS).map(([name, exports]) =>
    loadedModule(requireFromLockfile.resolve(name), exports),
  )
  const paths = [dirname(lockfilePath) + sep, ...standIns.map(({ id }) => id)]
  const setAside = takeFromCache(paths)
  try {
    for (const standIn of standIns) requireFromHere.cache[standIn.id] = standIn
    return requireFromHere(lockfilePath) as ProperLockfile
  } finally {
    takeFromCache(paths)
    Object.assign(requireFromHere.cache, setAside)
  }
}

function loadedModule(path: string, exports: unknown): NodeJS.Module {
  const module = new Module(path)
  module.exports = exports
  module.loaded = true
  return module
}

/** Takes the modules whose paths begin with one of `starts` out of the module cache. */
function takeFromCache(starts: readonly string[]): NodeJS.Dict<NodeJS.Module> {
  const taken: NodeJS.Dict<NodeJS.Module> = {}
  for (const path of Object.keys(requireFromHere.cache)) {
    if (!starts.some((start) => path.startsWith(start))) continue
    taken[path] = requireFromHere.cache[path]
    // The cache is documented as an object. Assigning undefined would not make a module load again.
    Reflect.deleteProperty(requireFromHere.cache, path)
  }
  return taken
}

const PROCESS_KEYS = ['cwd', 'chdir'] as const
const FS_KEYS = ['close', 'closeSync'] as const

/**
 * Runs `load` and restores what it replaced on `process` and `fs`.
 *
 * `load` has to be synchronous: then only the loaded module can have made a change. The
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
