import { createHash } from 'node:crypto'
import { dirname, resolve } from 'node:path'
import { IllegalStateError, type File, type FileSystem } from '../index.ts'
import { writeFully } from '../platform/file-io.ts'
import { LockGuard } from '../platform/lock-guard.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import { ownerOf, syncOnce } from './doubtful-directories.ts'
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

/** Where the rows go that are not imported. Calls do not overlap. */
export interface RejectSink {
  /** Tells the file from others, by its path; empty where there is none. */
  readonly id: string
  /**
   * Length of what is written in front of the first line of a row behind `row`, for the mark: what lies
   * there is looked through by the next run, which comes to those rows again.
   *
   * @param row no less than in the call before
   */
  lengthUpTo(row: number): number
  write(rejects: readonly ImportReject[]): Promise<void>
  /** Makes what was written durable, of earlier runs too. Fails for good once it has failed. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** What a mark says of the file. */
type RejectMark = Pick<ImportMark, 'rejectBytes' | 'rejectFile'>

/** What must not be written to. */
type RejectInput = Pick<InputFile, 'fileIdentity'>

type RejectOptions = Pick<ResolvedImportOptions, 'rejects' | 'fileSystem' | 'topic' | 'name'>

/**
 * @param input the file that is imported
 * @param mark of the import, `null` when it begins
 * @throws {@link IllegalStateError} while another import writes to the file
 * @throws TypeError when it is the file that is imported
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
    lengthUpTo: () => 0,
    write: async (rows) => {
      for (const each of rows) await rejects?.(each)
    },
    sync: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
}

/** A length of another file says nothing of what may be cut off from this one: it is `null` then. */
function committedBytesOf({ rejectBytes, rejectFile }: RejectMark, path: string): number | null {
  // Marks of before 29 November 2026 do not say of which file they are; without one the length was 0.
  const isOfThis = rejectFile === '' ? rejectBytes > 0 : rejectFile === idOf(path)
  return isOfThis ? rejectBytes : null
}

/** As long as it is, whatever the path: it is committed with each mark. */
function idOf(path: string): string {
  return createHash('sha256').update(resolve(path)).digest('base64url').slice(0, 16)
}

/** Paths that imports write to, per file system. */
const inUse: WeakMap<object, Set<string>> = new WeakMap()

/**
 * A line of JSON for each row, which is in it once however often the row is read. The lines name
 * their import, so that others may have theirs in the file, before and behind.
 */
class RejectFile implements RejectSink {
  readonly id: string
  readonly #file: File
  /** What the lines of this import begin with. */
  readonly #origin: RejectOrigin
  /** Rows behind the mark that were rejected before. */
  readonly #known: ReadonlySet<number>
  /** Lines of rows that the next run may come to again. */
  readonly #lines: PlacedLine[]
  readonly #claim: RejectClaim
  #sizeBytes: number
  /** What an earlier run has written may be in memory alone. */
  #isSynced = false
  /** What a sync has failed with: from then on nobody can say what is on the disk. */
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
      // Its path may be another one, by a link on the way.
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
      // The first error is the one that says what is wrong.
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
      // Another one would report success for what this one has dropped.
      this.#failure = { error }
      throw error
    }
    this.#isSynced = true
  }

  close(): Promise<void> {
    return giveBack(this.#file, this.#claim)
  }
}

/** What keeps others from the file. */
interface RejectClaim {
  /** Gives the path free. */
  readonly release: () => void
  /** `null` where nothing tells processes of each other. */
  readonly guard: LockGuard | null
}

/** All of it, whatever fails. */
async function giveBack(file: File | null, { release, guard }: RejectClaim): Promise<void> {
  try {
    // While the file is open, its guard's name is that of no other one.
    await guard?.close()
  } finally {
    // Whoever begins in this process meanwhile is told that it is in use.
    await Promise.resolve(file?.close()).finally(release)
  }
}

/** @returns what gives the path free. @throws {@link IllegalStateError} */
function take(fileSystem: FileSystem, path: string): () => void {
  const owner = ownerOf(fileSystem)
  const paths = inUse.get(owner) ?? new Set()
  const key = resolve(path)
  if (paths.has(key)) throw inUseError(path)
  inUse.set(owner, paths.add(key))
  return () => paths.delete(key)
}

/**
 * Keeps off the other processes of this machine, and those who call the file by another name.
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
