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

/** Options of {@link Partition.records} for iterating in offset order, waiting for new records. */
export interface ForwardRecordsOptions {
  /** Not set, or false: offset order. @defaultValue false */
  readonly reverse?: false | undefined
  /**
   * First offset, in [`logStartOffset`, `logEndOffset`]; at the end the iteration waits for new
   * records. `'earliest'` is the first record at the start of the iteration. `'latest'` is the high
   * watermark at the time of the call or, if another process writes, at the start of the iteration.
   * @defaultValue `'earliest'`
   */
  readonly from?: number | 'earliest' | 'latest' | undefined
  /**
   * Exclusive end, at least `from`; the iteration waits for records that are not there yet. `'end'`
   * is the high watermark at the same time as `'latest'`; if damage ends the log there, the
   * iteration rejects with it after the last record. Absent: the iteration never ends.
   */
  readonly until?: number | 'end' | undefined
  /** Ends the iteration, which rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Options of {@link Partition.records} for iterating from the last record to the first, without
 * waiting.
 */
export interface ReverseRecordsOptions {
  readonly reverse: true
  /**
   * Lowest offset, in [`logStartOffset`, `logEndOffset`]. `'earliest'` is the first record at the
   * start of the iteration.
   * @defaultValue `'earliest'`
   */
  readonly from?: number | 'earliest' | undefined
  /**
   * Exclusive end, at least `from`. Records that are not visible at the time of the call or, if
   * another process writes, at the start of the iteration are left out; `'end'` covers all visible
   * ones. If damage ends the log below it, the iteration rejects at once.
   * @defaultValue `'end'`
   */
  readonly until?: number | 'end' | undefined
  /** Ends the iteration, which rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Options of {@link Partition.records}: which records to iterate over, and in which order. */
export type RecordsOptions = ForwardRecordsOptions | ReverseRecordsOptions

const RECORDS_OPTIONS: Checks<AnyRecordsOptions> = {
  reverse: boolean,
  from: offsetOr('earliest', 'latest'),
  until: offsetOr('end'),
  signal: abortSignal,
}

/** Both kinds of {@link RecordsOptions}, before it is known which kind was passed. */
interface AnyRecordsOptions extends Omit<ForwardRecordsOptions, 'reverse'> {
  readonly reverse?: boolean | undefined
}

/** Checks the options at once and returns the iterator; see `Partition.records`. */
export function recordsOf(
  clock: Clock,
  partition: Partition,
  options: RecordsOptions,
): AsyncGenerator<StoredRecord, void, undefined> {
  const checked = checkOptions<AnyRecordsOptions>('records options', options, RECORDS_OPTIONS)
  const { reverse = false, from = 'earliest', until, signal } = checked
  if (typeof from === 'number' && typeof until === 'number' && until < from) {
    throw new RangeError(`until must be at least from (${from}), got ${until}`)
  }
  const { highWatermark: visibleEnd } = partition
  if (reverse) {
    if (from === 'latest') {
      throw new RangeError("with reverse, from must be an offset or 'earliest', got 'latest'")
    }
    const range = { from, until: until ?? 'end', visibleEnd, signal }
    return new PartitionIterator(new BackwardSource(partition, range), signal)
  }
  const range = { from, until: until ?? Number.MAX_SAFE_INTEGER, visibleEnd, signal }
  return new PartitionIterator(new ForwardSource(clock, partition, range), signal)
}

/** The check for an offset or one of the given names. */
function offsetOr(...names: readonly string[]): Check {
  return (name, value) => {
    if (typeof value === 'number') checkWholeNumber(name, value, 0, Number.MAX_SAFE_INTEGER)
    else checkOneOf(name, value, names)
  }
}
