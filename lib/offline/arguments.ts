import { checkWholeNumber, describeValue, objectWith, reasonOf, type Check } from '../checks.ts'
import type { TopicPartition } from '../index.ts'
import type { OffsetRange } from './load-task.ts'
import type { TaskResult } from './sink.ts'

/** @throws TypeError if the value is not text, or empty. */
export function nonEmptyString(name: string, value: unknown): asserts value is string {
  if (typeof value === 'string' && value !== '') return
  throw new TypeError(`${name} must be a non-empty string, got ${describeValue(value)}`)
}

/** Checks for the methods of a broker that loads and imports need. */
export const checkBroker: Check = objectWith('topic', 'consumer', 'describe')

/** Checks for the methods of a producer that streams need. */
export const checkProducer: Check = objectWith('send', 'sendBatch')

/** Checks for the methods of a sink. */
export const checkSink: Check = objectWith('published', 'open')

/** Checks a list of partitions. @throws TypeError or RangeError if it is something else */
export function checkPartitions(value: unknown): TopicPartition[] {
  if (!Array.isArray(value)) {
    const got = describeValue(value)
    throw new TypeError(`partitions must be an array of { topic, partition }, got ${got}`)
  }
  return Array.from(value as unknown[], (each) => {
    const { topic, partition } = (each ?? {}) as Partial<TopicPartition>
    if (typeof topic !== 'string') {
      throw new TypeError(`a partition must be { topic, partition }, got ${describeValue(each)}`)
    }
    return { topic, partition: checkWholeNumber('partition', partition, 0, 0x7fff_ffff) }
  })
}

/** A sink returned an invalid result. It would do so again, so a retry is useless. */
export class SinkMisuse extends TypeError {
  override readonly name = 'TypeError'
}

/** @throws {@link SinkMisuse} with the reason of what `check` throws */
function ofSink<T>(check: () => T): T {
  try {
    return check()
  } catch (error) {
    throw new SinkMisuse(reasonOf(error), { cause: error })
  }
}

const isWriter: Check = objectWith('write', 'commit', 'abort')

/** Checks what a sink returns for a task. @throws {@link SinkMisuse} */
export function checkWriter(name: string, writer: unknown): void {
  ofSink(() => {
    isWriter(name, writer)
  })
}

/**
 * Checks the ranges that a sink reports. The sink may be third-party code, and wrong ranges would
 * cause records to be loaded twice or not at all.
 *
 * @throws {@link SinkMisuse}
 */
export function checkPublished(published: unknown): readonly OffsetRange[] {
  return ofSink(() => rangesOf(published))
}

function rangesOf(published: unknown): readonly OffsetRange[] {
  if (!Array.isArray(published)) {
    const got = describeValue(published)
    throw new TypeError(
      `published() of a sink must return an array of { startOffset, endOffset }, got ${got}`,
    )
  }
  return Array.from(published as unknown[], (range) => {
    if (typeof range !== 'object' || range === null) {
      const got = describeValue(range)
      throw new TypeError(`a published range must be { startOffset, endOffset }, got ${got}`)
    }
    const { startOffset, endOffset } = range as Partial<OffsetRange>
    const most = Number.MAX_SAFE_INTEGER
    const start = checkWholeNumber('startOffset of a published range', startOffset, 0, most)
    const end = checkWholeNumber('endOffset of a published range', endOffset, start, most)
    return { startOffset: start, endOffset: end }
  })
}

/** Checks the result that a sink returns for a task. @throws {@link SinkMisuse} */
export function checkTaskResult(result: unknown): TaskResult {
  return ofSink(() => countsOf(result))
}

function countsOf(result: unknown): TaskResult {
  if (typeof result !== 'object' || result === null) {
    const got = describeValue(result)
    throw new TypeError(`commit() of a sink must return { records, rejected, bytes }, got ${got}`)
  }
  const { records, rejected, bytes } = result as Partial<TaskResult>
  const count = (name: string, value: unknown): number =>
    checkWholeNumber(`${name} of a committed task`, value, 0, Number.MAX_SAFE_INTEGER)
  return {
    records: count('records', records),
    rejected: count('rejected', rejected),
    bytes: count('bytes', bytes),
  }
}
