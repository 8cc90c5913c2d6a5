/**
 * What is known about the bytes of an append that failed. An error without it comes before anything is written.
 *
 * - `not-written`: nothing of it is in the log; it may be sent again without creating a duplicate.
 * - `unknown`: it may or may not be found in the log after the next open.
 */
export type AppendOutcome = 'not-written' | 'unknown'

/**
 * Base of every error of the library that a correct program may have to handle. What callbacks throw, the reasons of
 * signals, and the AggregateError of a close at which several clients fail come as they are; where the disk is among
 * the failures of a close, it is a `StorageError` that has the AggregateError as its cause.
 *
 * `code` is stable within a major version, messages are not. Misuse (a wrong type, a value out of
 * range) is a plain `TypeError` or `RangeError` without a code, because nobody should catch it.
 */
export abstract class VarveError extends Error {
  abstract readonly code: string
}
