import { VarveError, type AppendOutcome } from './varve-error.ts'

/** Something did not happen within its time limit. */
export class TimeoutError extends VarveError {
  override readonly name = 'TimeoutError'
  readonly code = 'TIMEOUT'
  readonly outcome: AppendOutcome

  constructor(message: string, outcome: AppendOutcome = 'not-written') {
    super(message)
    this.outcome = outcome
  }
}

/** `bufferMemory` stayed full for `maxBlockMs`: the disk is slower than the producer. */
export class BufferExhaustedError extends VarveError {
  override readonly name = 'BufferExhaustedError'
  readonly code = 'BUFFER_EXHAUSTED'
  readonly outcome: AppendOutcome = 'not-written'
}

/** The object, or the broker it belongs to, is closed. */
export class ClosedError extends VarveError {
  override readonly name = 'ClosedError'
  readonly code = 'CLOSED'
  /** Only of appends: what became of the bytes. */
  readonly outcome: AppendOutcome

  constructor(message: string, outcome: AppendOutcome = 'not-written') {
    super(message)
    this.outcome = outcome
  }
}

/** The call does not fit the object's state, such as `poll` without a subscription. */
export class IllegalStateError extends VarveError {
  override readonly name = 'IllegalStateError'
  readonly code = 'ILLEGAL_STATE'
}

/** `consumer.wakeup()` interrupted the call. Nothing is lost: poll again. */
export class WakeupError extends VarveError {
  override readonly name = 'WakeupError'
  readonly code = 'WAKEUP'

  constructor() {
    super('the call was interrupted by wakeup()')
  }
}
