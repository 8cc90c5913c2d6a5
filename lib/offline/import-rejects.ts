import { createHash } from 'node:crypto'
import { dirname, resolve } from 'node:path'
import { IllegalStateError, type File, type FileSystem } from '../index.ts'
import { readFully, writeFully } from '../platform/file-io.ts'
import { LockGuard } from '../platform/lock-guard.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import { syncOnce } from './doubtful-directories.ts'
import type { ImportMark } from './import-journal.ts'
import type { ImportReject, ResolvedImportOptions } from './import-options.ts'

const NEWLINE = 0x0a
const READ_BYTES = 256 * 1024

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

type RejectOptions = Pick<ResolvedImportOptions, 'rejects' | 'fileSystem' | 'topic' | 'name'>

/**
 * @param mark of the import, `null` when it begins
 * @throws {@link IllegalStateError} while another import writes to the file
 */
export async function openRejects(
  options: RejectOptions,
  mark: RejectMark | null,
): Promise<RejectSink> {
  const { rejects } = options
  if (typeof rejects === 'string') {
    return RejectFile.open(rejects, options, mark === null ? null : committedBytesOf(mark, rejects))
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
    committedBytes: number | null,
  ): Promise<RejectFile> {
    const files: FileSystem = fileSystem ?? new NodeFileSystem()
    const release = take(files, path)
    let file: File | null = null
    let guard: LockGuard | null = null
    try {
      file = await files.open(path, 'create')
      guard = await takeFromOthers(files, path)
      const parent = dirname(path)
      await syncOnce(files, parent, () => files.syncDirectory(parent))
      const origin = { topic, import: name }
      const found = await findRejects(file, origin, committedBytes)
      await file.truncate(found.sizeBytes)
      await rewrite(file, found)
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
  // There is one real file system, however many objects stand for it.
  const owner = fileSystem instanceof NodeFileSystem ? NodeFileSystem : fileSystem
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

/** The import that a line is of. */
interface RejectOrigin {
  readonly topic: string
  readonly import: string
}

interface PlacedLine {
  readonly row: number
  /** Where it begins. */
  readonly position: number
}

interface FoundRejects {
  readonly sizeBytes: number
  /** Where what is kept behind the mark begins. */
  readonly startBytes: number
  /** Those of the import behind its mark, in their order. */
  readonly lines: readonly PlacedLine[]
}

/**
 * What an earlier run has written behind its mark. A crash may have cut a line, and a power loss may
 * have put anything in the place of what was not yet durable: from there on they are written again,
 * in that place unless another import has lines behind it.
 */
async function findRejects(
  file: File,
  origin: RejectOrigin,
  committedBytes: number | null,
): Promise<FoundRejects> {
  const { sizeBytes } = await file.stat()
  const startBytes = Math.min(committedBytes ?? sizeBytes, sizeBytes)
  const isStart = startBytes === 0 || (await endsLine(file, startBytes))
  // What begins here, or finds another file than its mark is about, has nothing to look for.
  if (startBytes === sizeBytes || !isStart) {
    const endBytes = await endLastLine(file, sizeBytes)
    return { sizeBytes: endBytes, startBytes: endBytes, lines: [] }
  }
  const lines: PlacedLine[] = []
  let keptBytes = startBytes
  let position = startBytes
  let isBroken = false
  // Behind a broken line: they count where it stays.
  let doubtful: PlacedLine[] = []
  for await (const { line, end } of linesOf(file, startBytes, sizeBytes)) {
    const found = parseLine(line)
    const isOwn = found !== null && isOf(found, origin)
    if (found === null) isBroken = true
    if (isOwn) doubtful.push({ row: found.row, position })
    position = end
    if (found === null || (isOwn && isBroken)) continue
    lines.push(...doubtful)
    doubtful = []
    keptBytes = end
  }
  return { sizeBytes: keptBytes, startBytes, lines }
}

/**
 * Writes what is kept once more, in its place. The sync of an earlier run may have failed: its lines are
 * read all the same, and the next sync brings to the disk only what is written after that.
 */
async function rewrite(file: File, { startBytes, sizeBytes }: FoundRejects): Promise<void> {
  for (let position = startBytes; position < sizeBytes; position += READ_BYTES) {
    const bytes = Buffer.alloc(Math.min(READ_BYTES, sizeBytes - position))
    await readFully(file, bytes, position)
    await writeFully(file, [bytes], position)
  }
}

/** Somebody else's last line may be cut: no mark must lie in the middle of a line. @returns the size */
async function endLastLine(file: File, sizeBytes: number): Promise<number> {
  if (sizeBytes === 0 || (await endsLine(file, sizeBytes))) return sizeBytes
  await writeFully(file, [Buffer.of(NEWLINE)], sizeBytes)
  return sizeBytes + 1
}

async function endsLine(file: File, position: number): Promise<boolean> {
  const before = Buffer.alloc(1)
  await readFully(file, before, position - 1)
  return before[0] === NEWLINE
}

/** The whole lines of a part of a file, without their ends, and where each ends. */
async function* linesOf(
  file: File,
  from: number,
  to: number,
): AsyncGenerator<{ line: string; end: number }> {
  let rest: Buffer = Buffer.alloc(0)
  let position = from
  while (position < to) {
    const read = Buffer.alloc(Math.min(READ_BYTES, to - position))
    await readFully(file, read, position)
    const bytes = Buffer.concat([rest, read])
    const base = position - rest.length
    let start = 0
    for (;;) {
      const end = bytes.indexOf(NEWLINE, start)
      if (end < 0) break
      yield { line: bytes.toString('utf8', start, end), end: base + end + 1 }
      start = end + 1
    }
    rest = bytes.subarray(start)
    position += read.length
  }
}

/** What a line of such a file says. Earlier versions have not named the import. */
interface RejectLine extends Partial<RejectOrigin> {
  readonly row: number
}

/** `null` for what is no line of such a file. */
function parseLine(line: string): RejectLine | null {
  try {
    const found = JSON.parse(line) as Partial<RejectLine> | null
    return typeof found?.row === 'number' ? (found as RejectLine) : null
  } catch {
    return null
  }
}

function isOf(line: RejectLine, origin: RejectOrigin): boolean {
  if (line.import === undefined && line.topic === undefined) return true
  return line.import === origin.import && line.topic === origin.topic
}
