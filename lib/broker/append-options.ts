import { abortSignal, checkOptions, oneOf, wholeNumber, type Checks } from '../checks.ts'
import { ACKS, type Acks } from './pending-append.ts'

/** Options of {@link Partition.append}. */
export interface AppendOptions {
  /**
   * When the append resolves. With 0 it resolves as soon as the records are in memory and at most 4
   * MiB wait to be written; later failures are not reported.
   * @defaultValue `'all'`
   */
  readonly acks?: Acks | undefined
  /**
   * The offset that the append must get, at least 0. If it is not the end of the partition when the
   * append's turn comes, because somebody else has written in between, the append rejects with an
   * {@link OffsetConflictError}. Not allowed with `acks: 0`, which does not report failures.
   */
  readonly expectedOffset?: number | undefined
  /**
   * Gives the append up while it waits for other appends or, with `whenFull: 'wait'`, for room. It
   * then rejects with the signal's reason and stores nothing. Once its turn has come, even if a sync
   * or a new segment is to come first, it settles as usual.
   */
  readonly signal?: AbortSignal | undefined
}

const APPEND_OPTIONS: Checks<AppendOptions> = {
  acks: oneOf(...ACKS),
  expectedOffset: wholeNumber(0),
  signal: abortSignal,
}

/** @throws TypeError or RangeError for illegal options, or options that exclude each other */
export function checkAppendOptions(options: AppendOptions): AppendOptions {
  const checked = checkOptions('append options', options, APPEND_OPTIONS)
  const { acks, expectedOffset } = checked
  if (acks === 0 && expectedOffset !== undefined) {
    throw new TypeError(`expectedOffset (${expectedOffset}) needs acks 1 or "all", got acks 0`)
  }
  return checked
}
