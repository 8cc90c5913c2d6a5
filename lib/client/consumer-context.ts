import type { GroupCoordinator } from '../broker/group-coordinator.ts'
import type { LockLoss } from '../broker/lock-loss.ts'
import type { Topic } from '../broker/topic.ts'
import type { Clock } from '../platform/clock.ts'
import type { Random } from '../platform/random.ts'

/**
 * What a consumer needs of its broker.
 */
export interface ConsumerContext {
  readonly clock: Clock
  readonly random: Random
  /** Whether nothing can be committed, because another process owns the directory. */
  readonly readOnly: boolean
  readonly coordinator: GroupCoordinator
  /** Whether others append by now, to what nobody here can see. */
  readonly lockLoss: Pick<LockLoss, 'error' | 'onLost'>
  /** A topic that exists; asking does not create it. */
  topic(name: string): Topic | undefined
  /** The names of all topics, those of the library included: the same list until one comes or goes. */
  topicNames(): readonly string[]
  /** Called once, when the consumer has closed. */
  onClosed(consumer: object): void
}
