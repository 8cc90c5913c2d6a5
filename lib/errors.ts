/**
 * What is known about the bytes of an append that failed.
 *
 * - `not-written`: nothing of it is in the log; it may be sent again without creating a duplicate.
 * - `unknown`: it may or may not be found in the log after the next open.
 */
export type AppendOutcome = 'not-written' | 'unknown'

/**
 * Base of every error that a correct program may have to handle.
 *
 * `code` is stable within a major version, messages are not. Misuse (a wrong type, a value out of
 * range) is a plain `TypeError` or `RangeError` without a code, because nobody should catch it.
 */
export abstract class VarveError extends Error {
  abstract readonly code: string
}

/** The offset is outside the log: below its start, or above its end. */
export class OffsetOutOfRangeError extends VarveError {
  override readonly name = 'OffsetOutOfRangeError'
  readonly code = 'OFFSET_OUT_OF_RANGE'
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly logStartOffset: number
  readonly logEndOffset: number

  constructor(
    range: {
      topic: string
      partition: number
      offset: number
      logStartOffset: number
      logEndOffset: number
    },
    message?: string,
  ) {
    super(
      message ??
        `offset ${range.offset} of ${range.topic}-${range.partition} is out of range: ` +
          `the log holds ${range.logStartOffset} to ${range.logEndOffset} (exclusive)`,
    )
    this.topic = range.topic
    this.partition = range.partition
    this.offset = range.offset
    this.logStartOffset = range.logStartOffset
    this.logEndOffset = range.logEndOffset
  }
}

/** There is no such topic, or the topic has no such partition. */
export class UnknownTopicOrPartitionError extends VarveError {
  override readonly name = 'UnknownTopicOrPartitionError'
  readonly code = 'UNKNOWN_TOPIC_OR_PARTITION'
  readonly topic: string
  readonly partition: number | null

  constructor(topic: string, partition: number | null, message: string) {
    super(message)
    this.topic = topic
    this.partition = partition
  }
}

/** A topic of that name exists. */
export class TopicExistsError extends VarveError {
  override readonly name = 'TopicExistsError'
  readonly code = 'TOPIC_ALREADY_EXISTS'
  readonly topic: string

  constructor(topic: string, message = `topic '${topic}' already exists`) {
    super(message)
    this.topic = topic
  }
}

/** The topic's name is not legal, or it is one that the library keeps for itself. */
export class InvalidTopicError extends VarveError {
  override readonly name = 'InvalidTopicError'
  readonly code = 'INVALID_TOPIC_EXCEPTION'
  readonly topic: string

  constructor(topic: string, reason: string) {
    super(`topic name '${topic}' is not legal: ${reason}`)
    this.topic = topic
  }
}

/** A topic cannot have that number of partitions. */
export class InvalidPartitionsError extends VarveError {
  override readonly name = 'InvalidPartitionsError'
  readonly code = 'INVALID_PARTITIONS'
}

/** A record, or the batch that holds it, is larger than the topic or the buffer allows. */
export class RecordTooLargeError extends VarveError {
  override readonly name = 'RecordTooLargeError'
  readonly code = 'MESSAGE_TOO_LARGE'
  readonly outcome: AppendOutcome = 'not-written'
  readonly sizeBytes: number
  readonly maxBytes: number

  constructor(sizeBytes: number, maxBytes: number, limit: string) {
    super(`the batch would take ${sizeBytes} bytes, ${limit} allows ${maxBytes}`)
    this.sizeBytes = sizeBytes
    this.maxBytes = maxBytes
  }
}

/** A record that the topic does not take, such as one without a key in a compacted topic. */
export class InvalidRecordError extends VarveError {
  override readonly name = 'InvalidRecordError'
  readonly code = 'INVALID_RECORD'
  readonly outcome: AppendOutcome = 'not-written'
}

/** Where damage was found. */
export interface CorruptionPlace {
  /** The damaged file, `null` for bytes that never were in one. */
  readonly path: string | null
  /** First damaged byte: position in the file, or in the buffer where there is no file. */
  readonly position: number
  /** First offset that is affected, `null` where it is not known. */
  readonly firstOffset?: number | null
  /** Last offset that is affected, `null` where it is not known. */
  readonly lastOffset?: number | null
}

