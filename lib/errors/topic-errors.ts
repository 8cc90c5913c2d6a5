import { VarveError } from './varve-error.ts'

/** The topic does not exist, or has no such partition. */
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

/** A topic of that name already exists. */
export class TopicExistsError extends VarveError {
  override readonly name = 'TopicExistsError'
  readonly code = 'TOPIC_ALREADY_EXISTS'
  readonly topic: string

  constructor(topic: string, message = `topic '${topic}' already exists`) {
    super(message)
    this.topic = topic
  }
}

/** The topic's name is not legal, or is reserved for the library. */
export class InvalidTopicError extends VarveError {
  override readonly name = 'InvalidTopicError'
  readonly code = 'INVALID_TOPIC_EXCEPTION'
  readonly topic: string

  constructor(topic: string, reason: string) {
    super(`topic name '${topic}' is not legal: ${reason}`)
    this.topic = topic
  }
}

/**
 * The number of partitions is not allowed: it can only grow, and a directory has at most 200,000
 * partitions.
 */
export class InvalidPartitionsError extends VarveError {
  override readonly name = 'InvalidPartitionsError'
  readonly code = 'INVALID_PARTITIONS'
}

/** The topic's configuration forbids the call, such as deleting records of a compacted topic. */
export class PolicyViolationError extends VarveError {
  override readonly name = 'PolicyViolationError'
  readonly code = 'POLICY_VIOLATION'
}
