import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { CheckpointFile } from '../storage/checkpoint-file.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import { topicPartitionKey } from './topic-partition.ts'

/** Kafka's name for the file in the data directory. */
export const CLEANER_CHECKPOINT_FILE = 'cleaner-offset-checkpoint'

/** A log, and where its last pass of compaction has ended. */
interface CleanedLog {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/**
 * Where the last pass of each log has ended, in Kafka's form. It is a hint: where it is missing, damaged
 * or of another time, the next pass does more or less than it could, and removes nothing too early.
 */
export class CleanerCheckpoint {
  readonly #file: CheckpointFile
  readonly #logs = new Map<string, CleanedLog>()
  #loading: Promise<void> | null = null
  /** Whether the file still has what was forgotten. */
  #isBehind = false
  /** A pass may end while a topic is deleted. Made at first use. */
  #lazyQueue: SerialQueue | null = null

  constructor(fileSystem: FileSystem, dir: string) {
    this.#file = new CheckpointFile(fileSystem, join(dir, CLEANER_CHECKPOINT_FILE), 3)
  }

  /** Reads the file when it is first needed. A damaged one counts as absent, as in Kafka. */
  #load(): Promise<void> {
    this.#loading ??= this.#read().catch((error: unknown) => {
      // The next pass tries again.
      this.#loading = null
      throw error
    })
    return this.#loading
  }

  async #read(): Promise<void> {
    try {
      for (const [topic = '', partition, offset] of await this.#file.read()) {
        this.#set(topic, this.#file.wholeNumber(partition), this.#file.wholeNumber(offset))
      }
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) throw error
      this.#logs.clear()
    }
  }

  /** Where the next pass begins; 0 where nothing is known. */
  async offsetOf(topic: string, partition: number): Promise<number> {
    await this.#load()
    return this.#logs.get(topicPartitionKey({ topic, partition }))?.offset ?? 0
  }

  /** Notes where a pass has ended, and forgets logs that are no more. */
  async save(
    topic: string,
    partition: number,
    offset: number,
    isThere: (topic: string, partition: number) => boolean,
  ): Promise<void> {
    this.#set(topic, partition, offset)
    for (const [key, log] of this.#logs) {
      if (!isThere(log.topic, log.partition)) this.#logs.delete(key)
    }
    await this.#write()
  }

  /** Forgets the logs of a topic: a later one of that name has other records at their offsets. */
  async forget(topic: string): Promise<void> {
    await this.#load()
    for (const [key, log] of this.#logs) {
      if (log.topic === topic) this.#isBehind = this.#logs.delete(key)
    }
    if (this.#isBehind) await this.#write()
  }

  #write(): Promise<void> {
    this.#lazyQueue ??= new SerialQueue()
    return this.#lazyQueue.run(async () => {
      await this.#file.write(
        [...this.#logs.values()].map((log) => [log.topic, log.partition, log.offset]),
      )
      this.#isBehind = false
    })
  }

  #set(topic: string, partition: number, offset: number): void {
    this.#logs.set(topicPartitionKey({ topic, partition }), { topic, partition, offset })
  }
}
