import { createHash } from 'node:crypto'
import { dirname, resolve } from 'node:path'
import { IllegalStateError, type File, type FileSystem } from '../index.ts'
import { writeFully } from '../platform/file-io.ts'
import { LockGuard } from '../platform/lock-guard.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import { ownerOf, syncOnce } from './doubtful-directory.ts'
import {
  findRejects,
  rewriteRejects,
  type FoundRejects,
  type PlacedLine,
  type RejectOrigin,
} from './found-rejects.ts'
import type { ImportMark } from './import-journal.ts'
import { sameFileError, type ImportReject, type ResolvedImportOptions } from './import-options.ts'
import type { InputFile } from './input-file.ts'

/** Destination of rejected rows. Calls do not overlap. */
export interface RejectSink {
  /** Distinguishes the file from others, by its path; empty without a file. */
  readonly id: string
  /** The largest row after the mark that an earlier run has rejected; 0 without a file. */
  readonly lastRow: number
  /**
   * Length of the content before the first line of a row after `row`, for the mark. The next run
   * reads those rows again and searches the file from this position.
   *
   * @param row at least as large as in the previous call
   */
  lengthUpTo(row: number): number
  write(rejects: readonly ImportReject[]): Promise<void>
  /** Makes everything written durable, also by earlier runs. Once it has failed, it always does. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** The part of a mark that concerns the file. */
type RejectMark = Pick<ImportMark, 'rejectBytes' | 'rejectFile'>

/** The imported file, which must not be written to. */
type RejectInput = Pick<InputFile, 'fileIdentity'>

type RejectOptions = Pick<ResolvedImportOptions, 'rejects' | 'fileSystem' | 'topic' | 'name'>

/**
 * @param input the file that is imported
 * @param mark of the import, `null` for a new one
 * @throws {@link IllegalStateError} while another import writes to the file
 * @throws TypeError if it is the imported file itself
 */
export async function openRejects(
  options: RejectOptions,
  input: RejectInput,
  mark: RejectMark | null,
): Promise<RejectSink> {
  const { rejects } = options
  if (typeof rejects === 'string') {
    const committedBytes = mark === null ? null : committedBytesOf(mark, rejects)
    return RejectFile.open(rejects, options, { input, committedBytes })
  }
  return {
    id: '',
    lastRow: 0,
    lengthUpTo: () => 0,
    write: async (rows) => {
      for (const each of rows) await rejects?.(each)
    },
    sync: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
}

/** `null` if the mark's length refers to another file, as it then says nothing about this one. */
function committedBytesOf({ rejectBytes, rejectFile }: RejectMark, path: string): number | null {
  // Marks from before 29 November 2026 do not name their file; without a file the length was 0.
  const isOfThis = rejectFile === '' ? rejectBytes > 0 : rejectFile === idOf(path)
  return isOfThis ? rejectBytes : null
}

/** Of fixed length for any path, because it is committed with each mark. */
function idOf(path: string): string {
  return createHash('sha256').update(resolve(path)).digest('base64url').slice(0, 16)
}

/** Paths that imports are writing to, per file system. */
const inUse: WeakMap<object, Set<string>> = new WeakMap()

/**
 * A file with one line of JSON for each row. Each row is in it once, however often the row is read.
 * The lines name their import, so other imports may have lines before and after them.
 */
class RejectFile implements RejectSink {
  readonly id: string
  readonly lastRow: number
  readonly #file: File
  /** The first fields of each line of this import. */
  readonly #origin: RejectOrigin
  /** Rows after the mark that were rejected before. */
  readonly #known: ReadonlySet<number>
  /** Lines of rows that the next run may read again. */
  readonly #lines: PlacedLine[]
  readonly #claim: RejectClaim
  #sizeBytes: number
  /** False at first, because lines of an earlier run may be in memory only. */
  #isSynced = false
  /** Error of a failed sync. From then on it is unknown what is on the disk. */
  #failure: { readonly error: unknown } | null = null

  private constructor(
    id: string,
    file: File,
    { origin, found, claim }: { origin: RejectOrigin; found: FoundRejects; claim: RejectClaim },
  ) {
    this.id = id
    this.#file = file
    this.#origin = origin
    this.#sizeBytes = found.sizeBytes
    this.#lines = [...found.lines]
    this.#known = new Set(found.lines.map(({ row }) => row))
    this.lastRow = found.lines.reduce((last, { row }) => Math.max(last, row), 0)
    this.#claim = claim
  }

  static async open(
    path: string,
    { fileSystem, topic, name }: RejectOptions,
    { input, committedBytes }: { input: RejectInput; committedBytes: number | null },
  ): Promise<RejectFile> {
    const files: FileSystem = fileSystem ?? new NodeFileSystem()
    const release = take(files, path)
    let file: File | null = null
    let guard: LockGuard | null = null
    try {
      file = await files.open(path, 'create')
      // A link may lead to the imported file by another path.
      if ((await file.stat()).identity === input.fileIdentity) throw sameFileError(path)
      guard = await takeFromOthers(files, path)
      const parent = dirname(path)
      await syncOnce(files, parent, () => files.syncDirectory(parent))
      const origin = { topic, import: name }
      const found = await findRejects(file, origin, committedBytes)
      await file.truncate(found.sizeBytes)
      await rewriteRejects(file, found)
      return new RejectFile(idOf(path), file, { origin, found, claim: { release, guard } })
    } catch (error) {
      // The first error tells what is wrong.
      await giveBack(file, { release, guard }).catch(() => undefined)
      throw error
    }
  }

  lengthUpTo(row: number): number {
    const slot = this.#lines.findIndex((line) => line.row > row)
    this.#lines.splice(0, slot < 0 ? this.#lines.length : slot)
    return this.#lines[0]?.position ?? this.#sizeBytes
  }

  async write(rejects: readonly ImportReject[]): Promise<void> {
    const added = rejects.filter(({ row }) => !this.#known.has(row))
    if (added.length === 0) return
    const lines = added.map((each) =>
      Buffer.from(`${JSON.stringify({ ...this.#origin, ...each })}\n`),
    )
    await writeFully(this.#file, [Buffer.concat(lines)], this.#sizeBytes)
    for (const [slot, { row }] of added.entries()) {
      this.#lines.push({ row, position: this.#sizeBytes })
      this.#sizeBytes += lines[slot]?.length ?? 0
    }
    this.#isSynced = false
  }

  async sync(): Promise<void> {
    if (this.#failure !== null) throw this.#failure.error
    if (this.#isSynced) return
    try {
      await this.#file.datasync()
    } catch (error) {
      // Another sync would report success for what this one has dropped.
      this.#failure = { error }
      throw error
    }
    this.#isSynced = true
  }

  close(): Promise<void> {
    return giveBack(this.#file, this.#claim)
  }
}

/** Keeps other imports from writing to the file. */
interface RejectClaim {
  /** Releases the path. */
  readonly release: () => void
  /** `null` if processes cannot be kept apart. */
  readonly guard: LockGuard | null
}

/** Gives up all of the claim, whatever fails. */
async function giveBack(file: File | null, { release, guard }: RejectClaim): Promise<void> {
  try {
    // While the file is open, no other file can have its guard's name.
    await guard?.close()
  } finally {
    // Released last: until the file is closed, other imports in this process are refused.
    await Promise.resolve(file?.close()).finally(release)
  }
}

/** @returns a function that releases the path. @throws {@link IllegalStateError} */
function take(fileSystem: FileSystem, path: string): () => void {
  const owner = ownerOf(fileSystem)
  const paths = inUse.get(owner) ?? new Set()
  const key = resolve(path)
  if (paths.has(key)) throw inUseError(path)
  inUse.set(owner, paths.add(key))
  return () => paths.delete(key)
}

/**
 * Locks out other processes of this machine, and imports that use another name of the file.
 *
 * @throws {@link IllegalStateError}
 */
async function takeFromOthers(fileSystem: FileSystem, path: string): Promise<LockGuard | null> {
  if (!(fileSystem instanceof NodeFileSystem)) return null
  const guard = await LockGuard.takeFile(path)
  if (guard === 'in-use') throw inUseError(path)
  return guard
}

function inUseError(path: string): IllegalStateError {
  return new IllegalStateError(`another import is writing its rejects to '${path}'`)
}
