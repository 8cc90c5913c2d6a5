import {
  abortSignal,
  boolean,
  checkOneOf,
  checkOptions,
  checkWholeNumber,
  type Check,
  type Checks,
} from '../checks.ts'
import type { Clock } from '../platform/clock.ts'
import type { StoredRecord } from '../record/decode.ts'
import { BackwardSource } from './backward-source.ts'
import { ForwardSource } from './forward-source.ts'
import type { Partition } from './partition.ts'
import { PartitionIterator } from './partition-iterator.ts'
import { DEFAULT_MAX_BYTES, DEFAULT_MAX_WAIT_MS } from './partition-reads.ts'

/** Which records {@link Partition.records} goes through in offset order, waiting for those to come. */
export interface ForwardRecordsOptions {
  /** @defaultValue false */
  readonly reverse?: false
  /**
   * In [`logStartOffset`, `logEndOffset`]: at the end it waits for what comes. `'earliest'` is the
   * first record by the time the iteration begins, `'latest'` the high watermark at the time of the
   * call, or where another process writes when the iteration begins. @defaultValue `'earliest'`
   */
  readonly from?: number | 'earliest' | 'latest'
  /**
   * Exclusive, at least `from`; it waits for records that are not there yet. `'end'` is the high
   * watermark at the same time as `'latest'`. Absent: goes on for ever.
   */
  readonly until?: number | 'end'
  /** Ends the iteration, which rejects with its reason. */
  readonly signal?: AbortSignal
}

/** Which records {@link Partition.records} goes through from the last one to the first, never waiting. */
export interface ReverseRecordsOptions {
  readonly reverse: true
  /**
   * The lowest offset, in [`logStartOffset`, `logEndOffset`]. `'earliest'` is the first record by the
   * time the iteration begins. @defaultValue `'earliest'`
   */
  readonly from?: number | 'earliest'
  /**
   * Exclusive, at least `from`. What is not visible at the time of the call, or where another process
   * writes when the iteration begins, is left out; `'end'` is all that is. @defaultValue `'end'`
   */
  readonly until?: number | 'end'
  /** Ends the iteration, which rejects with its reason. */
  readonly signal?: AbortSignal
}

/** Which records {@link Partition.records} goes through, and in which order. */
export type RecordsOptions = ForwardRecordsOptions | ReverseRecordsOptions

const RECORDS_OPTIONS: Checks<AnyRecordsOptions> = {
  reverse: boolean,
  from: offsetOr('earliest', 'latest'),
  until: offsetOr('end'),
  signal: abortSignal,
}

/** Both kinds of {@link RecordsOptions}, before it is known which one it is. */
interface AnyRecordsOptions extends Omit<ForwardRecordsOptions, 'reverse'> {
  readonly reverse?: boolean
}

/** Checks the options at the call, and goes through the records; see `Partition.records`. */
export function recordsOf(
  clock: Clock,
  partition: Partition,
  options: RecordsOptions,
): AsyncGenerator<StoredRecord, void, undefined> {
  const checked = checkOptions<AnyRecordsOptions>('records options', options, RECORDS_OPTIONS)
  const { reverse = false, from = 'earliest', until, signal } = checked
  if (typeof from === 'number' && typeof until === 'number' && until < from) {
    throw new RangeError(`until must be at least from, ${from}, got ${until}`)
  }
  const { highWatermark: visibleEnd } = partition
  if (reverse) {
    if (from === 'latest') {
      throw new RangeError("from must be an offset or 'earliest' with reverse, got 'latest'")
    }
    const range = { from, until: until ?? 'end', visibleEnd, signal }
    return new PartitionIterator(new BackwardSource(partition, range), signal)
  }
  const source = new ForwardSource(clock, partition, {
    ...{ from, until: until ?? Number.MAX_SAFE_INTEGER, visibleEnd },
    maxBytes: DEFAULT_MAX_BYTES,
    maxWaitMs: DEFAULT_MAX_WAIT_MS,
    signal,
  })
  return new PartitionIterator(source, signal)
}

/** The check for an offset, or for a name of one. */
function offsetOr(...names: readonly string[]): Check {
  return (name, value) => {
    if (typeof value === 'number') checkWholeNumber(name, value, 0, Number.MAX_SAFE_INTEGER)
    else checkOneOf(name, value, names)
  }
}
