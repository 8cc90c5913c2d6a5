/** Initial size, which a line of a typical record does not exceed. */
const INITIAL_BYTES = 16 * 1024
const QUOTE = 0x22
const BACKSLASH = 0x5c
const SPACE = 0x20
const DIGIT_ZERO = 0x30
const MINUTE_MS = 60_000
/** Length of `2024-01-31T12:00:`, the beginning of a result of `toISOString`. */
const MINUTE_CHARACTERS = 17
/** Length of the rest: seconds, milliseconds and the zone. */
const SECOND_CHARACTERS = 7
/** Size of the longest escaped character, such as `\u001f`. */
const MAX_ESCAPE_BYTES = 6

/**
 * Builds JSON as bytes in one reused buffer, so that bytes from the log need not be decoded to
 * text.
 */
export class JsonBytes {
  #bytes: Buffer = Buffer.allocUnsafe(INITIAL_BYTES)
  #length = 0
  #minute = NaN
  #minuteText = ''

  get length(): number {
    return this.#length
  }

  /** The bytes written so far, valid until the next call of a method. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  clear(): void {
    this.#length = 0
  }

  /** Appends text as it is. @param text ASCII only */
  ascii(text: string): void {
    const at = this.#reserve(text.length)
    // A native call costs more than a short text.
    for (let index = 0; index < text.length; index += 1) {
      this.#bytes[at + index] = text.charCodeAt(index)
    }
  }

  /** Appends text as it is. */
  text(text: string): void {
    const at = this.#reserve(3 * text.length)
    this.#length = at + this.#bytes.write(text, at, 'utf8')
  }

  /** Appends bytes as they are. */
  raw(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length)
    this.#bytes.set(bytes, at)
  }

  /** Appends JSON on one line. Its line breaks are white space, as those of strings are escaped. */
  jsonLine(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length)
    this.#bytes.set(bytes, at)
    for (let index = at; index < this.#length; index += 1) {
      const byte = this.#bytes[index]
      if (byte === 0x0a || byte === 0x0d) this.#bytes[index] = SPACE
    }
  }

  /** Appends UTF-8 bytes as a JSON string, escaped as by `JSON.stringify`. */
  string(utf8: Uint8Array): void {
    this.#reserve(utf8.length + 2)
    let bytes = this.#bytes
    let at = this.#length - utf8.length - 2
    bytes[at] = QUOTE
    at += 1
    for (let index = 0; index < utf8.length; index += 1) {
      const byte = utf8[index] ?? 0
      if (byte >= SPACE && byte !== QUOTE && byte !== BACKSLASH) {
        bytes[at] = byte
        at += 1
        continue
      }
      const rest = utf8.length - index + 1
      this.#length = at
      this.#reserve(rest + MAX_ESCAPE_BYTES)
      bytes = this.#bytes
      const escaped = ESCAPES[byte] ?? ''
      for (let slot = 0; slot < escaped.length; slot += 1) {
        bytes[at + slot] = escaped.charCodeAt(slot)
      }
      at += escaped.length
    }
    bytes[at] = QUOTE
    this.#length = at + 1
  }

  /** Appends a time: ISO 8601 in UTC, in quotes. @param ms since the epoch, years 0 to 9999 */
  time(ms: number): void {
    const minute = Math.floor(ms / MINUTE_MS)
    if (minute !== this.#minute) {
      this.#minute = minute
      this.#minuteText = `"${new Date(ms).toISOString().slice(0, MINUTE_CHARACTERS)}`
    }
    this.ascii(this.#minuteText)
    const rest = ms - minute * MINUTE_MS
    const seconds = Math.floor(rest / 1000)
    const at = this.#reserve(SECOND_CHARACTERS + 1)
    this.#digits(at, seconds, 2)
    this.#bytes[at + 2] = 0x2e
    this.#digits(at + 3, rest - seconds * 1000, 3)
    this.#bytes[at + 6] = 0x5a
    this.#bytes[at + 7] = QUOTE
  }

  #digits(at: number, value: number, count: number): void {
    let rest = value
    for (let slot = at + count - 1; slot >= at; slot -= 1) {
      this.#bytes[slot] = DIGIT_ZERO + (rest % 10)
      rest = Math.floor(rest / 10)
    }
  }

  /** Reserves space at the end and counts it as used. @returns where it begins */
  #reserve(count: number): number {
    const at = this.#length
    this.#length = at + count
    if (this.#length <= this.#bytes.length) return at
    const bytes = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#length))
    this.#bytes.copy(bytes, 0, 0, at)
    this.#bytes = bytes
    return at
  }
}

/** The escape sequence of each byte that must be escaped in a JSON string. */
const ESCAPES: readonly string[] = Array.from({ length: BACKSLASH + 1 }, (_, byte) =>
  JSON.stringify(String.fromCharCode(byte)).slice(1, -1),
)
