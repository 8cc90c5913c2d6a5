import type { File } from '../index.ts'
import { readFully, readPieces, writeFully } from '../platform/file-io.ts'
import { RowSplitter, type TextRow } from './row-splitter.ts'

const NEWLINE = 0x0a

/** The import to which a line belongs. */
export interface RejectOrigin {
  readonly topic: string
  readonly import: string
}

/** The line of a rejected row. */
export interface PlacedLine {
  readonly row: number
  /** Position of the line in the file. */
  readonly position: number
}

/** What earlier runs have left. */
export interface FoundRejects {
  readonly sizeBytes: number
  /** Position in the file at which the kept part after the mark begins. */
  readonly startBytes: number
  /** Lines of the import after its mark, in file order. */
  readonly lines: readonly PlacedLine[]
}

/**
 * Finds what an earlier run has written after its mark. A crash may have torn a line, and a power
 * loss may have replaced anything that was not yet durable. From that line on, the lines are
 * written again, in the same place unless another import has lines after it.
 */
export async function findRejects(
  file: File,
  origin: RejectOrigin,
  committedBytes: number | null,
): Promise<FoundRejects> {
  const { sizeBytes } = await file.stat()
  const startBytes = Math.min(committedBytes ?? sizeBytes, sizeBytes)
  const isStart = startBytes === 0 || (await endsLine(file, startBytes))
  // A new import, or one whose mark refers to another file, has nothing to look for.
  if (startBytes === sizeBytes || !isStart) {
    const endBytes = await endLastLine(file, sizeBytes)
    return { sizeBytes: endBytes, startBytes: endBytes, lines: [] }
  }
  const lines: PlacedLine[] = []
  let keptBytes = startBytes
  let isBroken = false
  // Lines after a broken line. They count only if that line stays.
  let doubtful: PlacedLine[] = []
  for await (const { bytes, startPosition, endPosition } of linesOf(file, startBytes, sizeBytes)) {
    const found = parseLine(bytes.toString())
    const isOwn = found !== null && isOf(found, origin)
    if (found === null) isBroken = true
    if (isOwn) doubtful.push({ row: found.row, position: startPosition })
    if (found === null || (isOwn && isBroken)) continue
    lines.push(...doubtful)
    doubtful = []
    keptBytes = endPosition
  }
  return { sizeBytes: keptBytes, startBytes, lines }
}

/**
 * Rewrites the kept lines in place. The sync of an earlier run may have failed: reads still return
 * its lines, but the next sync writes only what is written after that.
 */
export async function rewriteRejects(
  file: File,
  { startBytes, sizeBytes }: FoundRejects,
): Promise<void> {
  let position = startBytes
  for await (const piece of readPieces(file, startBytes, sizeBytes)) {
    await writeFully(file, [piece], position)
    position += piece.length
  }
}

/** Another import's last line may be torn; a mark must not be within a line. @returns the size */
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

/** The complete lines of a part of a file. */
async function* linesOf(file: File, position: number, end: number): AsyncGenerator<TextRow> {
  const from = { position, line: 0 }
  const splitter = new RowSplitter({ maxRowBytes: Infinity, delimiter: null, from })
  for await (const piece of readPieces(file, position, end)) yield* splitter.push(piece)
}

/** Content of a line in such a file. Earlier versions did not name the import. */
interface RejectLine extends Partial<RejectOrigin> {
  readonly row: number
}

/** `null` if it is not a line of such a file. */
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
