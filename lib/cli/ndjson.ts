import { printable, thousands } from './report.ts'

/** A line of an NDJSON stream. */
export interface NdjsonLine {
  /** From 1; empty lines count too. */
  readonly lineNumber: number
  /** Without the line end. */
  readonly bytes: Buffer
  readonly value: unknown
}

/** A line that is not valid JSON. */
export interface MalformedLine {
  readonly lineNumber: number
  /** What is wrong with it, as the rest of a sentence that begins with the line. */
  readonly reason: string
}

/** Longer lines are refused, so that a file without line ends does not fill the memory. */
export const MAX_LINE_BYTES: number = 1_000_000

const BYTE_ORDER_MARK = Buffer.from('\ufeff')
const NEWLINE = 0x0a
const RETURN = 0x0d

/**
 * Reads NDJSON line by line. Lines end with `\n` or `\r\n`, the last line also without. A byte
 * order mark before the first line is ignored. Empty lines are skipped. Invalid lines are reported
 * to `onMalformed`, and reading continues.
 */
export async function* readNdjson(
  input: AsyncIterable<Buffer>,
  onMalformed: (line: MalformedLine) => void,
): AsyncGenerator<NdjsonLine, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  let lineNumber = 0
  for await (const wholeLine of splitLines(input)) {
    lineNumber += 1
    if (wholeLine === null) {
      onMalformed({ lineNumber, reason: `is longer than ${thousands(MAX_LINE_BYTES)} bytes` })
      continue
    }
    const line = lineNumber === 1 ? withoutMark(wholeLine) : wholeLine
    if (line.length === 0) continue
    try {
      yield { lineNumber, bytes: line, value: JSON.parse(decoder.decode(line)) }
    } catch (error) {
      if (error instanceof SyntaxError) {
        onMalformed({ lineNumber, reason: `is not JSON: ${printable(error.message)}` })
      } else if (error instanceof TypeError) {
        onMalformed({ lineNumber, reason: 'is not UTF-8 text' })
      } else throw error
    }
  }
}

function withoutMark(line: Buffer): Buffer {
  const { length } = BYTE_ORDER_MARK
  return line.subarray(0, length).equals(BYTE_ORDER_MARK) ? line.subarray(length) : line
}

/** Lines without their ends; `null` for a line that is too long. */
async function* splitLines(
  input: AsyncIterable<Buffer>,
): AsyncGenerator<Buffer | null, void, undefined> {
  let pending: Buffer[] = []
  let pendingBytes = 0
  const take = (): Buffer | null => {
    const line = pendingBytes > MAX_LINE_BYTES ? null : Buffer.concat(pending)
    pending = []
    pendingBytes = 0
    return line?.at(-1) === RETURN ? line.subarray(0, -1) : line
  }
  const add = (bytes: Buffer): void => {
    pendingBytes += bytes.length
    if (pendingBytes > MAX_LINE_BYTES) pending = []
    else pending.push(bytes)
  }
  for await (const chunk of input) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      add(chunk.subarray(start, end))
      yield take()
      start = end + 1
    }
    if (start < chunk.length) add(chunk.subarray(start))
  }
  if (pendingBytes > 0) yield take()
}
