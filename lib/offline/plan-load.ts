import type { Broker, Consumer, Partition } from '../index.ts'
import {
  checkOneOf,
  checkOptions,
  checkWholeNumber,
  describeValue,
  isPlainObject,
  oneOf,
  wholeNumber,
  type Checks,
  type Given,
} from '../checks.ts'
import { checkBroker } from './arguments.ts'
import { reasonInLoad, RecordsGoneError } from './load-errors.ts'
import { checkLoadName, LoadPlan, type LoadStart } from './load-plan.ts'
import type { LoadTask } from './load-task.ts'
import { checkSplitBy, splitRange, type SplitBy } from './split-range.ts'

/** Options of {@link planLoad}. */
export interface PlanLoadOptions {
  /**
   * The group under which the load's offsets are committed. Use a separate name for each
   * destination.
   *
   * @defaultValue `'varve-load'`
   */
  readonly name?: string | undefined
  /** At least one topic. */
  readonly topics: readonly string[]
  /**
   * Where to start: at the load's committed offset, or at the first record if it has none
   * (`'committed'`); at the first record (`'earliest'`); at the same offset in every partition; or
   * at the first record whose timestamp is at least the given one, in milliseconds since the epoch.
   *
   * @defaultValue `'committed'`
   */
  readonly from?: 'committed' | 'earliest' | number | { readonly timestamp: number } | undefined
  /**
   * Where to end, exclusive: at the high watermark at the time of the call (`'end'`); at the same
   * offset in every partition, which must not be below an offset `from`; or before the first record
   * whose timestamp is at least the given one.
   *
   * @defaultValue `'end'`
   */
  readonly until?: 'end' | number | { readonly timestamp: number } | undefined
  /** @defaultValue `'partition'` */
  readonly splitBy?: SplitBy | undefined
  /**
   * What to do if records after the load's committed offset were deleted before they were loaded:
   * refuse to plan, or start at the first remaining record. @defaultValue `'fail'`
   */
  readonly whenGone?: 'fail' | 'skip' | undefined
}

type From = NonNullable<PlanLoadOptions['from']>
type Until = NonNullable<PlanLoadOptions['until']>

const PLAN_OPTIONS: Checks<PlanLoadOptions> = {
  name: checkLoadName,
  topics: checkTopics,
  from: placeOr('committed', 'earliest'),
  until: placeOr('end'),
  splitBy: checkSplitBy,
  whenGone: oneOf('fail', 'skip'),
}

/** The name of a load that has no other. */
export const DEFAULT_LOAD_NAME = 'varve-load'

/**
 * Checks everything about the options of a plan that does not depend on the topics.
 *
 * @throws TypeError or RangeError; `InvalidGroupIdError`
 */
export function checkPlanOptions(options: PlanLoadOptions): Given<PlanLoadOptions> {
  const checked = checkOptions('plan options', options, PLAN_OPTIONS)
  const { topics, from, until } = checked as Partial<Given<PlanLoadOptions>>
  if (topics === undefined) throw new TypeError('topics must be an array of names, got undefined')
  if (typeof from === 'number' && typeof until === 'number' && from > until) {
    throw new RangeError(`from must be at most until, which is ${until}, got ${from}`)
  }
  return checked
}

/**
 * Plans a load: which records of which partitions to load, split into tasks. It loads nothing and
 * commits nothing. A partition whose range is empty gets no task. The broker may be read-only.
 * It then first looks for what the owner of the directory has appended and, if the load starts there,
 * committed.
 *
 * @throws TypeError or RangeError for invalid options, and for an offset that a partition does not
 * hold.
 * @throws `InvalidGroupIdError` or `InvalidTopicError` for a name that no group or topic can have.
 * @throws `UnknownTopicOrPartitionError` if one of the topics does not exist.
 * @throws `StorageError` if a search fails, or a look of a read-only broker.
 * @throws {@link RecordsGoneError} if records after the load's committed offset have been deleted,
 * unless `whenGone` is `'skip'`.
 */
export async function planLoad(broker: Broker, options: PlanLoadOptions): Promise<LoadPlan> {
  checkBroker('broker', broker)
  const checked = checkPlanOptions(options)
  const { name = DEFAULT_LOAD_NAME, from = 'committed', until = 'end', topics } = checked
  const { splitBy = 'partition', whenGone = 'fail' } = checked
  const consumer = broker.consumer({ groupId: name, enableAutoCommit: false })
  const tasks: LoadTask[] = []
  const begins: LoadStart[] = []
  try {
    for (const place of await placesNow(broker, topics, from)) {
      const { topic, index: partition, log } = place.partition
      const endOffset = await endOf(place, until)
      const startOffset = await startOf(place, from, { consumer, whenGone })
      if (startOffset >= endOffset) {
        const isNew =
          from === 'committed' && (await consumer.committed({ topic, partition })) === null
        if (isNew) begins.push({ topic, partition, startOffset })
        continue
      }
      for (const range of splitRange({ startOffset, endOffset }, splitBy, log.segments)) {
        tasks.push({ topic, partition, ...range })
      }
    }
  } catch (error) {
    throw reasonInLoad(broker, error)
  } finally {
    await consumer.close()
  }
  return new LoadPlan(broker, { name, resumes: from === 'committed', tasks, begins })
}

