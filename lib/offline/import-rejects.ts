import { dirname } from 'node:path'
import type { File, FileSystem } from '../index.ts'
import { readFully, writeFully } from '../platform/file-io.ts'
import { NodeFileSystem } from '../platform/node-file-system.ts'
import type { ImportReject, ResolvedImportOptions } from './import-options.ts'

const NEWLINE = 0x0a

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

/** @param committedBytes length of the file by the mark, `null` when the import begins */
export async function openRejects(
  { rejects, fileSystem }: Pick<ResolvedImportOptions, 'rejects' | 'fileSystem'>,
  committedBytes: number | null,
): Promise<RejectSink> {
  if (typeof rejects === 'string') {
    return RejectFile.open(fileSystem ?? new NodeFileSystem(), rejects, committedBytes)
  }
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

/** A line of JSON for each row, which is in it once however often the row is read. */
class RejectFile implements RejectSink {
  readonly startBytes: number
  readonly #file: File
  /** Rows behind the mark that were rejected before. */
  readonly #known: ReadonlySet<number>
  #sizeBytes: number
  /** What an earlier run has written may be in memory alone. */
  #isSynced = false

  private constructor(file: File, known: ReadonlySet<number>, from: number, sizeBytes: number) {
    this.startBytes = from
    this.#file = file
    this.#sizeBytes = sizeBytes
    this.#known = known
  }

  static async open(
    fileSystem: FileSystem,
    path: string,
    committedBytes: number | null,
  ): Promise<RejectFile> {
    const file = await fileSystem.open(path, 'create')
    try {
      await fileSystem.syncDirectory(dirname(path))
      const { sizeBytes } = await file.stat()
      const from = await startIn(file, sizeBytes, committedBytes ?? sizeBytes)
      const tail = Buffer.alloc(sizeBytes - from)
      await readFully(file, tail, from)
      const { wholeBytes, rows } = wholeLines(tail)
      await file.truncate(from + wholeBytes)
      return new RejectFile(file, rows, from, from + wholeBytes)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  async write(rejects: readonly ImportReject[]): Promise<void> {
    const lines = rejects
      .filter(({ row }) => !this.#known.has(row))
      .map((each) => `${JSON.stringify(each)}\n`)
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
    return this.#file.close()
  }
}

/** Where the lines behind the mark begin; the end where the mark is about another file. */
async function startIn(file: File, sizeBytes: number, committedBytes: number): Promise<number> {
  if (committedBytes === 0 || committedBytes >= sizeBytes)
    return Math.min(committedBytes, sizeBytes)
  const before = Buffer.alloc(1)
  await readFully(file, before, committedBytes - 1)
  return before[0] === NEWLINE ? committedBytes : sizeBytes
}

/**
 * The lines that an earlier run has written. A crash may have cut one, and a power loss may have put
 * anything in the place of what was not yet durable: from there on they are written again.
 */
function wholeLines(tail: Buffer): { wholeBytes: number; rows: ReadonlySet<number> } {
  const rows = new Set<number>()
  let wholeBytes = 0
  for (;;) {
    const end = tail.indexOf(NEWLINE, wholeBytes)
    const row = end < 0 ? null : rowOf(tail.toString('utf8', wholeBytes, end))
    if (row === null) return { wholeBytes, rows }
    rows.add(row)
    wholeBytes = end + 1
  }
}

/** `null` for what is no line of such a file. */
function rowOf(line: string): number | null {
  try {
    const { row } = JSON.parse(line) as { row?: unknown }
    return typeof row === 'number' ? row : null
  } catch {
    return null
  }
}
