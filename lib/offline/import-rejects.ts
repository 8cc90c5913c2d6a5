import { dirname, resolve } from 'node:path'
import { IllegalStateError, type File, type FileSystem } from '../index.ts'
import { readFully, writeFully } from '../platform/file-io.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import type { ImportReject, ResolvedImportOptions } from './import-options.ts'

const NEWLINE = 0x0a
const READ_BYTES = 256 * 1024

/** Where the rows go that are not imported. Calls do not overlap. */
export interface RejectSink {
  /** Length of what was written before the mark that the import goes on from. */
  readonly startBytes: number
  /** Length of what is written, for the next mark. */
  readonly sizeBytes: number
  write(rejects: readonly ImportReject[]): Promise<void>
  /** Makes what was written durable. */
  sync(): Promise<void>
  close(): Promise<void>
}

type RejectOptions = Pick<ResolvedImportOptions, 'rejects' | 'fileSystem' | 'topic' | 'name'>

/**
 * @param committedBytes length of the file by the mark, `null` when the import begins
 * @throws {@link IllegalStateError} while another import writes to the file
 */
export async function openRejects(
  options: RejectOptions,
  committedBytes: number | null,
): Promise<RejectSink> {
  const { rejects } = options
  if (typeof rejects === 'string') return RejectFile.open(rejects, options, committedBytes)
  return {
    startBytes: 0,
    sizeBytes: 0,
    write: async (rows) => {
      for (const each of rows) await rejects?.(each)
    },
    sync: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
}

/** Paths that imports write to, per file system. */
const inUse: WeakMap<object, Set<string>> = new WeakMap()

/**
 * A line of JSON for each row, which is in it once however often the row is read. The lines name
 * their import, so that others may have theirs in the file, before and behind.
 */
class RejectFile implements RejectSink {
  readonly startBytes: number
  readonly #file: File
  /** What the lines of this import begin with. */
  readonly #origin: RejectOrigin
  /** Rows behind the mark that were rejected before. */
  readonly #known: ReadonlySet<number>
  readonly #release: () => void
  #sizeBytes: number
  /** What an earlier run has written may be in memory alone. */
  #isSynced = false

  private constructor(file: File, origin: RejectOrigin, found: FoundRejects, release: () => void) {
    this.startBytes = found.startBytes
    this.#file = file
    this.#origin = origin
    this.#sizeBytes = found.sizeBytes
    this.#known = found.rows
    this.#release = release
  }

  static async open(
    path: string,
    { fileSystem, topic, name }: RejectOptions,
    committedBytes: number | null,
  ): Promise<RejectFile> {
    const files: FileSystem = fileSystem ?? new NodeFileSystem()
    const release = take(files, path)
    let file: File | null = null
    try {
      file = await files.open(path, 'create')
      await files.syncDirectory(dirname(path))
      const origin = { topic, import: name }
      const found = await findRejects(file, origin, committedBytes)
      await file.truncate(found.sizeBytes)
      return new RejectFile(file, origin, found, release)
    } catch (error) {
      release()
      await file?.close()
      throw error
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  async write(rejects: readonly ImportReject[]): Promise<void> {
    const lines = rejects
      .filter(({ row }) => !this.#known.has(row))
      .map((each) => `${JSON.stringify({ ...this.#origin, ...each })}\n`)
    if (lines.length === 0) return
    const bytes = Buffer.from(lines.join(''))
    await writeFully(this.#file, [bytes], this.#sizeBytes)
    this.#sizeBytes += bytes.length
    this.#isSynced = false
  }

  async sync(): Promise<void> {
    if (this.#isSynced) return
    await this.#file.datasync()
    this.#isSynced = true
  }

  close(): Promise<void> {
    this.#release()
    return this.#file.close()
  }
}

/** @returns what gives the path free. @throws {@link IllegalStateError} */
function take(fileSystem: FileSystem, path: string): () => void {
  // There is one real file system, however many objects stand for it.
  const owner = fileSystem instanceof NodeFileSystem ? NodeFileSystem : fileSystem
  const paths = inUse.get(owner) ?? new Set()
  const key = resolve(path)
  if (paths.has(key)) {
    throw new IllegalStateError(`another import is writing its rejects to '${path}'`)
  }
  inUse.set(owner, paths.add(key))
  return () => paths.delete(key)
}

/** The import that a line is of. */
interface RejectOrigin {
  readonly topic: string
  readonly import: string
}

interface FoundRejects {
  readonly startBytes: number
  readonly sizeBytes: number
  readonly rows: ReadonlySet<number>
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
    return { startBytes: endBytes, sizeBytes: endBytes, rows: new Set() }
  }
  const rows = new Set<number>()
  let keptBytes = startBytes
  let isBroken = false
  // Rows of lines behind a broken one: they count where these lines stay.
  let doubtful: number[] = []
  for await (const { line, end } of linesOf(file, startBytes, sizeBytes)) {
    const found = parseLine(line)
    const isOwn = found !== null && isOf(found, origin)
    if (found === null) isBroken = true
    if (isOwn) doubtful.push(found.row)
    if (found === null || (isOwn && isBroken)) continue
    for (const row of doubtful) rows.add(row)
    doubtful = []
    keptBytes = end
  }
  return { startBytes, sizeBytes: keptBytes, rows }
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
