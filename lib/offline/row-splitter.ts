/** A piece of text that is a row, or a malformed one. */
export interface TextRow {
  /** Without the line end, or the carriage return that may begin it; if too long, only the beginning. */
  readonly bytes: Buffer
  /** Line on which it begins, from 1. */
  readonly line: number
  /** Bytes before it. */
  readonly startPosition: number
  /** Bytes and lines before the text that follows it. */
  readonly endPosition: number
  readonly endLine: number
  /** Why it is not a row. */
  readonly fault: 'too-long' | 'open-quote' | 'stray-quote' | null
  /** Whether it ended with the text, without a line end. */
  readonly isOpenEnd: boolean
}

/** Options of a {@link RowSplitter}. */
export interface RowSplitterOptions {
  readonly maxRowBytes: number
  /** Field separator if quoted fields may contain line ends, `null` if there are no quotes. */
  readonly delimiter: string | null
  /** Bytes and lines before the first piece. */
  readonly from: { readonly position: number; readonly line: number }
}

const NEWLINE = 0x0a
const RETURN = 0x0d
const QUOTE = 0x22
const EXCERPT_BYTES = 1024
const NOTHING: Buffer = Buffer.alloc(0)
const BYTE_ORDER_MARK: Buffer = Buffer.from('\ufeff')

/** State of a search for the end of a row. Every line end that it has passed was in quotes. */
interface QuoteScan {
  /** Position in the text. */
  readonly start: number
  /** Exclusive. */
  readonly end: number
  readonly isQuoted: boolean
  readonly isFieldStart: boolean
  /** Position of the first line end in the last quoted field, -1 if there is none. */
  readonly fieldLineEnd: number
}

/** Where a row ends. */
interface RowEnd {
  /** Position of its line end, -1 if it is not there. */
  readonly end: number
  readonly fault: 'stray-quote' | null
}

/**
 * Splits text into rows at line ends, and tracks their positions. Holds at most `maxRowBytes` and
 * one piece: of a longer row it keeps only the beginning.
 *
 * A quote that is not closed within `maxRowBytes`, or at all, counts as an error of its own line.
 * The lines after it are rows again. So are the lines after the one on which a quoted field begins
 * if the quote that closes it, on a later line, is followed by something other than the end of a
 * field: probably that quote opens a field, and the earlier one should not be there.
 */
export class RowSplitter {
  readonly #maxRowBytes: number
  readonly #delimiter: number | null
  readonly #excerptBytes: number
  #rest: Buffer = NOTHING
  /** Pieces after `#rest` without a line end. Joined one by one, they would be copied each time. */
  #pending: Buffer[] = []
  #pendingBytes = 0
  /** Position of the beginning of `#rest`. */
  #position: number
  #line: number
  /** Whether a byte order mark may follow, which is not part of the first row. */
  #isStart: boolean
  /** The beginning of a row that is being skipped, and its position. */
  #tooLong: { readonly bytes: Buffer; readonly position: number } | null = null
  /** The last search that has not found the end of a row, or has found it too far away. */
  #endless: QuoteScan | null = null
  /** Number of bytes scanned for quotes. @internal */
  scannedBytes = 0

  constructor(options: RowSplitterOptions) {
    this.#maxRowBytes = options.maxRowBytes
    this.#excerptBytes = Math.min(EXCERPT_BYTES, options.maxRowBytes)
    this.#delimiter = options.delimiter?.charCodeAt(0) ?? null
    this.#position = options.from.position
    this.#line = options.from.line
    this.#isStart = options.from.position === 0
  }

  /** Adds the next piece. @returns the rows that end in it */
  push(piece: Buffer): TextRow[] {
    this.#pending.push(piece)
    this.#pendingBytes += piece.length
    const isShort = this.#rest.length + this.#pendingBytes <= this.#maxRowBytes
    return isShort && !piece.includes(NEWLINE) ? [] : this.#cut(false)
  }

  /** Ends the text. @returns the remaining rows */
  end(): TextRow[] {
    return this.#cut(true)
  }

