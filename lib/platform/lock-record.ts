import { closeSync, open, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { encodeOwnerName, encodeOwnerRecord, type OwnerRecord } from './lock-owner.ts'
import { unlinkIfPresent } from './lock-takeover.ts'
import { PlainDescriptor } from './plain-descriptor.ts'
import { isSystemError } from './system-error.ts'

const NO_RECORD = Buffer.alloc(0)

const openInPool = promisify(open)

/** Creates a file with an owner's record, and syncs it. */
export async function writeRecord(path: string, content: Buffer): Promise<void> {
  const fd = await openInPool(path, 'wx', 0o600)
  const file = new PlainDescriptor(fd, { isWritable: true })
  try {
    writeFileSync(fd, content)
    await file.sync()
  } catch (error) {
    // By the pool: a network file system may send now what it has not stored yet.
    await file.close().catch(() => undefined)
    // Best effort: the next holder removes what dead takers leave behind.
    await unlinkIfPresent(path).catch(() => undefined)
    throw error
  }
  // Everything is sent.
  closeSync(fd)
}

/** A file that a lock file can be created from. */
export interface WrittenRecord {
  readonly path: string
  /** The content of the file; empty if there is no room for it. */
  readonly content: Buffer
}

/** Path of a taker's record until it has the lock. */
export function recordPath(lockPath: string, { token }: OwnerRecord): string {
  return `${lockPath}.${token}`
}

/**
 * Writes a record beside a lock file, under the owner's token. If there is no room for the content,
 * the file is empty and its name is the record: whoever opens a directory on a full disk may want
 * to delete something in it, and a name takes no space.
 */
export async function writeIfRoom(lockPath: string, record: OwnerRecord): Promise<WrittenRecord> {
  const path = recordPath(lockPath, record)
  const content = encodeOwnerRecord(record)
  try {
    await writeRecord(path, content)
    return { path, content }
  } catch (error) {
    if (!isSystemError(error, 'ENOSPC', 'EDQUOT')) throw error
    return writeNaming(lockPath, record).catch((reason: unknown) => {
      // Some file systems only allow shorter names. The record is then unknown to others.
      if (!isSystemError(reason, 'ENAMETOOLONG', 'EINVAL')) throw reason
      return writeEmpty(path)
    })
  }
}

async function writeNaming(lockPath: string, record: OwnerRecord): Promise<WrittenRecord> {
  return writeEmpty(`${lockPath}.${encodeOwnerName(record) ?? record.token}`)
}

async function writeEmpty(path: string): Promise<WrittenRecord> {
  await writeRecord(path, NO_RECORD)
  return { path, content: NO_RECORD }
}
