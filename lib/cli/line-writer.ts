import type { Writable } from 'node:stream'

/** Writes lines, no faster than the reader takes them. */
export class LineWriter {
  readonly #output: Writable
  readonly #signal: AbortSignal
  /** Shared by all waiting calls, as otherwise each would listen to the output. */
  #waiting: Promise<void> | null = null

  /** @param signal ends every wait. */
  constructor(output: Writable, signal: AbortSignal) {
    this.#output = output
    this.#signal = signal
  }

  /** Whether nobody reads any more, as with `| head`. */
  get isAbandoned(): boolean {
    return this.#output.destroyed || this.#output.errored !== null
  }

  /** @returns what the next line must wait for, `null` for nothing. Never rejects. */
  write(line: string): Promise<void> | null {
    if (this.#output.write(`${line}\n`)) return null
    this.#waiting ??= this.#untilTaken().finally(() => {
      this.#waiting = null
    })
    return this.#waiting
  }

  #untilTaken(): Promise<void> {
    return new Promise((resolve) => {
      const events = ['drain', 'close', 'error']
      const end = (): void => {
        for (const event of events) this.#output.removeListener(event, end)
        this.#signal.removeEventListener('abort', end)
        resolve()
      }
      for (const event of events) this.#output.on(event, end)
      this.#signal.addEventListener('abort', end)
      if (this.isAbandoned || this.#signal.aborted) end()
    })
  }
}
