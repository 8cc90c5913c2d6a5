import { abortSignal, checkOptions, oneOf, wholeNumber, type Checks } from '../checks.ts'
import { ACKS, type Acks } from './pending-append.ts'

/** How `Partition.append` is acknowledged. */
export interface AppendOptions {
  /**
   * With 0 it resolves as soon as the records are in memory and there is room for more, which is
   * when at most 4 MiB wait to be written; nobody hears of a failure. @defaultValue `'all'`
   */
  readonly acks?: Acks
  /** The append fails unless it would get this offset: nobody else has written in between. */
  readonly expectedOffset?: number
  /**
   * Ends the append with its reason while it waits, be it for others or, with `whenFull: 'wait'`, for
   * room: then nothing of it is stored. What is being written already is told as always.
   */
  readonly signal?: AbortSignal
}

/** {@link AppendOptions} that leave nothing open. */
export interface AppendRequest {
  readonly acks: Acks
  /** `undefined` where any offset will do. */
  readonly expectedOffset: number | undefined
  /** `undefined` where nobody can end it. */
  readonly signal: AbortSignal | undefined
}

/** What is asked for where nothing is said. */
export const APPEND_DEFAULTS: AppendRequest = {
  acks: 'all',
  expectedOffset: undefined,
  signal: undefined,
}

const APPEND_OPTIONS: Checks<AppendOptions> = {
  acks: oneOf(...ACKS),
  expectedOffset: wholeNumber(0),
  signal: abortSignal,
}

/** @throws TypeError or RangeError for options that are not legal */
export function appendRequestOf(options: AppendOptions): AppendRequest {
  const checked = checkOptions('append options', options, APPEND_OPTIONS)
  const { acks = 'all', expectedOffset, signal } = checked
  return { acks, expectedOffset, signal }
}