/** Stored bytes are not what was written. Nothing is deleted or skipped because of it. */
export class CorruptRecordError extends VarveError {
  override readonly name = 'CorruptRecordError'
  readonly code = 'CORRUPT_MESSAGE'
  readonly path: string | null
  readonly position: number
  readonly firstOffset: number | null
  readonly lastOffset: number | null
  /** What is wrong, without the place. */
  readonly reason: string

  constructor(reason: string, place: CorruptionPlace, options?: ErrorOptions) {
    const offsets =
      place.firstOffset == null
        ? ''
        : `, offsets from ${place.firstOffset}` +
          (place.lastOffset == null ? '' : ` to ${place.lastOffset}`)
    super(
      `corrupt record batch at position ${place.position}` +
        `${place.path === null ? '' : ` of ${place.path}`}${offsets}: ${reason}`,
      options,
    )
    this.reason = reason
    this.path = place.path
    this.position = place.position
    this.firstOffset = place.firstOffset ?? null
    this.lastOffset = place.lastOffset ?? null
  }
}

/** The records are compressed with a codec that is not available here. The bytes are untouched. */
export class UnsupportedCompressionTypeError extends VarveError {
  override readonly name = 'UnsupportedCompressionTypeError'
  readonly code = 'UNSUPPORTED_COMPRESSION_TYPE'
}

/** The timestamp is outside what the topic takes. */
export class InvalidTimestampError extends VarveError {
  override readonly name = 'InvalidTimestampError'
  readonly code = 'INVALID_TIMESTAMP'
  readonly outcome: AppendOutcome = 'not-written'
}

/** An operation of the file system failed. `cause` is the system's error. */
export class StorageError extends VarveError {
  override readonly name = 'StorageError'
  readonly code = 'STORAGE_ERROR'
  readonly path: string
  readonly outcome: AppendOutcome

  constructor(
    message: string,
    details: { path: string; outcome: AppendOutcome },
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.path = details.path
    this.outcome = details.outcome
  }
}

/** Another owner holds the data directory. */
export class LockedError extends VarveError {
  override readonly name = 'LockedError'
  readonly code = 'LOCKED'
  readonly dir: string
  /** Process id of the owner, `null` where it is not known. */
  readonly pid: number | null
  /** Host name of the owner, `null` where it is not known. */
  readonly host: string | null
  /** When the owner took the lock, `null` where it is not known. */
  readonly since: Date | null

  constructor(
    dir: string,
    holder: { pid: number | null; host: string | null; sinceMs: number | null },
    options?: ErrorOptions,
  ) {
    const since = holder.sinceMs === null ? null : new Date(holder.sinceMs)
    super(
      `${dir} is in use by ` +
        (holder.pid === null ? 'another owner' : `process ${holder.pid}`) +
        (holder.host === null ? '' : ` on ${holder.host}`) +
        (since === null ? '' : ` since ${since.toISOString()}`) +
        ': close that one first, or open with readOnly',
      options,
    )
    this.dir = dir
    this.pid = holder.pid
    this.host = holder.host
    this.since = since
  }
}

/** The lock of the data directory was lost while it was open: nothing is written any more. */
export class LockLostError extends VarveError {
  override readonly name = 'LockLostError'
  readonly code = 'LOCK_LOST'
  readonly outcome: AppendOutcome
  readonly dir: string

  constructor(
    dir: string,
    reason: string,
    outcome: AppendOutcome = 'unknown',
    options?: ErrorOptions,
  ) {
    super(
      `the lock of ${dir} was lost (${reason}): writes are refused, open the directory again`,
      options,
    )
    this.dir = dir
    this.outcome = outcome
  }
}

/** A group has no committed offset for the partition and `autoOffsetReset` is `'none'`. */
export class NoOffsetForPartitionError extends VarveError {
  override readonly name = 'NoOffsetForPartitionError'
  readonly code = 'NO_OFFSET_FOR_PARTITION'
  readonly topic: string
  readonly partition: number

  constructor(topic: string, partition: number) {
    super(
      `no committed offset for ${topic}-${partition} and autoOffsetReset is 'none': ` +
        'seek to an offset, or choose earliest or latest',
    )
    this.topic = topic
    this.partition = partition
  }
}

