import type { Writable } from 'node:stream'

/** `1234567` as `1,234,567`, whatever the locale. */
export function thousands(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',')
}

/** `1 file`, `2,000 files`. */
export function counted(count: number, noun: string): string {
  return `${thousands(count)} ${noun}${count === 1 ? '' : 's'}`
}

/** What ends a line, or is interpreted by a terminal. */
export const UNSAFE: RegExp = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu

/** Text from outside, without characters that a terminal would interpret. */
export function printable(text: string): string {
  return text.replace(UNSAFE, '\ufffd')
}

/** Bytes in the largest unit that leaves at least one, with at most one decimal. */
export function inBytes(sizeBytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = sizeBytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ''}`
}

/** A time in UTC to the second. A value outside the range of dates is shown as it is. */
export function timeText(timestampMs: number | null): string {
  if (timestampMs === null || timestampMs < 0) return '-'
  // The latest time of a Date.
  if (timestampMs > 8.64e15) return String(timestampMs)
  return new Date(timestampMs).toISOString().slice(0, -5).replace('T', ' ')
}

/** Rows under a heading, with the first column left-aligned and the others right-aligned. */
export function table(
  heading: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const cells = [heading, ...rows].map((row) =>
    row.map((cell) => (typeof cell === 'number' ? thousands(cell) : cell)),
  )
  const widths = heading.map((_, column) =>
    Math.max(...cells.map((row) => row[column]?.length ?? 0)),
  )
  return cells
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const TERMINAL_INTERVAL_MS = 100
const FILE_INTERVAL_MS = 1000

/** One line of progress: rewritten in place on a terminal, otherwise written once a second. */
export class Progress {
  readonly #output: Writable & { readonly isTTY?: boolean; readonly columns?: number }
  readonly #timer: NodeJS.Timeout
  readonly #describe: () => string
  #isShown = false

  constructor(
    output: Writable & { readonly isTTY?: boolean; readonly columns?: number },
    describe: () => string,
  ) {
    this.#output = output
    this.#describe = describe
    const intervalMs = output.isTTY === true ? TERMINAL_INTERVAL_MS : FILE_INTERVAL_MS
    this.#timer = setInterval(() => {
      this.#show()
    }, intervalMs)
    this.#timer.unref()
  }

  /** Clears the line for other output. */
  giveWay(): void {
    if (this.#isShown) this.#output.write('\r\u001b[2K')
    this.#isShown = false
  }

  stop(): void {
    clearInterval(this.#timer)
    this.giveWay()
  }

  #show(): void {
    if (this.#output.isTTY !== true) {
      this.#output.write(`${this.#describe()}\n`)
      return
    }
    this.giveWay()
    // A terminal that does not know its width reports 0.
    const columns = this.#output.columns ?? 0
    this.#output.write(this.#describe().slice(0, (columns > 1 ? columns : 80) - 1))
    this.#isShown = true
  }
}
