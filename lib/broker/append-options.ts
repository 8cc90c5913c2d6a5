import { oneOf, wholeNumber, type Checks } from '../checks.ts'
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
}

/** What `Partition.append` may be told. */
export const APPEND_OPTIONS: Checks<AppendOptions> = {
  acks: oneOf(...ACKS),
  expectedOffset: wholeNumber(0),
}
