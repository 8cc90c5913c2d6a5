import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import type { DirectoryEntry } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { isLogFileName } from './log-files.ts'

/** Errors of an open that refuses anything but a regular file with one name and a trusted owner. */
const REFUSALS = ['ELOOP', 'EISDIR', 'EINVAL', 'ENXIO', 'ENODEV', 'EMLINK', 'EPERM'] as const

/**
 * Searches the names of a directory for a log file's name on something that is not a regular file:
 * a directory, a link or a FIFO.
 *
 * @returns what is wrong with the partition; `null` if there is nothing like that. The expected
 * bytes are missing, and a log without them would assign their offsets to other records.
 */
export function findImpostor(
  entries: readonly DirectoryEntry[],
  dir: string,
): CorruptRecordError | null {
  const found = entries.find(({ name, kind }) => kind !== 'file' && isLogFileName(name))
  if (found === undefined) return null
  return impostor(join(dir, found.name), 'it is not a regular file')
}

/** Like {@link findImpostor}, from the error of a refused open; `null` for every other error. */
export function impostorRefused(error: unknown): CorruptRecordError | null {
  if (!isSystemError(error, ...REFUSALS) || error.syscall !== 'open') return null
  return impostor(error.path ?? '', error.message, error)
}

function impostor(path: string, reason: string, cause?: unknown): CorruptRecordError {
  return new CorruptRecordError(`not a log file: ${reason}`, { path, position: 0 }, { cause })
}
