import type { Writable } from 'node:stream'

/** Writes lines, no faster than who reads them takes them. */
export class LineWriter {
  readonly #output: Writable

  constructor(output: Writable) {
    this.#output = output
  }

  /** Whether nobody reads any more, as behind `| head`. */
  get isAbandoned(): boolean {
    return this.#output.destroyed || this.#output.errored !== null
  }

  /** @returns what the next line has to wait for, `null` for nothing. Never rejects. */
  write(line: string): Promise<void> | null {
    if (this.#output.write(`${line}\n`)) return null
    return new Promise((resolve) => {
      const events = ['drain', 'close', 'error']
      const end = (): void => {
        for (const event of events) this.#output.removeListener(event, end)
        resolve()
      }
      for (const event of events) this.#output.on(event, end)
      if (this.isAbandoned) end()
    })
  }
}