  #cut(isEnd: boolean): TextRow[] {
    const rows: TextRow[] = []
    this.#join()
    if (this.#isStart && !this.#passMark(isEnd)) return rows
    let at = 0
    while (at < this.#rest.length) {
      const { end, fault } = this.#rowEnd(at)
      const isOver = end >= 0 ? !this.#fits(at, end) : this.#isOver(at)
      if (end >= 0 && !isOver) {
        rows.push(this.#take(at, end, end + 1, fault))
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

  #join(): void {
    const [first, ...more] = this.#pending
    if (first === undefined) return
    const isFirst = this.#rest.length === 0 && more.length === 0
    this.#rest = isFirst ? first : Buffer.concat([this.#rest, first, ...more])
    this.#pending = []
    this.#pendingBytes = 0
  }

  /** @returns whether the beginning of the text is known */
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
    return this.#tooLong !== null || !this.#fits(at, this.#rest.length)
  }

  /** Whether a row is short enough. A carriage return at its end may be part of the line end. */
  #fits(at: number, end: number): boolean {
    const isReturn = end > at && this.#rest[end - 1] === RETURN
    return end - at - (isReturn ? 1 : 0) <= this.#maxRowBytes
  }

  /** @returns where the following text begins, -1 if that is not known yet */
  #takeFaulty(at: number, isEnd: boolean, rows: TextRow[]): number {
    const { length } = this.#rest
    const isLast = isEnd && this.#tooLong === null && length - at <= this.#maxRowBytes
    // All of its line ends may be in closed quotes.
    if (isLast && !this.#isQuoteOpen(at)) {
      rows.push(this.#take(at, length, length, null))
      return length
    }
    const lineEnd = this.#rest.indexOf(NEWLINE, at)
    const isShort = lineEnd >= 0 && this.#fits(at, lineEnd)
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
    this.#tooLong ??= {
      bytes: Buffer.from(this.#rest.subarray(at, at + this.#excerptBytes)),
      position: this.#position,
    }
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
    const startPosition = this.#tooLong?.position ?? this.#position
    this.#position += next - at
    this.#line += lines
    const isReturn = end > at && this.#rest[end - 1] === RETURN
    const tooLong = this.#tooLong
    // A row that ends within its line end is the same once the text has grown.
    const bytes = tooLong?.bytes ?? this.#rest.subarray(at, isReturn ? end - 1 : end)
    this.#tooLong = null
    return {
      bytes: fault === 'too-long' ? Buffer.from(bytes.subarray(0, this.#excerptBytes)) : bytes,
      line,
      startPosition,
      endPosition: this.#position,
      endLine: this.#line,
      fault: tooLong === null ? fault : 'too-long',
      isOpenEnd,
    }
  }

  #rowEnd(at: number): RowEnd {
    const end = this.#rest.indexOf(NEWLINE, at)
    const isPlain = end < 0 || this.#delimiter === null || this.#tooLong !== null
    // Only up to the line end: the next quote may be far away, and each row searches again.
    if (isPlain || !this.#rest.subarray(at, end).includes(QUOTE)) return { end, fault: null }
    return this.#quotedRowEnd(at, this.#delimiter)
  }

  #isQuoteOpen(at: number): boolean {
    return this.#delimiter !== null && this.#quotedRowEnd(at, this.#delimiter).isQuoted
  }

  /**
   * Two searches that are in quotes at the same line end continue alike. So a search that reaches a
   * line end passed by an earlier one continues where that one ended. Otherwise each of many lines
   * with an unclosed quote would scan all of the text after it again.
   */
  #quotedRowEnd(at: number, delimiter: number): RowEnd & { readonly isQuoted: boolean } {
    const bytes = this.#rest
    const base = this.#position - at
    let isFieldStart = true
    let isQuoted = false
    let fieldLineEnd = -1
    let strayEnd = -1
    let slot = at
    for (; slot < bytes.length; slot += 1) {
      this.scannedBytes += 1
      const byte = bytes[slot]
      if (isQuoted && byte === NEWLINE) {
        const position = base + slot
        if (fieldLineEnd < 0) fieldLineEnd = position
        const passed = this.#endless
        if (passed === null || position < passed.start || position >= passed.end) continue
        ;({ isQuoted, isFieldStart } = passed)
        // Otherwise its last field began before this line end, and thus is the field of this search.
        const isLater = passed.fieldLineEnd < 0 || passed.fieldLineEnd > position
        if (isLater) fieldLineEnd = passed.fieldLineEnd
        slot += passed.end - position - 1
      } else if (isQuoted) {
        if (byte !== QUOTE) continue
        const after = this.#afterQuote(slot, delimiter)
        // It depends on the next piece.
        if (after === null) break
        if (after === 'quote') slot += 1
        else isQuoted = false
        if (typeof after !== 'number' || fieldLineEnd < 0) continue
        strayEnd = after
        isQuoted = true
        break
      } else if (byte === NEWLINE) {
        if (!this.#fits(at, slot)) {
          // The row is too long, so only its first line is taken, and each one after it searches.
          const [start, end] = [base + at, base + slot]
          this.#endless = { start, end, isQuoted: false, isFieldStart, fieldLineEnd }
        }
        return { end: slot, fault: null, isQuoted: false }
      } else if (byte === QUOTE && isFieldStart) {
        isQuoted = true
        isFieldStart = false
        fieldLineEnd = -1
      } else {
        isFieldStart = byte === delimiter
      }
    }
    this.#endless = { start: base + at, end: base + slot, isQuoted, isFieldStart, fieldLineEnd }
    // Found in pieces of any size, as no more than `maxRowBytes` need to be read for it.
    if (strayEnd >= 0 && strayEnd - at <= this.#maxRowBytes) {
      return { end: fieldLineEnd - base, fault: 'stray-quote', isQuoted: false }
    }
    return { end: -1, fault: null, isQuoted: isQuoted && slot === bytes.length }
  }

  /**
   * What follows a quote in a quoted field: another quote, or the end of the field. If it is
   * anything else, the position after it. `null` if that is not known yet.
   */
  #afterQuote(at: number, delimiter: number): 'quote' | 'field-end' | number | null {
    const byte = this.#rest[at + 1]
    if (byte === undefined) return null
    if (byte === QUOTE) return 'quote'
    if (byte === delimiter || byte === NEWLINE) return 'field-end'
    if (byte !== RETURN) return at + 2
    const next = this.#rest[at + 2]
    if (next === undefined) return null
    return next === NEWLINE ? 'field-end' : at + 3
  }
}
