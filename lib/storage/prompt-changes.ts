import type { AppendResult } from './append-record.ts'
import type { LogWriter } from './log-writer.ts'
import type { SerialQueue } from './serial-queue.ts'

/**
 * Changes of a log that are made inside of the call where nothing has to be waited for, and in their
 * turn otherwise: a promise for each step of an append costs more than the append.
 */
export class PromptChanges {
  readonly #queue: SerialQueue
  readonly #writer: LogWriter

  constructor(queue: SerialQueue, writer: LogWriter) {
    this.#queue = queue
    this.#writer = writer
  }

  /** See `Log.appendBatches`. Never throws. */
  appendBatches(
    batches: readonly Buffer[],
    expectedOffset?: number,
    hasKeyless?: boolean,
  ): AppendResult | Promise<AppendResult> {
    const appended = this.#queue.isIdle ? this.#writer.appendNow(batches, expectedOffset) : null
    if (appended === null)
      return this.#queue.run(() => this.#writer.append(batches, expectedOffset, hasKeyless))
    // Nothing may come in between before the rest is written, or what a failed write has left is gone.
    return appended instanceof Promise ? this.#queue.run(() => appended) : appended
  }

  /** See `LogWriter.noteAcknowledged`. */
  noteAcknowledged(endOffset: number): void {
    this.#writer.noteAcknowledged(endOffset)
  }

  /** See `Log.flush`. Never throws. @returns `null` when it is done */
  flush(): Promise<void> | null {
    const flushed = this.#queue.isIdle && this.#writer.flushNow()
    if (flushed === true) return null
    return this.#queue.run(() => (flushed === false ? this.#writer.flush() : flushed))
  }
}
