import { types } from 'node:util'
import { reasonOf } from '../checks.ts'
import { rejecting, type Settle } from '../broker/settled-later.ts'

/** Where a record was stored. */
export interface RecordMetadata {
  readonly topic: string
  readonly partition: number
  /** -1 with `acks: 0`, because the send does not wait for the offset. */
  readonly offset: number
  /**
   * The record's own timestamp, or the time of the append if the topic is configured so. With
   * `acks: 0` always its own: the send does not wait for the append.
   */
  readonly timestamp: number
}

/** Called once with the result of a send: either `error` or `metadata` is not null. */
export type SendCallback = (error: Error | null, metadata: RecordMetadata | null) => void

/**
 * The partition that a record was sent to. It lives as long as its queue and is not allocated per
 * record.
 */
export interface SentTo {
  readonly topic: string
  readonly index: number
}

/** Receives the results of a call's records. One of its methods is called once for each record. */
export interface SendCompletion {
  /** @param slot the record's index in the call */
  succeed(to: SentTo, offset: number, timestamp: number, slot: number): void
  fail(error: Error, slot: number): void
}

/**
 * A completion, or the function that settles a promise. There is one for every send in flight, so
 * the function is not wrapped in an object: objects that are alive during garbage collection cost
 * more than the sends themselves.
 */
export type Completion = SendCompletion | Settle<RecordMetadata>

/** Reports to `completion` where its record is. */
export function tellPlace(
  completion: Completion,
  to: SentTo,
  offset: number,
  timestamp: number,
  slot: number,
): void {
  if (typeof completion === 'function') completion(metadataOf(to, offset, timestamp))
  else completion.succeed(to, offset, timestamp, slot)
}

/** Reports to `completion` that its record failed. */
export function tellFailure(completion: Completion, error: Error, slot: number): void {
  if (typeof completion === 'function') completion(rejecting(error))
  else completion.fail(error, slot)
}

/** The metadata that a caller receives for a record. */
export function metadataOf(to: SentTo, offset: number, timestamp: number): RecordMetadata {
  return { topic: to.topic, partition: to.index, offset, timestamp }
}

/**
 * Calls a callback with the result. If the callback throws, or returns a promise that rejects, that
 * must neither keep later records from settling nor end the process, and there is no caller to
 * report it to. So such errors are dropped, except that the first one is emitted as a process
 * warning: a callback that throws usually does so for each record.
 */
export class CallbackCompletion implements SendCompletion {
  /** The declared type also admits functions that return something. */
  readonly #callback: (...args: Parameters<SendCallback>) => unknown

  constructor(callback: SendCallback) {
    this.#callback = callback
  }

  succeed(to: SentTo, offset: number, timestamp: number): void {
    this.#call(null, metadataOf(to, offset, timestamp))
  }

  /**
   * @param error may be any value if a partitioner threw it; callbacks recognise a failure by a
   * non-null error
   */
  fail(error: unknown): void {
    this.#call(
      (error as Error | null | undefined) ?? new Error(`${String(error)} was thrown`),
      null,
    )
  }

  #call(error: Error | null, metadata: RecordMetadata | null): void {
    try {
      const returned = this.#callback(error, metadata)
      if (types.isPromise(returned)) returned.catch(warnOnce)
    } catch (error) {
      warnOnce(error)
    }
  }
}

let hasWarned = false

function warnOnce(error: unknown): void {
  if (hasWarned) return
  hasWarned = true
  process.emitWarning('the callback of a send threw an error; further errors are not reported', {
    type: 'VarveWarning',
    detail: traceOf(error),
  })
}

/** The stack trace. Any value can be thrown, so this function itself never throws. */
function traceOf(thrown: unknown): string {
  try {
    const trace: unknown = types.isNativeError(thrown) ? thrown.stack : null
    if (typeof trace === 'string') return trace
  } catch {
    // A value without a usable stack is described instead.
  }
  return reasonOf(thrown)
}
