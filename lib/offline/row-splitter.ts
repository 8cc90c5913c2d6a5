/** A piece of text that is a row, or would be. */
export interface TextRow {
  /** Without the line end; only the beginning of what is too long. */
  readonly bytes: Buffer
  /** Line it begins in, from 1. */
  readonly line: number
  /** Bytes and lines before what follows it. */
  readonly endPosition: number
  readonly endLine: number
  /** What keeps it from being a row. */
  readonly fault: 'too-long' | 'open-quote' | null
  /** Whether it ended with the text, and not with a line end. */
  readonly isOpenEnd: boolean
}

/** How a splitter cuts. */
export interface RowSplitterOptions {
  readonly maxRowBytes: number
  /** Separator of fields where a quoted field may hold line ends, `null` where there are no quotes. */
  readonly delimiter: string | null
  /** Bytes and lines before what is pushed first. */
  readonly from: { readonly position: number; readonly line: number }
}

const NEWLINE = 0x0a
const RETURN = 0x0d
const QUOTE = 0x22
const EXCERPT_BYTES = 1024
const NOTHING: Buffer = Buffer.alloc(0)
const BYTE_ORDER_MARK: Buffer = Buffer.from('\ufeff')

/** How far a look for the end of a row has gone. Every line end on its way was in quotes. */
interface QuoteScan {
  /** Position in the text. */
  readonly start: number
  /** Exclusive. */
  readonly end: number
  readonly isQuoted: boolean
  readonly isFieldStart: boolean
}

/**
 * Cuts text into rows by their line ends, and knows where each lies. Never holds more than
 * `maxRowBytes` and one piece: of a longer row only the beginning is kept.
 *
 * A quote that is not closed within `maxRowBytes`, or at all, is taken for a fault of its own line:
 * the lines behind it are rows again.
 */
export class RowSplitter {
  readonly #maxRowBytes: number
  readonly #delimiter: number | null
  readonly #excerptBytes: number
  #rest: Buffer = NOTHING
  /** Of the beginning of `#rest`. */
  #position: number
  #line: number
  /** Whether a byte order mark may come, which is no part of the first row. */
  #isStart: boolean
  /** The beginning of a row that is being passed over. */
  #tooLong: Buffer | null = null
  /** The last look for the end of a row that has found none. */
  #endless: QuoteScan | null = null
  /** How many bytes were looked at for quotes. @internal */
  scannedBytes = 0

  constructor(options: RowSplitterOptions) {
    this.#maxRowBytes = options.maxRowBytes
    this.#excerptBytes = Math.min(EXCERPT_BYTES, options.maxRowBytes)
    this.#delimiter = options.delimiter?.charCodeAt(0) ?? null
    this.#position = options.from.position
    this.#line = options.from.line
    this.#isStart = options.from.position === 0
  }

  /** Takes the next piece. @returns the rows that end in it */
  push(piece: Buffer): TextRow[] {
    this.#rest = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece])
    return this.#cut(false)
  }

  /** The text ends. @returns what is left */
  end(): TextRow[] {
    return this.#cut(true)
  }

