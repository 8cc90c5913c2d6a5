import { VarveError, type AppendOutcome } from './varve-error.ts'

/** The offset is outside the log: below its start or above its end. */
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

/** `expectedOffset` of an append is not the end of the log: another append came first. */
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

/** Where damage was found. */
export interface CorruptionPlace {
  /** The damaged file, `null` for bytes that were never in a file. */
  readonly path: string | null
  /** Position of the first damaged byte in the file, or in the buffer if there is no file. */
  readonly position: number
  /** First affected offset, `null` if unknown. */
  readonly firstOffset?: number | null
  /** Last affected offset, `null` if unknown. */
  readonly lastOffset?: number | null
}

/**
 * Stored bytes differ from what was written, or could not be read when the log was opened; in the
 * latter case `cause` is the system's error. Nothing is deleted or skipped because of the damage.
 */
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
      `corrupt data at position ${place.position}` +
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

/**
 * A file system operation failed, and `cause` is the system's error. Or the log accepts no more
 * writes: either because of an earlier failure, which is then the `cause`, or because its offsets,
 * which end at 2^53 - 2, are used up, and there is no `cause`.
 */
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

/**
 * There is no room for the append: it would take the topic beyond `maxBytes`, or leave its file
 * system with less than `minFreeBytes`. Nothing of the append was written.
 */
export class LogFullError extends VarveError {
  override readonly name = 'LogFullError'
  readonly code = 'LOG_FULL'
  readonly outcome: AppendOutcome = 'not-written'
  readonly topic: string
  /** The limit that was reached. */
  readonly limit: 'maxBytes' | 'minFreeBytes'
  /** The configured value of the limit, bytes. */
  readonly limitBytes: number
  /**
   * Bytes of all log files of the topic for `maxBytes`, or free bytes of its file system for
   * `minFreeBytes`.
   */
  readonly actualBytes: number
  /** Size of the append, bytes. */
  readonly sizeBytes: number

  constructor(full: {
    topic: string
    limit: 'maxBytes' | 'minFreeBytes'
    limitBytes: number
    actualBytes: number
    sizeBytes: number
  }) {
    const what = full.limit === 'maxBytes' ? 'its log files take' : 'the free space is'
    super(
      `topic '${full.topic}' has no room for ${full.sizeBytes} bytes: ` +
        `${what} ${full.actualBytes} bytes, and ${full.limit} is ${full.limitBytes}`,
    )
    this.topic = full.topic
    this.limit = full.limit
    this.limitBytes = full.limitBytes
    this.actualBytes = full.actualBytes
    this.sizeBytes = full.sizeBytes
  }
}

/** The directory is open for reading only: another process may own it, so nothing is written. */
export class ReadOnlyError extends VarveError {
  override readonly name = 'ReadOnlyError'
  readonly code = 'READ_ONLY'
  readonly outcome: AppendOutcome = 'not-written'
}
