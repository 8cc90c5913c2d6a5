import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  type BigIntStats,
} from 'node:fs'
import { copyFile, link, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { namesIn } from './directory-names.ts'
import {
  decodeOwnerName,
  decodeOwnerRecord,
  type FileIdentity,
  type OwnerRecord,
} from './lock-owner.ts'
import { CAUTIOUS_OPEN_FLAGS } from './open-flags.ts'
import { isSystemError, systemError } from './system-error.ts'

/** More than a record takes with the longest possible host name. */
const MAX_RECORD_BYTES = 4096

/** What takers append to the lock file's name: a token, or the instance claimed or replaced. */
const OWN_SUFFIX = /^\.(?:[0-9a-f]{32}|\d+-\d+(?:\.old)?)$/

/** The dot before a record in a file name. */
const OWNER_NAME = /\.(?=[0-9a-f]{32},)/

/** A lock file as its owner left it. */
export interface FoundLockFile {
  readonly path: string
  /** `null` if the content is not a record. */
  readonly record: OwnerRecord | null
  /** Time of the last heartbeat, milliseconds since the epoch. */
  readonly modifiedMs: number
  readonly file: FileIdentity
}

/** Decides whether a lock file that was found is abandoned. */
export type AbandonmentCheck = (found: FoundLockFile) => boolean | Promise<boolean>

/**
 * Examines a lock file.
 *
 * @returns `null` if there is no such file, or it cannot be opened.
 */
export function readLockFile(path: string): FoundLockFile | null {
  const fd = openOrNull(path)
  if (fd === null) return null
  try {
    return look(fd, path)?.found ?? null
  } finally {
    closeSync(fd)
  }
}

/**
 * Ensures that whatever has the name of a lock file can be examined. If it cannot, nothing tells
 * whose it is, and waiting does not help.
 *
 * @throws a system error when it exists, but is not a file that this process can read.
 */
export function requireReadable(path: string): void {
  let fd: number
  try {
    fd = openCautiously(path)
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return
    throw error
  }
  try {
    if (!fstatSync(fd).isFile())
      throw systemError('EINVAL', 'open', path, 'it is not a regular file')
  } finally {
    closeSync(fd)
  }
}

/**
 * Creates a lock file with the content of `contentPath`, or rejects with `EEXIST`.
 *
 * @param hardLink replaced by specs only.
 */
export async function createLockFile(
  path: string,
  contentPath: string,
  hardLink: (existingPath: string, newPath: string) => Promise<void> = link,
): Promise<void> {
  try {
    await hardLink(contentPath, path)
  } catch (error) {
    if (isSystemError(error, 'EEXIST', 'ENOENT')) throw error
    // Some file systems have no hard links. There an owner that dies half-way leaves a file without
    // a record, and the next one has to wait until it is stale.
    await copyFile(contentPath, path, constants.COPYFILE_EXCL)
  }
}

/**
 * Replaces a lock file that `isAbandoned` reports as abandoned, and no other, with a taker's file.
 *
 * Examining a file and replacing it are two steps. Between them a faster taker may do both, and its
 * lock must not be replaced. So a taker first creates another file, a claim named after the very
 * file that it examined. Only one taker can create it, and while the claim exists nobody else
 * changes what the name refers to. A later taker finds that the name refers to another file, and
 * gives up.
 *
 * The claim is renamed to the lock file, so there is always one. A third taker that found none
 * would win at once, although a taker that judges a lock by its age has to wait for its owner.
 *
 * @param claimantPath a file with the caller's own record.
 * @returns `true` if the claim has become the lock file. If a taker was taken for dead while it had
 * the claim, the lock file may be one that another taker put in its place: its record tells.
 */
export async function replaceAbandoned(
  path: string,
  claimantPath: string,
  isAbandoned: AbandonmentCheck,
): Promise<boolean> {
  const fd = openOrNull(path)
  if (fd === null) return false
  try {
    const seen = look(fd, path)
    if (seen === null || !(await isAbandoned(seen.found))) return false
    const claimPath = `${path}.${instanceOf(seen.stats)}`
    if (!(await claim(claimPath, claimantPath, isAbandoned))) return false
    let isReplaced = false
    try {
      // The file is open, so its inode number has not been reused. A new time means that its owner
      // has come back to life.
      const now = lstatSync(path, { bigint: true })
      if (instanceOf(now) !== instanceOf(seen.stats)) return false
      isReplaced = await replace(path, claimPath)
      return isReplaced
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return false
      throw error
    } finally {
      if (!isReplaced) await unlinkIfPresent(claimPath)
    }
  } finally {
    closeSync(fd)
  }
}

async function replace(path: string, claimPath: string): Promise<boolean> {
  try {
    await rename(claimPath, path)
    return true
  } catch (error) {
    if (process.platform !== 'win32' || !isSystemError(error, 'EPERM', 'EACCES', 'EBUSY'))
      throw error
    // Windows does not replace an open file, as this one is, and keeps its name if it is removed.
    const oldPath = `${claimPath}.old`
    await rename(path, oldPath)
    const isPlaced = await isCreated(path, claimPath)
    await unlinkIfPresent(claimPath)
    await unlinkIfPresent(oldPath)
    return isPlaced
  }
}

/**
 * Removes what takers that died half-way left beside a lock file.
 *
 * To be called by the holder of the lock: remaining claims say nothing about its own file.
 *
 * @param ownPath the name that tells whose the lock is, if its file does not.
 */
export async function removeLeftovers(
  path: string,
  isAbandoned: AbandonmentCheck,
  ownPath: string | null = null,
): Promise<void> {
  const directory = dirname(path)
  const lockName = basename(path)
  for (const name of await namesIn(directory)) {
    if (!name.startsWith(`${lockName}.`)) continue
    if (!OWN_SUFFIX.test(name.slice(lockName.length)) && ownerNamedBy(name) === null) continue
    const leftoverPath = join(directory, name)
    if (leftoverPath === ownPath) continue
    const found = readLockFile(leftoverPath)
    if (found !== null && (await isAbandoned(found))) await unlinkIfPresent(leftoverPath)
  }
}

/** Distinguishes a file from all others of the machine that exist at the same time. */
export function identityOf(stats: BigIntStats): string {
  return `${stats.dev}-${stats.ino}`
}

/**
 * Whether a lock file is the one with this inode number and known to belong to another owner than
 * `record`. The owner of an empty file is in its other name, unless it has none.
 */
export function namesAnother(path: string, ino: bigint, { token }: OwnerRecord): boolean {
  const found = readLockFile(path)
  return found?.file.ino === ino && found.record !== null && found.record.token !== token
}

/** Removes a file if it exists. */
export async function unlinkIfPresent(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error
  }
}

