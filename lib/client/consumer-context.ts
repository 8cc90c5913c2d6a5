import type { GroupCoordinator } from '../broker/group-coordinator.ts'
import type { LockLoss } from '../broker/lock-loss.ts'
import type { Topic } from '../broker/topic.ts'
import type { Clock } from '../platform/clock.ts'

/** What a consumer needs from its broker. */
export interface ConsumerContext {
  readonly clock: Clock
  /** Whether nothing can be committed, because another process owns the directory. */
  readonly readOnly: boolean
  readonly coordinator: GroupCoordinator
  /** Whether the directory is lost, so that another owner may append unnoticed. */
  readonly lockLoss: Pick<LockLoss, 'error' | 'onLost'>
  /** Returns an existing topic; does not create one. */
  topic(name: string): Topic | undefined
  /**
   * The names of all topics, including internal ones. Returns the same list until a topic is
   * created or deleted.
   */
  topicNames(): readonly string[]
  /** Called once, when the consumer has closed. */
  onClosed(consumer: object): void
}
