import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import type { DirectoryEntry } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { isLogFileName } from './log-files.ts'

/** With these an open refuses what is no regular file of one name and of an owner to be trusted. */
const REFUSALS = ['ELOOP', 'EISDIR', 'EINVAL', 'ENXIO', 'ENODEV', 'EMLINK', 'EPERM'] as const

/**
 * Looks among the names of a directory for something under the name of a log's file that is none: a directory, a link, a FIFO.
 *
 * @returns what is wrong with the partition; `null` when nothing like that is there. The bytes that
 * ought to be there are not, and a log without them would give their offsets to other records.
 */
export function findImpostor(
  entries: readonly DirectoryEntry[],
  dir: string,
): CorruptRecordError | null {
  const found = entries.find(({ name, kind }) => kind !== 'file' && isLogFileName(name))
  if (found === undefined) return null
  return impostor(join(dir, found.name), 'it is no regular file')
}

/** The same, told by an open that was refused; `null` for every other error. */
export function impostorRefused(error: unknown): CorruptRecordError | null {
  if (!isSystemError(error, ...REFUSALS) || error.syscall !== 'open') return null
  return impostor(error.path ?? '', error.message, error)
}

function impostor(path: string, reason: string, cause?: unknown): CorruptRecordError {
  return new CorruptRecordError(`no file of a log: ${reason}`, { path, position: 0 }, { cause })
}
