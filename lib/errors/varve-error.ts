/**
 * What is known about the bytes of a failed append. Errors without an outcome occur before anything
 * is written.
 *
 * - `not-written`: none of the append is in the log. It can be sent again without creating
 *   duplicates.
 * - `unknown`: the next open may or may not find it in the log. If it was given up while it was being
 *   written, it may appear before that.
 */
export type AppendOutcome = 'not-written' | 'unknown'

/**
 * Base class of every error that a correct program may have to handle.
 *
 * Some errors are passed on unchanged instead: errors thrown by callbacks, the reasons of abort
 * signals, and the AggregateError of a close in which several clients fail. If the disk is among
 * the failures of a close, a `StorageError` has that AggregateError as its cause.
 *
 * `code` is stable within a major version, messages are not. Misuse (a wrong type, a value out of
 * range) throws a plain `TypeError` or `RangeError` without a code, because it should not be
 * caught.
 */
export abstract class VarveError extends Error {
  abstract readonly code: string
}
