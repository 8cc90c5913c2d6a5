import type { File } from '../index.ts'
import { readFully, writeFully } from '../platform/file-io.ts'

const NEWLINE = 0x0a
const READ_BYTES = 256 * 1024

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
  let position = startBytes
  let isBroken = false
  // Lines after a broken line. They count only if that line stays.
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
 * Rewrites the kept lines in place. The sync of an earlier run may have failed: reads still return
 * its lines, but the next sync writes only what is written after that.
 */
export async function rewriteRejects(
  file: File,
  { startBytes, sizeBytes }: FoundRejects,
): Promise<void> {
  for (let position = startBytes; position < sizeBytes; position += READ_BYTES) {
    const bytes = Buffer.alloc(Math.min(READ_BYTES, sizeBytes - position))
    await readFully(file, bytes, position)
    await writeFully(file, [bytes], position)
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

/** The complete lines of a part of a file, without their line ends, and where each ends. */
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
