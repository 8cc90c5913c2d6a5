import { INTERNAL_TOPICS } from '../broker/topic-name.ts'
import {
  compareNames,
  compareTopicPartitions,
  topicPartitionKey,
  type TopicPartition,
} from '../broker/topic-partition.ts'
import { IllegalStateError } from '../errors.ts'
import { AssignedPartition } from './assigned-partition.ts'

/** How a consumer gets its partitions. */
export type SubscriptionType = 'none' | 'topics' | 'pattern' | 'partitions'

/**
 * What a consumer is subscribed to, and its assigned partitions.
 *
 * A consumer has topics, or a pattern for topics, or partitions that it assigned itself; these
 * cannot be mixed. This class is passive: all calls may be made at any time.
 */
export class SubscriptionState {
  /**
   * Number of the poll in progress, or else of the next one: the records it takes are not consumed
   * yet.
   */
  poll = 1
  #type: SubscriptionType = 'none'
  #topics: readonly string[] = []
  #pattern: RegExp | null = null
  /** The results of the pattern for the existing topics, so that each name is matched once. */
  #matches: ReadonlyMap<string, boolean> = new Map()
  /** The names of all topics for which `#matching` was computed; `null` if it is not valid. */
  #matchedNames: readonly string[] | null = null
  /** The topics that the pattern matches, sorted. */
  #matching: readonly string[] = []
  #assigned: ReadonlyMap<string, AssignedPartition> = new Map()
  /** {@link SubscriptionState.seenTopicId} of earlier partitions. */
  readonly #seenTopicIds: Map<string, string> = new Map()
  readonly #onGivenUp: (state: AssignedPartition) => void

  /** @param onGivenUp called for each partition that is given up */
  constructor(onGivenUp: (state: AssignedPartition) => void) {
    this.#onGivenUp = onGivenUp
  }

  get type(): SubscriptionType {
    return this.#type
  }

  /** Whether a group assigns the partitions. */
  get isSubscribed(): boolean {
    return this.#type === 'topics' || this.#type === 'pattern'
  }

  /** The assigned partitions, by {@link topicPartitionKey}. */
  get assigned(): ReadonlyMap<string, AssignedPartition> {
    return this.#assigned
  }

  /** Sets the topics. @throws {@link IllegalStateError} when there is a pattern or partitions */
  subscribe(topics: readonly string[]): void {
    this.#setType('topics')
    this.#topics = [...topics].sort(compareNames)
  }

  /** Sets the pattern. @throws {@link IllegalStateError} when there are topics or partitions */
  subscribeToPattern(pattern: RegExp): void {
    this.#setType('pattern')
    this.#pattern = pattern
    this.#forgetMatches()
  }

  /** Assigns partitions. @throws {@link IllegalStateError} when there are topics or a pattern */
  assign(partitions: readonly TopicPartition[]): void {
    this.#setType('partitions')
    this.setAssigned(partitions)
  }

  /** Removes the subscription and all partitions. */
  unsubscribe(): void {
    this.#type = 'none'
    this.#topics = []
    this.#pattern = null
    this.#forgetMatches()
    this.setAssigned([])
  }

  /** Replaces the assigned partitions; those that stay keep their position. */
  setAssigned(partitions: readonly TopicPartition[]): void {
    const assigned = new Map<string, AssignedPartition>()
    for (const each of partitions) {
      const key = topicPartitionKey(each)
      assigned.set(key, this.#assigned.get(key) ?? this.#begin(each))
    }
    const before = this.#assigned
    this.#assigned = assigned
    for (const [key, state] of before) if (!assigned.has(key)) state.giveUp()
    for (const [key, state] of before) {
      if (!state.isGivenUp) continue
      if (state.seenTopicId === null) this.#seenTopicIds.delete(key)
      else this.#seenTopicIds.set(key, state.seenTopicId)
      this.#onGivenUp(state)
    }
  }

  /**
   * Id of the topic of a partition's last returned record or last seek, even if the partition has
   * been given up; `null` for none.
   */
  seenTopicId(partition: TopicPartition): string | null {
    const key = topicPartitionKey(partition)
    const state = this.#assigned.get(key)
    return state === undefined ? (this.#seenTopicIds.get(key) ?? null) : state.seenTopicId
  }

  /**
   * Returns the subscribed topics, sorted; the same list as long as they do not change.
   *
   * @param existing returns the names of all topics, against which a pattern is matched. The same
   * list as in the last call is not matched again. Internal topics never match
   */
  topics(existing: () => readonly string[]): readonly string[] {
    const pattern = this.#pattern
    if (pattern === null) return this.#topics
    const names = existing()
    if (names === this.#matchedNames) return this.#matching
    const matches = new Map<string, boolean>()
    for (const name of names) {
      if (!INTERNAL_TOPICS.has(name)) {
        matches.set(name, this.#matches.get(name) ?? matchesName(pattern, name))
      }
    }
    this.#matches = matches
    this.#matchedNames = names
    this.#matching = [...matches.keys()].filter((name) => matches.get(name)).sort(compareNames)
    return this.#matching
  }

  /** The assigned partitions, sorted. */
  assignment(): TopicPartition[] {
    return [...this.#assigned.values()]
      .map((each) => each.toTopicPartition())
      .sort(compareTopicPartitions)
  }

  /** Returns an assigned partition. @throws {@link IllegalStateError} when it is not assigned */
  find(partition: TopicPartition): AssignedPartition {
    const key = topicPartitionKey(partition)
    const found = this.#assigned.get(key)
    if (found === undefined) {
      throw new IllegalStateError(`partition ${key} is not assigned to this consumer`)
    }
    return found
  }

  /**
   * The partition may now belong to another topic, and records returned earlier may still be in
   * use.
   */
  #begin(partition: TopicPartition): AssignedPartition {
    const state = new AssignedPartition(partition)
    state.seenTopicId = this.#seenTopicIds.get(state.key) ?? null
    return state
  }

  #forgetMatches(): void {
    this.#matches = new Map()
    this.#matchedNames = null
    this.#matching = []
  }

  #setType(type: Exclude<SubscriptionType, 'none'>): void {
    if (this.#type !== 'none' && this.#type !== type) {
      throw new IllegalStateError(
        'topics, a pattern and partitions cannot be mixed: this consumer is ' +
          `${described(this.#type)}; call unsubscribe() first`,
      )
    }
    this.#type = type
  }
}

function matchesName(pattern: RegExp, name: string): boolean {
  // With flag g or y, a pattern continues where its last match ended. It belongs to the caller and
  // may be frozen.
  if (Object.isFrozen(pattern)) return new RegExp(pattern).test(name)
  const { lastIndex } = pattern
  pattern.lastIndex = 0
  const doesMatch = pattern.test(name)
  pattern.lastIndex = lastIndex
  return doesMatch
}

function described(type: Exclude<SubscriptionType, 'none'>): string {
  switch (type) {
    case 'topics':
      return 'subscribed to topics'
    case 'pattern':
      return 'subscribed to a pattern'
    case 'partitions':
      return 'assigned to partitions'
  }
}