/** The group has moved on without this member, and its partitions may belong to another. */
export class CommitFailedError extends VarveError {
  override readonly name = 'CommitFailedError'
  readonly code = 'COMMIT_FAILED'
  readonly groupId: string

  constructor(groupId: string, reason: string) {
    super(
      `offsets of group '${groupId}' were not committed: ${reason}. The records may be delivered ` +
        'again; poll more often, take fewer records a poll, or raise maxPollIntervalMs',
    )
    this.groupId = groupId
  }
}

/** The members of a group do not agree on an assignment strategy. */
export class InconsistentGroupProtocolError extends VarveError {
  override readonly name = 'InconsistentGroupProtocolError'
  readonly code = 'INCONSISTENT_GROUP_PROTOCOL'
}

/** The call needs a `groupId`, and the consumer has none. */
export class InvalidGroupIdError extends VarveError {
  override readonly name = 'InvalidGroupIdError'
  readonly code = 'INVALID_GROUP_ID'
}

/** Something did not happen within its time limit. */
export class TimeoutError extends VarveError {
  override readonly name = 'TimeoutError'
  readonly code = 'TIMEOUT'
  readonly outcome: AppendOutcome

  constructor(message: string, outcome: AppendOutcome = 'not-written') {
    super(message)
    this.outcome = outcome
  }
}

/** `bufferMemory` stayed full for `maxBlockMs`: the disk is slower than the producer. */
export class BufferExhaustedError extends VarveError {
  override readonly name = 'BufferExhaustedError'
  readonly code = 'BUFFER_EXHAUSTED'
  readonly outcome: AppendOutcome = 'not-written'
}

/** A key or value could not be turned into bytes, or bytes not into a key or value. */
export class SerializationError extends VarveError {
  override readonly name = 'SerializationError'
  readonly code = 'SERIALIZATION_ERROR'
  readonly topic: string
  /** The record's partition, `null` before it has one. */
  readonly partition: number | null
  /** The record's offset, `null` before it has one. */
  readonly offset: number | null
  readonly part: 'key' | 'value'

  constructor(
    place: {
      topic: string
      partition: number | null
      offset: number | null
      part: 'key' | 'value'
    },
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
    this.topic = place.topic
    this.partition = place.partition
    this.offset = place.offset
    this.part = place.part
  }
}

/** The object, or the broker it belongs to, is closed. */
export class ClosedError extends VarveError {
  override readonly name = 'ClosedError'
  readonly code = 'CLOSED'
  /** Only of appends: what became of the bytes. */
  readonly outcome: AppendOutcome

  constructor(message: string, outcome: AppendOutcome = 'not-written') {
    super(message)
    this.outcome = outcome
  }
}

/** The directory is open for reading only: another process may own it, and nothing is written. */
export class ReadOnlyError extends VarveError {
  override readonly name = 'ReadOnlyError'
  readonly code = 'READ_ONLY'
  readonly outcome: AppendOutcome = 'not-written'
}

/** `expectedOffset` of an append is not the end of the log: somebody else has written. */
export class OffsetConflictError extends VarveError {
  override readonly name = 'OffsetConflictError'
  readonly code = 'OFFSET_CONFLICT'
  readonly outcome: AppendOutcome = 'not-written'
  readonly expectedOffset: number
  readonly actualOffset: number

  constructor(expectedOffset: number, actualOffset: number) {
    super(`the log ends at ${actualOffset}, not at the expected offset ${expectedOffset}`)
    this.expectedOffset = expectedOffset
    this.actualOffset = actualOffset
  }
}

/** The call does not fit the object's state, such as `poll` without a subscription. */
export class IllegalStateError extends VarveError {
  override readonly name = 'IllegalStateError'
  readonly code = 'ILLEGAL_STATE'
}

/** The topic's configuration forbids the call, such as deleting records of a compacted topic. */
export class PolicyViolationError extends VarveError {
  override readonly name = 'PolicyViolationError'
  readonly code = 'POLICY_VIOLATION'
}

/** `consumer.wakeup()` interrupted the call. Nothing is lost: poll again. */
export class WakeupError extends VarveError {
  override readonly name = 'WakeupError'
  readonly code = 'WAKEUP'

  constructor() {
    super('the call was interrupted by wakeup()')
  }
}
