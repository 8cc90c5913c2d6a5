import { INTERNAL_TOPICS } from '../broker/topic-name.ts'
import {
  compareNames,
  compareTopicPartitions,
  topicPartitionKey,
  type TopicPartition,
} from '../broker/topic-partition.ts'
import { IllegalStateError } from '../errors.ts'
import { AssignedPartition } from './assigned-partition.ts'

/** How a consumer has come by its partitions. */
export type SubscriptionType = 'none' | 'topics' | 'pattern' | 'partitions'

/**
 * What a consumer wants to read, and which partitions it has.
 *
 * A consumer has topics, or a pattern for topics, or partitions of its own choice: they are not
 * mixed. Passive: all calls may be made at any time.
 */
export class SubscriptionState {
  /** Number of the poll in progress, or else of the next one: what it takes is not consumed yet. */
  poll = 1
  #type: SubscriptionType = 'none'
  #topics: readonly string[] = []
  #pattern: RegExp | null = null
  /** What the pattern said about the topics there are, so that each name is matched once. */
  #matches: ReadonlyMap<string, boolean> = new Map()
  /** The names of all topics that `#matching` was found for, `null` when there is no such answer. */
  #matchedNames: readonly string[] | null = null
  /** The topics that the pattern matches, sorted. */
  #matching: readonly string[] = []
  #assigned: ReadonlyMap<string, AssignedPartition> = new Map()
  /** {@link SubscriptionState.seenTopicId} of partitions that it has had. */
  readonly #seenTopicIds: Map<string, string> = new Map()
  readonly #onGivenUp: (state: AssignedPartition) => void

  /** @param onGivenUp called for each partition that it has no more */
  constructor(onGivenUp: (state: AssignedPartition) => void) {
    this.#onGivenUp = onGivenUp
  }

  get type(): SubscriptionType {
    return this.#type
  }

  /** Whether a group decides about the partitions. */
  get isSubscribed(): boolean {
    return this.#type === 'topics' || this.#type === 'pattern'
  }

  /** The partitions it has, by {@link topicPartitionKey}. */
  get assigned(): ReadonlyMap<string, AssignedPartition> {
    return this.#assigned
  }

  /** Replaces the topics. @throws {@link IllegalStateError} when there is a pattern or partitions */
  subscribe(topics: readonly string[]): void {
    this.#setType('topics')
    this.#topics = [...topics].sort(compareNames)
  }

  /** Replaces the pattern. @throws {@link IllegalStateError} when there are topics or partitions */
  subscribeToPattern(pattern: RegExp): void {
    this.#setType('pattern')
    this.#pattern = pattern
    this.#forgetMatches()
  }

  /** Replaces the partitions. @throws {@link IllegalStateError} when there are topics or a pattern */
  assign(partitions: readonly TopicPartition[]): void {
    this.#setType('partitions')
    this.setAssigned(partitions)
  }

  /** Forgets everything. */
  unsubscribe(): void {
    this.#type = 'none'
    this.#topics = []
    this.#pattern = null
    this.#forgetMatches()
    this.setAssigned([])
  }

  /** Replaces the partitions it has; those that stay keep their position. */
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
   * Id of the topic that the last record of a partition was handed out of, or the last seek was in, also
   * of one that it has no more; `null` for none.
   */
  seenTopicId(partition: TopicPartition): string | null {
    const key = topicPartitionKey(partition)
    const state = this.#assigned.get(key)
    return state === undefined ? (this.#seenTopicIds.get(key) ?? null) : state.seenTopicId
  }

  /**
   * The topics subscribed to, sorted; the same list for as long as they are the same.
   *
   * @param existing names of all topics there are: what a pattern is matched against. A list that was
   * given before is not gone through again. Topics that the library keeps for itself do not match any
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

  /** The partitions it has, sorted. */
  assignment(): TopicPartition[] {
    return [...this.#assigned.values()]
      .map((each) => each.toTopicPartition())
      .sort(compareTopicPartitions)
  }

  /** One partition it has. @throws {@link IllegalStateError} when it has not */
  find(partition: TopicPartition): AssignedPartition {
    const key = topicPartitionKey(partition)
    const found = this.#assigned.get(key)
    if (found === undefined) {
      throw new IllegalStateError(`partition ${key} is not assigned to this consumer`)
    }
    return found
  }

  /** What comes back may be of another topic, and what was handed out may still be in work. */
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
  // With the flags g and y a pattern goes on where its last match ended. It is the caller's, and may be frozen.
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
