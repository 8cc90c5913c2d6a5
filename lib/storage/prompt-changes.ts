import type { AppendResult } from './append-record.ts'
import type { LogWriter } from './log-writer.ts'
import type { SerialQueue } from './serial-queue.ts'

/**
 * Makes changes of a log synchronously if nothing has to be waited for, and in their turn
 * otherwise. A promise for each step of an append would cost more than the append.
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
    // No other change may run before the rest is written, or the failed write is taken back.
    return appended instanceof Promise ? this.#queue.run(() => appended) : appended
  }

  /** See `LogWriter.noteAcknowledged`. */
  noteAcknowledged(endOffset: number): void {
    this.#writer.noteAcknowledged(endOffset)
  }

  /** See `Log.flush`. Never throws. @returns `null` if it is already done */
  flush(): Promise<void> | null {
    const flushed = this.#queue.isIdle && this.#writer.flushNow()
    if (flushed === true) return null
    return this.#queue.run(() => (flushed === false ? this.#writer.flush() : flushed))
  }
}
