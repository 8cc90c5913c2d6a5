import { VarveError, type AppendOutcome } from './varve-error.ts'

/** An operation did not complete within its time limit. */
export class TimeoutError extends VarveError {
  override readonly name = 'TimeoutError'
  readonly code = 'TIMEOUT'
  readonly outcome: AppendOutcome

  constructor(message: string, outcome: AppendOutcome = 'not-written') {
    super(message)
    this.outcome = outcome
  }
}

/**
 * `bufferMemory` stayed full for `maxBlockMs`: records are sent faster than the disk writes them.
 */
export class BufferExhaustedError extends VarveError {
  override readonly name = 'BufferExhaustedError'
  readonly code = 'BUFFER_EXHAUSTED'
  readonly outcome: AppendOutcome = 'not-written'
}

/** The object, or the broker it belongs to, is closed. */
export class ClosedError extends VarveError {
  override readonly name = 'ClosedError'
  readonly code = 'CLOSED'
  /** What happened to the bytes. Meaningful for appends only. */
  readonly outcome: AppendOutcome

  constructor(message: string, outcome: AppendOutcome = 'not-written') {
    super(message)
    this.outcome = outcome
  }
}

/** The object's state does not allow the call, such as `poll` without a subscription. */
export class IllegalStateError extends VarveError {
  override readonly name = 'IllegalStateError'
  readonly code = 'ILLEGAL_STATE'
}

/** `consumer.wakeup()` interrupted the call. No record is lost: poll again. */
export class WakeupError extends VarveError {
  override readonly name = 'WakeupError'
  readonly code = 'WAKEUP'

  constructor() {
    super('the call was interrupted by wakeup()')
  }
}
