import { types } from 'node:util'
import { reasonOf } from '../checks.ts'
import { rejecting, type Settle } from '../broker/settled-later.ts'

/** Where a record has come to lie. */
export interface RecordMetadata {
  readonly topic: string
  readonly partition: number
  /** -1 with `acks: 0`, where nobody waits to learn it. */
  readonly offset: number
  /** The record's own, or where the topic says so the time of the append. */
  readonly timestamp: number
}

/** Told once what became of a record: either `error` or `metadata` is not null. */
export type SendCallback = (error: Error | null, metadata: RecordMetadata | null) => void

/** The partition that a record was sent to: it is there as long as its queue, and made for no record. */
export interface SentTo {
  readonly topic: string
  readonly index: number
}

/** Whoever waits for the records of a call. One of its methods is called for each, once. */
export interface SendCompletion {
  /** @param slot the record's number in the call */
  succeed(to: SentTo, offset: number, timestamp: number, slot: number): void
  fail(error: Error, slot: number): void
}

/**
 * Whoever waits, or what settles his promise. There is one for every send that is under way, so nothing is
 * made around that: what is alive when memory is collected costs more than the sends themselves.
 */
export type Completion = SendCompletion | Settle<RecordMetadata>

/** Tells who waits where his record is. */
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

/** Tells who waits that his record failed. */
export function tellFailure(completion: Completion, error: Error, slot: number): void {
  if (typeof completion === 'function') completion(rejecting(error))
  else completion.fail(error, slot)
}

/** What a caller gets of a record. */
export function metadataOf(to: SentTo, offset: number, timestamp: number): RecordMetadata {
  return { topic: to.topic, partition: to.index, offset, timestamp }
}

/**
 * Lets a callback know. What the callback throws, at once or by the promise of an async function, must
 * not keep the records behind it from being settled, nor end the process, and there is nobody else to
 * tell. So it is dropped, but for the first, which is a warning of the process: a callback that throws
 * does so for each record, as a rule.
 */
export class CallbackCompletion implements SendCompletion {
  /** The type lets functions pass that return something. */
  readonly #callback: (...args: Parameters<SendCallback>) => unknown

  constructor(callback: SendCallback) {
    this.#callback = callback
  }

  succeed(to: SentTo, offset: number, timestamp: number): void {
    this.#call(null, metadataOf(to, offset, timestamp))
  }

  /** @param error may be anything where a partitioner has thrown it; a callback tells failures by it. */
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
  process.emitWarning('the callback of a send has thrown; what others throw is not told any more', {
    type: 'VarveWarning',
    detail: traceOf(error),
  })
}

/** Where it was thrown. Anything can be thrown, so this never throws, whatever it is. */
function traceOf(thrown: unknown): string {
  try {
    const trace: unknown = types.isNativeError(thrown) ? thrown.stack : null
    if (typeof trace === 'string') return trace
  } catch {
    // What says nothing is described.
  }
  return reasonOf(thrown)
}
