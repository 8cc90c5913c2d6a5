import type { CommandStreams } from './command.ts'
import { LineWriter } from './line-writer.ts'
import { printable } from './report.ts'

/** Takes records until nobody wants more. */
export class DumpOutput {
  readonly #writer: LineWriter
  readonly #stderr: CommandStreams['stderr']
  readonly #stop: AbortController
  #restCount: number
  #hasFailed = false

  /** @param stop is aborted, too, when as many as `limit` were written. */
  constructor({ stdout, stderr }: CommandStreams, limit: number, stop: AbortController) {
    this.#writer = new LineWriter(stdout, stop.signal)
    this.#stderr = stderr
    this.#restCount = limit
    this.#stop = stop
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Also by {@link DumpOutput.isDone}. */
  get isStopped(): boolean {
    return this.#stop.signal.aborted
  }

  /** Whether as many were written as are wanted, or nobody reads them any more. */
  get isDone(): boolean {
    return this.#restCount <= 0 || this.#writer.isAbandoned
  }

  async write(line: string): Promise<void> {
    if (this.isStopped || this.#restCount <= 0) return
    this.#restCount -= 1
    await this.#writer.write(line)
    if (this.isDone) this.#stop.abort()
  }

  /** Whether something could not be written that is there. */
  get hasFailed(): boolean {
    return this.#hasFailed
  }

  fail(error: Error): void {
    this.#hasFailed = true
    this.tell(error.message)
  }

  /** Says what is left out. */
  tell(what: string): void {
    this.#stderr.write(`varve: ${printable(what)}\n`)
  }
}
