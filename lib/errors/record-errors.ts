import { VarveError, type AppendOutcome } from './varve-error.ts'

/**
 * A record, or the batch that holds it, exceeds the limit of the topic or of the buffer, or the 64
 * MiB that a batch may hold before compression.
 */
export class RecordTooLargeError extends VarveError {
  override readonly name = 'RecordTooLargeError'
  readonly code = 'MESSAGE_TOO_LARGE'
  readonly outcome: AppendOutcome = 'not-written'
  readonly sizeBytes: number
  readonly maxBytes: number

  /** @param topic whose limit it is, if that is known and the caller may not know it */
  constructor(sizeBytes: number, maxBytes: number, limit: string, topic?: string) {
    const which = topic === undefined ? limit : `${limit} of topic '${topic}'`
    super(`the batch would take ${sizeBytes} bytes, ${which} allows ${maxBytes}`)
    this.sizeBytes = sizeBytes
    this.maxBytes = maxBytes
  }
}

/**
 * A record has no key although its topic is compacted, or has too many headers: a batch holds at
 * most 2^20 records and headers together.
 */
export class InvalidRecordError extends VarveError {
  override readonly name = 'InvalidRecordError'
  readonly code = 'INVALID_RECORD'
  readonly outcome: AppendOutcome = 'not-written'
}

/** The timestamp is outside the range that the topic accepts. */
export class InvalidTimestampError extends VarveError {
  override readonly name = 'InvalidTimestampError'
  readonly code = 'INVALID_TIMESTAMP'
  readonly outcome: AppendOutcome = 'not-written'
}

/**
 * The records are compressed with a codec that is not available here. The bytes are left unchanged.
 */
export class UnsupportedCompressionTypeError extends VarveError {
  override readonly name = 'UnsupportedCompressionTypeError'
  readonly code = 'UNSUPPORTED_COMPRESSION_TYPE'
}

/** A key or value could not be serialized, or stored bytes could not be deserialized. */
export class SerializationError extends VarveError {
  override readonly name = 'SerializationError'
  readonly code = 'SERIALIZATION_ERROR'
  readonly topic: string
  /** The record's partition, `null` if not yet assigned. */
  readonly partition: number | null
  /** The record's offset, `null` if not yet assigned. */
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
