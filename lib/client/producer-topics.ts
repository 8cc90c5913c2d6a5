import { resolvePartition, type Partitioner } from './partitioner.ts'
import { PartitionQueue, type ProducerTopic } from './partition-queue.ts'
import type { SerializedRecord } from './producer-record.ts'
import type { QueueOwner } from './queue-owner.ts'
import type { WaitingSend } from './waiting-send.ts'

/** The queues of one topic, one for each of its partitions. */
export class TopicQueues {
  readonly topic: ProducerTopic
  readonly #owner: QueueOwner
  readonly #queues: PartitionQueue[] = []
  /** Unsettled batches of each partition, for partitioners. */
  readonly #load: number[] = []

  constructor(topic: ProducerTopic, owner: QueueOwner) {
    this.topic = topic
    this.#owner = owner
  }

  /** Whether the topic has been deleted, or its broker closed. */
  get isClosed(): boolean {
    return this.topic.partitions[0]?.isClosed !== false
  }

  /**
   * Returns the queue for a record: that of the partition it names, otherwise that of the partition
   * that the partitioner chooses.
   *
   * @throws RangeError when there is no such partition; TypeError when the partitioner is
   * asynchronous
   */
  queueFor(record: SerializedRecord, partitioner: Partitioner): PartitionQueue {
    const { partitions } = this.topic
    if (this.#queues.length < partitions.length) this.#grow()
    const count = partitions.length
    const chosen = record.partition ?? partitioner(record, count, this.#load)
    const queue = this.#queues[resolvePartition(chosen, count, record.topic)]
    if (queue === undefined) throw new RangeError(`topic '${record.topic}' has no partitions`)
    return queue
  }

  #grow(): void {
    for (const partition of this.topic.partitions.slice(this.#queues.length)) {
      this.#load.push(0)
      this.#queues.push(new PartitionQueue(this.#owner, this.topic, partition, this.#load))
    }
  }
}

/** What {@link ProducerTopics} needs from its producer. */
export interface ProducerTopicsOwner {
  /** Looks up a topic, or creates it. @throws when it does not exist and is not created */
  lookUp(name: string): Promise<ProducerTopic> | ProducerTopic
  /** Called when the topic that `send` waits for is available. */
  enter(send: WaitingSend, queues: TopicQueues): void
  fail(send: WaitingSend, error: unknown): void
}

/** Number of known topics at which deleted ones are removed. */
const FIRST_SWEEP = 64

/**
 * The topics that a producer sends to. While a topic is being created, the sends to it wait in
 * order.
 */
export class ProducerTopics {
  readonly #owner: ProducerTopicsOwner
  readonly #queueOwner: QueueOwner
  /** A topic's queues, or the waiting sends while it is being created. */
  readonly #topics: Map<string, TopicQueues | WaitingSend[]> = new Map()
  #sweepAt = FIRST_SWEEP

  constructor(owner: ProducerTopicsOwner, queueOwner: QueueOwner) {
    this.#owner = owner
    this.#queueOwner = queueOwner
  }

  /**
   * Returns the queues of a topic; `null` if the send has to wait with {@link ProducerTopics.wait}.
   *
   * @throws {@link UnknownTopicOrPartitionError} when there is no such topic
   */
  find(name: string): TopicQueues | null {
    const known = this.#topics.get(name)
    if (Array.isArray(known)) return null
    if (known !== undefined && !known.isClosed) return known
    const found = this.#owner.lookUp(name)
    if ('then' in found) {
      const waiting: WaitingSend[] = []
      this.#remember(name, waiting)
      void this.#awaitTopic(name, found, waiting)
      return null
    }
    if (known?.topic === found) return known
    const queues = new TopicQueues(found, this.#queueOwner)
    this.#remember(name, queues)
    return queues
  }

  /** Makes `send` wait for the topic, after earlier sends. */
  wait(name: string, send: WaitingSend): void {
    const waiting = this.#topics.get(name)
    if (Array.isArray(waiting)) waiting.push(send)
  }

  async #awaitTopic(
    name: string,
    topic: Promise<ProducerTopic>,
    waiting: readonly WaitingSend[],
  ): Promise<void> {
    let queues: TopicQueues
    try {
      queues = new TopicQueues(await topic, this.#queueOwner)
    } catch (error) {
      this.#topics.delete(name)
      for (const send of waiting) this.#owner.fail(send, error)
      return
    }
    // A callback may send more to the topic: those sends wait too, after these.
    for (const send of waiting) {
      if (send.isWaiting) this.#owner.enter(send, queues)
    }
    this.#remember(name, queues)
  }

  #remember(name: string, topic: TopicQueues | WaitingSend[]): void {
    this.#topics.set(name, topic)
    if (this.#topics.size < this.#sweepAt) return
    for (const [each, known] of this.#topics) {
      if (known instanceof TopicQueues && known.isClosed) this.#topics.delete(each)
    }
    this.#sweepAt = Math.max(FIRST_SWEEP, 2 * this.#topics.size)
  }
}
