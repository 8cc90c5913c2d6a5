import { OffsetOutOfRangeError, type Partition, type StoredRecord } from '../index.ts'
import { checkPublished, checkTaskResult, checkWriter } from './arguments.ts'
import { RecordsGoneError } from './load-errors.ts'
import type { LoadTask, OffsetRange } from './load-task.ts'
import type { Sink, TaskResult, TaskWriter } from './sink.ts'

/** Bytes of a partition that are read at once if many offsets are left. */
const READ_BYTES = 256 * 1024
/** If at most this many offsets are left, a read is limited to them, and to 1 MiB. */
const FEW_RECORDS = 500

/** Source of the records of a task. */
export interface LoadPlace {
  readonly topicId: string
  readonly partition: Partition
}

/** Options of {@link loadRange}. */
export interface LoadRangeOptions {
  readonly signal?: AbortSignal | undefined
  /** Called with the next offset after each write. */
  readonly onWritten?: (nextOffset: number) => void
  /** The epoch when the load began: truncation since is an error. @defaultValue the current one */
  readonly leaderEpoch?: number | null
  /** Makes the partition read what another process has written or truncated. */
  readonly refresh?: (() => Promise<void>) | undefined
}

/**
 * The ranges of a partition that the sink holds and that end after the start of a task.
 *
 * @param refresh makes the partition read what its owner has written. If another process owns it,
 * the sink may hold records that this process has not seen yet.
 * @throws {@link OffsetOutOfRangeError} if the sink holds offsets that the log has not reached:
 * they belong to another topic of the same name, or to a log that has lost its end.
 */
export async function publishedBehind(
  task: LoadTask,
  { topicId, partition }: LoadPlace,
  sink: Sink,
  refresh?: () => Promise<void>,
): Promise<readonly OffsetRange[]> {
  const place = { topic: task.topic, partition: task.partition }
  const published = checkPublished(await sink.published({ ...place, topicId }, task.startOffset))
  if (published.some(({ endOffset }) => endOffset > partition.logEndOffset)) await refresh?.()
  const { logStartOffset, logEndOffset } = partition
  for (const { startOffset, endOffset } of published) {
    if (endOffset <= logEndOffset) continue
    throw new OffsetOutOfRangeError(
      { ...place, offset: endOffset, logStartOffset, logEndOffset },
      `the sink holds the records ${startOffset} to ${endOffset} (exclusive) of ` +
        `${task.topic}-${task.partition}, whose log ends at ${logEndOffset}: ` +
        'they are from another topic of the same name, or the log has lost its end',
    )
  }
  return published
}

/**
 * Loads all records of a task into the sink, which has none of them, and commits them there. If
 * that fails, the writer is aborted.
 *
 * @throws {@link RecordsGoneError} if some of the records have been deleted.
 * @throws {@link OffsetOutOfRangeError} if the log does not reach the end of the task, or was
 * truncated below what is already loaded.
 * @throws the errors of the log and the sink; the signal's reason.
 */
export async function loadRange(
  partition: Partition,
  task: LoadTask,
  sink: Sink,
  { signal, onWritten, leaderEpoch, refresh }: LoadRangeOptions,
): Promise<TaskResult> {
  signal?.throwIfAborted()
  // A copy, as the sink may change it.
  const writer = await sink.open({ ...task })
  checkWriter('the result of open() of a sink', writer)
  const epoch = leaderEpoch ?? partition.log.leaderEpoch
  let result: TaskResult
  try {
    let at = task.startOffset
    while (at < task.endOffset) {
      signal?.throwIfAborted()
      const records = await readNext(partition, task, at)
      const last = records.at(-1)
      if (last === undefined) break
      const nextOffset = last.offset + 1
      signal?.throwIfAborted()
      await writer.write(records)
      at = nextOffset
      onWritten?.(at)
    }
    signal?.throwIfAborted()
    await refresh?.()
    signal?.throwIfAborted()
    ensureNotCut(partition, at, epoch)
    result = await writer.commit()
  } catch (error) {
    await letGo(writer)
    throw error
  }
  // Validated after the `try`, as a committed task must not be aborted for an invalid result.
  return checkTaskResult(result)
}

/**
 * Refuses records that were truncated while they were loaded, and a mix of records from before a
 * truncation with those that replaced later ones.
 */
function ensureNotCut(partition: Partition, nextOffset: number, leaderEpoch: number): void {
  const end = partition.log.reader.endOffsetForEpoch(leaderEpoch)
  if (end === null || end >= nextOffset) return
  const { topic, index, logStartOffset, logEndOffset } = partition
  throw new OffsetOutOfRangeError(
    { topic, partition: index, offset: nextOffset, logStartOffset, logEndOffset },
    `the records of ${topic}-${index} from offset ${end} on were truncated while those below ${nextOffset} were loaded`,
  )
}

/** Aborts a writer. An error of `abort` must not hide the earlier one, which the caller needs. */
async function letGo(writer: TaskWriter): Promise<void> {
  try {
    await writer.abort()
  } catch {
    // Uncommitted records do not count.
  }
}

/** The next records of the task from `offset` on; none if there are no more. */
async function readNext(
  partition: Partition,
  task: LoadTask,
  offset: number,
): Promise<readonly StoredRecord[]> {
  const wanted = task.endOffset - offset
  const limits = wanted <= FEW_RECORDS ? { maxRecords: wanted } : { maxBytes: READ_BYTES }
  let records: StoredRecord[]
  try {
    records = await partition.read(offset, limits)
  } catch (error) {
    const { logStartOffset } = partition
    if (!(error instanceof OffsetOutOfRangeError) || offset >= logStartOffset) throw error
    const endOffset = Math.min(logStartOffset, task.endOffset)
    throw new RecordsGoneError({ ...task, startOffset: offset, endOffset })
  }
  if (records.length === 0 && partition.highWatermark < task.endOffset) {
    const { topic, index, logStartOffset, highWatermark: logEndOffset } = partition
    const place = { topic, partition: index, offset: task.endOffset }
    throw new OffsetOutOfRangeError({ ...place, logStartOffset, logEndOffset })
  }
  let count = records.length
  while (count > 0 && (records[count - 1]?.offset ?? 0) >= task.endOffset) count -= 1
  return count === records.length ? records : records.slice(0, count)
}
