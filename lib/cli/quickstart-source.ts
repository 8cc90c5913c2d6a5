import { constants } from 'node:fs'
import { access, realpath, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { InputError } from './command-arguments.ts'
import type { QuickstartOptions } from './quickstart-options.ts'
import { printable } from './report.ts'

/** Source of the records. */
export interface Source {
  readonly kind: 'files' | 'lines'
  /** Absolute path with all links resolved, or `standard input`. Distinguishes sources. */
  readonly name: string
  /** Whether a second run reads other data, as from standard input or a named pipe. */
  readonly isStream: boolean
}

export const STANDARD_INPUT: Source = { kind: 'lines', name: 'standard input', isStream: true }

/**
 * The source that the options name. For a replay, it need not exist any more.
 *
 * @returns `null` if they name none.
 */
export async function sourceOf(options: QuickstartOptions): Promise<Source | null> {
  if (options.ndjson === '-') return STANDARD_INPUT
  const path = options.tree ?? options.ndjson
  if (path === null) return null
  const kind = options.tree === null ? 'lines' : 'files'
  const found = await stat(path).catch(() => null)
  const isStream = kind === 'lines' && found !== null && !found.isFile() && !found.isDirectory()
  // An anonymous pipe has no real path.
  const name = await realpath(path).catch(() => resolve(path))
  return { kind, name, isStream }
}

/** @throws InputError if the source cannot be read, with advice. */
export async function ensureReadable(source: Source): Promise<void> {
  if (source === STANDARD_INPUT) return
  const { kind, name } = source
  try {
    const isDirectory = (await stat(name)).isDirectory()
    if (kind === 'files' && !isDirectory) {
      throw new InputError(
        `${name} is a file, not a directory; to send the lines of an NDJSON file: --ndjson ${name}`,
      )
    }
    if (kind === 'lines' && isDirectory) {
      throw new InputError(
        `${name} is a directory, but --ndjson takes a file; without --ndjson, its files are sent`,
      )
    }
    await access(name, isDirectory ? constants.R_OK | constants.X_OK : constants.R_OK)
  } catch (error) {
    throw error instanceof InputError ? error : unreadable(name, error)
  }
}

/** The error to show to the user after a failed read of a path. */
export function unreadable(path: string, error: unknown): InputError {
  return new InputError(`${printable(path)} cannot be read: ${reasonOf(error)}`, { cause: error })
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of the path is no directory',
  EACCES: 'access is denied',
  EPERM: 'access is denied',
}

/** Why a file could not be read, as the rest of a sentence. */
export function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  const message = error instanceof Error ? error.message : String(error)
  return REASONS[code ?? ''] ?? printable(message)
}