  #cut(isEnd: boolean): TextRow[] {
    const rows: TextRow[] = []
    if (this.#isStart && !this.#passMark(isEnd)) return rows
    let at = 0
    while (at < this.#rest.length) {
      const end = this.#tooLong === null ? this.#rowEnd(at) : this.#rest.indexOf(NEWLINE, at)
      const isOver = end >= 0 ? end - at > this.#maxRowBytes : this.#isOver(at)
      if (end >= 0 && !isOver) {
        rows.push(this.#take(at, end, end + 1, null))
        at = end + 1
      } else if (end < 0 && !isOver && !isEnd) {
        break
      } else {
        const next = this.#takeFaulty(at, isEnd, rows)
        if (next < 0) break
        at = next
      }
    }
    if (isEnd && this.#tooLong !== null) rows.push(this.#take(at, at, at, null))
    this.#rest = this.#rest.subarray(at)
    return rows
  }

  /** @returns whether it is known where the text begins */
  #passMark(isEnd: boolean): boolean {
    const { length } = BYTE_ORDER_MARK
    if (this.#rest.length < length && !isEnd) return false
    this.#isStart = false
    if (this.#rest.subarray(0, length).equals(BYTE_ORDER_MARK)) {
      this.#rest = this.#rest.subarray(length)
      this.#position += length
    }
    return true
  }

  #isOver(at: number): boolean {
    return this.#tooLong !== null || this.#rest.length - at > this.#maxRowBytes
  }

  /** @returns where what follows begins, -1 when that is not known yet */
  #takeFaulty(at: number, isEnd: boolean, rows: TextRow[]): number {
    const { length } = this.#rest
    const isLast = isEnd && this.#tooLong === null && length - at <= this.#maxRowBytes
    // Its line ends may all be in quotes that are closed.
    if (isLast && !this.#isQuoteOpen(at)) {
      rows.push(this.#take(at, length, length, null))
      return length
    }
    const lineEnd = this.#rest.indexOf(NEWLINE, at)
    const isShort = lineEnd >= 0 && lineEnd - at <= this.#maxRowBytes
    if (isShort && this.#tooLong === null) {
      rows.push(this.#take(at, lineEnd, lineEnd + 1, 'open-quote'))
      return lineEnd + 1
    }
    if (lineEnd >= 0) {
      rows.push(this.#take(at, lineEnd, lineEnd + 1, 'too-long'))
      return lineEnd + 1
    }
    if (isLast) {
      rows.push(this.#take(at, length, length, 'open-quote'))
      return length
    }
    this.#tooLong ??= Buffer.from(this.#rest.subarray(at, at + this.#excerptBytes))
    this.#position += length - at
    this.#rest = NOTHING
    return isEnd ? 0 : -1
  }

  #take(at: number, end: number, next: number, fault: TextRow['fault']): TextRow {
    const isOpenEnd = next === end
    let lines = isOpenEnd ? 0 : 1
    let newline = this.#rest.indexOf(NEWLINE, at)
    while (newline >= 0 && newline < end) {
      lines += 1
      newline = this.#rest.indexOf(NEWLINE, newline + 1)
    }
    const line = this.#line + 1
    this.#position += next - at
    this.#line += lines
    const isReturn = end > at && this.#rest[end - 1] === RETURN
    const tooLong = this.#tooLong
    const bytes = tooLong ?? this.#rest.subarray(at, isReturn && !isOpenEnd ? end - 1 : end)
    this.#tooLong = null
    return {
      bytes: fault === 'too-long' ? Buffer.from(bytes.subarray(0, this.#excerptBytes)) : bytes,
      line,
      endPosition: this.#position,
      endLine: this.#line,
      fault: tooLong === null ? fault : 'too-long',
      isOpenEnd,
    }
  }

  /** Where the line end of the row at `at` is, -1 when it is not there. */
  #rowEnd(at: number): number {
    const newline = this.#rest.indexOf(NEWLINE, at)
    if (newline < 0 || this.#delimiter === null) return newline
    // No further: the next quote may be far away, and is asked for at each row.
    if (!this.#rest.subarray(at, newline).includes(QUOTE)) return newline
    return this.#quotedRowEnd(at, this.#delimiter).end
  }

  #isQuoteOpen(at: number): boolean {
    return this.#delimiter !== null && this.#quotedRowEnd(at, this.#delimiter).isQuoted
  }

  /**
   * Two looks that meet at a line end in quotes go on alike. So one that comes to where an earlier one has
   * passed goes on where that has ended: otherwise each of many lines that leave a quote open would have all
   * of the text behind it looked through again.
   */
  #quotedRowEnd(at: number, delimiter: number): { end: number; isQuoted: boolean } {
    const bytes = this.#rest
    const start = this.#position
    let isFieldStart = true
    let isQuoted = false
    let slot = at
    for (; slot < bytes.length; slot += 1) {
      this.scannedBytes += 1
      const byte = bytes[slot]
      if (isQuoted) {
        const passed = byte === NEWLINE ? this.#endless : null
        const position = start + slot - at
        if (passed !== null && passed.start <= position && position < passed.end) {
          ;({ isQuoted, isFieldStart } = passed)
          slot += passed.end - position - 1
          continue
        }
        if (byte !== QUOTE) continue
        // Whether another one follows is known when there is more.
        if (slot + 1 === bytes.length) break
        if (bytes[slot + 1] === QUOTE) slot += 1
        else isQuoted = false
      } else if (byte === NEWLINE) {
        return { end: slot, isQuoted: false }
      } else if (byte === QUOTE && isFieldStart) {
        isQuoted = true
        isFieldStart = false
      } else {
        isFieldStart = byte === delimiter
      }
    }
    this.#endless = { start, end: start + slot - at, isQuoted, isFieldStart }
    return { end: -1, isQuoted: isQuoted && slot === bytes.length }
  }
}