/** A partition with the range that it had at the call. */
interface PlanPlace {
  readonly partition: Partition
  readonly startAtCall: number
  readonly endAtCall: number
}

/** All ends are taken at the call, as later appends to one partition may depend on those to another. */
async function placesNow(
  broker: Broker,
  topics: readonly string[],
  from: From,
): Promise<PlanPlace[]> {
  const partitions = topics.flatMap((topic) => broker.topic(topic).partitions)
  const { readOnly } = broker.describe()
  // The last look at what the owner of the directory has appended may be long ago.
  if (readOnly) await Promise.all(partitions.map((each) => each.refresh()))
  const places = partitions.map((partition) => {
    const { logStartOffset: startAtCall, highWatermark: endAtCall } = partition
    return { partition, startAtCall, endAtCall }
  })
  if (readOnly) {
    // Only now: what has been loaded is committed before it is deleted.
    if (from === 'committed') await broker.followOffsets()
    for (const each of partitions) each.ensureOpen()
  }
  return places
}

async function startOf(
  place: PlanPlace,
  from: From,
  { consumer, whenGone }: { consumer: Consumer; whenGone: 'fail' | 'skip' },
): Promise<number> {
  const { partition, startAtCall, endAtCall } = place
  const { topic, index } = partition
  if (from === 'earliest') return partition.logStartOffset
  if (typeof from === 'number') return checkOffset(place, 'from', from)
  if (typeof from === 'object') {
    return (await partition.offsetForTimestamp(from.timestamp)) ?? endAtCall
  }
  const committed = (await consumer.committed({ topic, partition: index }))?.offset
  if (committed === undefined) return partition.logStartOffset
  if (committed < startAtCall && whenGone === 'fail') {
    const gone = { startOffset: committed, endOffset: startAtCall }
    throw new RecordsGoneError({ topic, partition: index, ...gone })
  }
  // What is deleted after the call is noticed by the load, if it may not be skipped.
  return Math.max(committed, whenGone === 'skip' ? partition.logStartOffset : startAtCall)
}

async function endOf(place: PlanPlace, until: Until): Promise<number> {
  const { partition, endAtCall } = place
  if (until === 'end') return endAtCall
  if (typeof until === 'number') return checkOffset(place, 'until', until)
  const found = await partition.offsetForTimestamp(until.timestamp)
  // The first record that is young enough may have been appended after the call.
  return Math.min(found ?? endAtCall, endAtCall)
}

function checkOffset({ partition, endAtCall }: PlanPlace, name: string, offset: number): number {
  const { topic, index, logStartOffset } = partition
  if (offset >= logStartOffset && offset <= endAtCall) return offset
  throw new RangeError(
    `${name} must be from ${logStartOffset} to ${endAtCall}, ` +
      `the range of ${topic}-${index}, got ${offset}`,
  )
}

function checkTopics(name: string, value: unknown): void {
  if (!Array.isArray(value)) {
    throw new TypeError(`${name} must be an array of names, got ${describeValue(value)}`)
  }
  if (value.length === 0) throw new RangeError(`${name} must have at least one name, got none`)
  const topics: readonly unknown[] = value
  for (const [index, topic] of topics.entries()) {
    if (typeof topic !== 'string') {
      throw new TypeError(`${name}[${index}] must be a name, got ${describeValue(topic)}`)
    }
    if (topics.indexOf(topic) !== index) throw new TypeError(`${name} has '${topic}' twice`)
  }
}

/** The check for the name of a position, an offset, or a timestamp. */
function placeOr(...names: readonly string[]) {
  return (name: string, value: unknown): void => {
    if (typeof value === 'number') checkWholeNumber(name, value, 0, Number.MAX_SAFE_INTEGER)
    else if (isPlainObject(value)) {
      const { timestamp } = checkOptions(name, value as { timestamp: number }, {
        timestamp: wholeNumber(0),
      }) as { timestamp?: number }
      if (timestamp === undefined) throw new TypeError(`${name} must have a timestamp`)
    } else if (typeof value === 'string') checkOneOf(name, value, names)
    else {
      const known = names.map((each) => `'${each}'`).join(', ')
      throw new TypeError(
        `${name} must be ${known}, an offset or { timestamp }, got ${describeValue(value)}`,
      )
    }
  }
}
