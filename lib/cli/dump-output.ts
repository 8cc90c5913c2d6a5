import type { CommandStreams } from './command.ts'
import { LineWriter } from './line-writer.ts'
import { printable } from './report.ts'

/** Writes records until no more are wanted. */
export class DumpOutput {
  readonly #writer: LineWriter
  readonly #stderr: CommandStreams['stderr']
  readonly #stop: AbortController
  #restCount: number
  #hasFailed = false

  /** @param stop is also aborted once `limit` records are written, or nobody reads them. */
  constructor({ stdout, stderr }: CommandStreams, limit: number, stop: AbortController) {
    this.#writer = new LineWriter(stdout, stop.signal)
    this.#stderr = stderr
    this.#restCount = limit
    this.#stop = stop
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Whether the dump was stopped, by Ctrl-C or because of {@link DumpOutput.isDone}. */
  get isStopped(): boolean {
    return this.#stop.signal.aborted
  }

  /** Whether all wanted records are written, or nobody reads them any more. */
  get isDone(): boolean {
    return this.#restCount <= 0 || this.#writer.isAbandoned
  }

  async write(line: string): Promise<void> {
    if (this.isStopped || this.#restCount <= 0) return
    this.#restCount -= 1
    await this.#writer.write(line)
    if (this.isDone) this.#stop.abort()
  }

  /** Whether some existing records could not be written. */
  get hasFailed(): boolean {
    return this.#hasFailed
  }

  fail(error: Error): void {
    this.#hasFailed = true
    this.tell(error.message)
  }

  /** Reports what is left out. */
  tell(what: string): void {
    this.#stderr.write(`varve: ${printable(what)}\n`)
  }
}