async function claim(
  claimPath: string,
  claimantPath: string,
  isAbandoned: AbandonmentCheck,
): Promise<boolean> {
  if (await isCreated(claimPath, claimantPath)) return true
  const other = readLockFile(claimPath)
  if (other === null || !(await isAbandoned(other))) return false
  // A taker died in the fraction of a millisecond in which it held the claim. If several takers see
  // this at once, one may remove another's claim; the remaining one becomes the lock.
  await unlinkIfPresent(claimPath)
  return isCreated(claimPath, claimantPath)
}

/** Like {@link createLockFile}; `false` if the file exists. */
export async function isCreated(path: string, contentPath: string): Promise<boolean> {
  try {
    await createLockFile(path, contentPath)
    return true
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return false
    throw error
  }
}

/** Distinguishes a file from all others that had its name, and from itself before a heartbeat. */
function instanceOf(stats: BigIntStats): string {
  return `${stats.ino}-${stats.mtimeNs}`
}

function look(fd: number, path: string): { found: FoundLockFile; stats: BigIntStats } | null {
  const stats = fstatSync(fd, { bigint: true })
  if (!stats.isFile()) return null
  const buffer = Buffer.alloc(MAX_RECORD_BYTES)
  const size = readSync(fd, buffer, { position: 0 })
  const file = { dev: stats.dev, ino: stats.ino }
  const record = size > 0 ? decodeOwnerRecord(buffer.subarray(0, size)) : recordBeside(path, file)
  return { found: { path, record, modifiedMs: Number(stats.mtimeMs), file }, stats }
}

/**
 * The record of a file that had no room for it, from another name of the same file. Only its owner
 * creates that name, before the lock's. While it exists, the inode number is not reused.
 */
function recordBeside(path: string, file: FileIdentity): OwnerRecord | null {
  const directory = dirname(path)
  try {
    for (const name of readdirSync(directory)) {
      const record = ownerNamedBy(name)
      if (record === null) continue
      const stats = lstatSync(join(directory, name), { bigint: true, throwIfNoEntry: false })
      if (stats?.dev === file.dev && stats.ino === file.ino) return record
    }
  } catch {
    // Its owner is then unknown, and its age decides.
  }
  return null
}

function ownerNamedBy(name: string): OwnerRecord | null {
  const start = name.indexOf(',') < 0 ? -1 : name.search(OWNER_NAME)
  return start < 0 ? null : decodeOwnerName(name.slice(start + 1))
}

function openOrNull(path: string): number | null {
  try {
    return openCautiously(path)
  } catch {
    return null
  }
}

function openCautiously(path: string): number {
  return openSync(path, constants.O_RDONLY | CAUTIOUS_OPEN_FLAGS)
}
