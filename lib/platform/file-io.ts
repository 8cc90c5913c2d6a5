import { dirname } from 'node:path'
import { types } from 'node:util'
import { reasonOf } from '../checks.ts'
import { CorruptRecordError } from '../errors.ts'
import type { File, FileSource, FileSystem } from './file-system.ts'
import { isSystemError, systemError } from './system-error.ts'

/**
 * Writes all of `buffers` back to back from `position`, with as many calls as that takes.
 *
 * If it rejects, any prefix of the bytes may have been written.
 *
 * @throws a system error with code `ENOSPC` when a write returns 0 without an error.
 */
export async function writeFully(
  file: File,
  buffers: readonly Uint8Array[],
  position: number,
): Promise<void> {
  let rest = buffers.filter((buffer) => buffer.length > 0)
  let at = position
  while (rest.length > 0) {
    const count = await file.write(rest, at)
    if (count === 0) {
      throw systemError('ENOSPC', 'write', file.path, `no bytes could be written at position ${at}`)
    }
    rest = skipBytes(rest, count)
    at += count
  }
}

/**
 * Fills `buffer` with bytes from `position`, with as many calls as that takes.
 *
 * @returns the number of bytes read, less than requested only where the file ends; 0 at its end.
 */
export async function readFully(
  file: FileSource,
  buffer: Uint8Array,
  position: number,
): Promise<number> {
  let size = 0
  while (size < buffer.length) {
    const count = await file.read(size === 0 ? buffer : buffer.subarray(size), position + size)
    if (count === 0) break
    size += count
  }
  return size
}

/**
 * Restores the modification time of a file after a change that leaves its content as old as it was.
 * If the file system cannot do this, the file only looks newer than it is.
 */
export async function keepAge(file: File, modifiedMs: number): Promise<void> {
  try {
    await file.setModified?.(modifiedMs)
  } catch (error) {
    if (!isSystemError(error)) throw error
  }
}

/** Bytes per read of a file that may be too large to be held in memory. */
const PIECE_BYTES = 256 * 1024

/** The bytes in [`position`, `end`) of a file, piece by piece, up to the end of the file. */
export async function* readPieces(
  file: File,
  position: number,
  end: number,
): AsyncGenerator<Buffer, void, void> {
  for (let from = position; from < end; from += PIECE_BYTES) {
    const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, end - from))
    const sizeBytes = await readFully(file, piece, from)
    yield piece.subarray(0, sizeBytes)
    if (sizeBytes < piece.length) return
  }
}

/**
 * Reads a small file, such as a checkpoint, in one piece.
 *
 * @param maxBytes inclusive; no memory is allocated for a larger file.
 * @returns `null` if the file does not exist.
 * @throws {@link CorruptRecordError} when the file is larger than `maxBytes`.
 */
export async function readWholeFile(
  fileSystem: FileSystem,
  path: string,
  maxBytes: number,
): Promise<Buffer | null> {
  let file: File
  try {
    file = await fileSystem.open(path, 'read')
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return null
    throw error
  }
  try {
    const { sizeBytes } = await file.stat()
    if (sizeBytes > maxBytes) {
      const reason = `it has ${sizeBytes} bytes, but at most ${maxBytes} are allowed`
      throw new CorruptRecordError(reason, { path, position: maxBytes })
    }
    const content = Buffer.alloc(sizeBytes)
    return content.subarray(0, await readFully(file, content, 0))
  } finally {
    await file.close()
  }
}

/**
 * A file has its new content, but the sync of its directory failed: a power loss may bring back the
 * old content. Has the fields of the system error.
 */
export class UnsyncedReplacementError extends Error {
  override readonly name = 'UnsyncedReplacementError'

  constructor(cause: unknown) {
    super(reasonOf(cause), { cause })
    if (!isSystemError(cause)) return
    const { code, errno, syscall, path } = cause
    Object.assign(this, { code, errno, syscall, path })
  }
}

/**
 * Replaces a file atomically: after a crash at any point `path` holds either its old or its new
 * content. The new content is durable once the call resolves.
 *
 * Uses `<path>.tmp`, so two calls for one path must not overlap. A failed call may leave that file
 * behind; the next call reuses it.
 *
 * @param content whole, or in pieces if it may be large.
 * @throws {@link UnsyncedReplacementError} when only the sync of the directory fails; after any
 * other error the file is unchanged.
 */
export async function replaceFile(
  fileSystem: FileSystem,
  path: string,
  content: Uint8Array | string | AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporaryPath = `${path}.tmp`
  const file = await fileSystem.open(temporaryPath, 'create')
  try {
    await file.truncate(0)
    await writeContent(file, content)
    // Without this sync some file systems persist the rename before the content, and a power loss
    // leaves an empty file under the final name.
    await file.sync()
  } finally {
    await file.close()
  }
  await fileSystem.rename(temporaryPath, path)
  try {
    await fileSystem.syncDirectory(dirname(path))
  } catch (error) {
    throw new UnsyncedReplacementError(error)
  }
}

function writeContent(
  file: File,
  content: Uint8Array | string | AsyncIterable<Uint8Array>,
): Promise<void> {
  if (typeof content === 'string') return writeFully(file, [Buffer.from(content, 'utf8')], 0)
  if (types.isUint8Array(content)) return writeFully(file, [content], 0)
  return writePieces(file, content)
}

async function writePieces(file: File, content: AsyncIterable<Uint8Array>): Promise<void> {
  let position = 0
  for await (const piece of content) {
    await writeFully(file, [piece], position)
    position += piece.length
  }
}

/** The buffers without their first `count` bytes. */
function skipBytes(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let skipped = 0
  for (const [index, buffer] of buffers.entries()) {
    if (skipped + buffer.length > count) {
      return [buffer.subarray(count - skipped), ...buffers.slice(index + 1)]
    }
    skipped += buffer.length
  }
  return []
}
