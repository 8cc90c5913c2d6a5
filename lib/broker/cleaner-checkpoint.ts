import { join } from 'node:path'
import { reasonOf } from '../checks.ts'
import { CorruptRecordError, StorageError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import { loadedOnce } from '../platform/loaded-once.ts'
import { CheckpointFile } from '../storage/checkpoint-file.ts'
import { SerialQueue } from '../storage/serial-queue.ts'
import { topicPartitionKey } from './topic-partition.ts'

/** Kafka's name for the file in the data directory. */
export const CLEANER_CHECKPOINT_FILE = 'cleaner-offset-checkpoint'

/**
 * Varve's own file, of the same form: when tombstones may be removed. Kafka's file has no field for
 * it.
 */
export const DELETE_HORIZONS_FILE = 'varve-delete-horizons'

/** Result of the last compaction pass over a log. */
export interface CleanedState {
  /** Where the pass ended and the next one begins; 0 if not known. */
  readonly offset: number
  /** When the first of the remaining tombstones may be removed; `null` if there are none. */
  readonly horizonMs: number | null
  /**
   * Whether each of them has a delete horizon. Kafka gives one to any tombstone below the offset in
   * its file, and takes for granted that what the tombstone deletes is gone. So an offset for which
   * that is not certain is kept in memory only.
   */
  readonly isDated: boolean
}

/** A log with its state. */
interface CleanedLog extends CleanedState {
  readonly topic: string
  readonly partition: number
}

/** A truncation, done or about to be. */
interface Cut {
  readonly topic: string
  readonly offset: number
  /** Of the log before it. */
  readonly leaderEpoch: number
}

const NEVER_CLEANED: CleanedState = { offset: 0, horizonMs: null, isDated: false }

/**
 * Where the last pass over each log ended, in Kafka's form, and when tombstones alone make a pass
 * worthwhile. Both are hints: if they are missing, damaged or out of date, passes do more or less
 * than they could, but remove nothing too early.
 */
export class CleanerCheckpoint {
  readonly #file: CheckpointFile
  readonly #horizons: CheckpointFile
  readonly #logs = new Map<string, CleanedLog>()
  /** Where logs were truncated: a pass in progress may have begun before. */
  readonly #cuts = new Map<string, Cut>()
  /** Reads the files when they are first needed. */
  readonly #load: () => Promise<void> = loadedOnce(() => this.#read())
  /** Whether the file still contains logs that were forgotten. */
  #isBehind = false
  /** Whether the file of horizons exists and has entries. */
  #hasHorizons = false
  /** A pass may end while a topic is being deleted. Created at first use. */
  #lazyQueue: SerialQueue | null = null

  constructor(fileSystem: FileSystem, dir: string) {
    this.#file = new CheckpointFile(fileSystem, join(dir, CLEANER_CHECKPOINT_FILE), 3)
    this.#horizons = new CheckpointFile(fileSystem, join(dir, DELETE_HORIZONS_FILE), 3)
  }

  async #read(): Promise<void> {
    const horizonsMs = await readNumbers(this.#horizons)
    this.#hasHorizons = horizonsMs.size > 0
    for (const [key, { topic, partition, number }] of horizonsMs) {
      this.#logs.set(key, { ...NEVER_CLEANED, topic, partition, horizonMs: number })
    }
    for (const [key, { topic, partition, number }] of await readNumbers(this.#file)) {
      const horizonMs = horizonsMs.get(key)?.number ?? null
      this.#logs.set(key, { topic, partition, offset: number, horizonMs, isDated: true })
    }
  }

  /**
   * Result of the last pass over a log.
   *
   * @throws {@link StorageError} when a file cannot be read.
   */
  async stateOf(topic: string, partition: number): Promise<CleanedState> {
    await this.#load()
    return this.#logs.get(topicPartitionKey({ topic, partition })) ?? NEVER_CLEANED
  }

  /**
   * Like {@link CleanerCheckpoint.stateOf}, for a pass that begins.
   *
   * @param leaderEpoch of the log. A truncation of an earlier epoch is done, and does not limit what
   * this pass covers.
   */
  async begin(topic: string, partition: number, leaderEpoch: number): Promise<CleanedState> {
    await this.#load()
    const key = topicPartitionKey({ topic, partition })
    const cut = this.#cuts.get(key)
    if (cut !== undefined && cut.leaderEpoch < leaderEpoch) {
      this.#lower(key, cut.offset)
      this.#cuts.delete(key)
    }
    return this.#logs.get(key) ?? NEVER_CLEANED
  }

  /** Records the result of a pass, and forgets logs that no longer exist. */
  async save(
    topic: string,
    partition: number,
    state: CleanedState,
    isThere: (topic: string, partition: number) => boolean,
  ): Promise<void> {
    const key = topicPartitionKey({ topic, partition })
    const offset = Math.min(state.offset, this.#cuts.get(key)?.offset ?? Infinity)
    this.#cuts.delete(key)
    this.#logs.set(key, { topic, partition, ...state, offset })
    for (const [key, log] of this.#logs) {
      if (!isThere(log.topic, log.partition)) this.#logs.delete(key)
    }
    await this.#write()
  }

  /**
   * Called before a log is truncated: records that replace the truncated ones were never compacted,
   * even if the log has grown beyond the checkpoint by the next pass. Kafka lowers it likewise.
   */
  async truncateTo(
    topic: string,
    partition: number,
    offset: number,
    leaderEpoch: number,
  ): Promise<void> {
    const key = topicPartitionKey({ topic, partition })
    const before = this.#cuts.get(key)?.offset ?? Infinity
    this.#cuts.set(key, { topic, offset: Math.min(offset, before), leaderEpoch })
    await this.#load()
    if (this.#lower(key, offset)) await this.#write()
  }

  /** @returns whether the last pass over the log had come further. */
  #lower(key: string, offset: number): boolean {
    const log = this.#logs.get(key)
    if (log === undefined || log.offset <= offset) return false
    this.#logs.set(key, { ...log, offset })
    return true
  }

  /**
   * Forgets the logs of a topic from `fromPartition` on: later ones of these names have other
   * records at these offsets.
   */
  async forget(topic: string, fromPartition: number): Promise<void> {
    // Of an existing topic, only partitions that do not exist yet are forgotten.
    if (fromPartition === 0) {
      for (const [key, cut] of this.#cuts) if (cut.topic === topic) this.#cuts.delete(key)
    }
    await this.#load()
    for (const [key, log] of this.#logs) {
      if (log.topic !== topic || log.partition < fromPartition) continue
      this.#isBehind = this.#logs.delete(key)
    }
    if (this.#isBehind) await this.#write()
  }

  #write(): Promise<void> {
    this.#lazyQueue ??= new SerialQueue()
    return this.#lazyQueue.run(async () => {
      const logs = [...this.#logs.values()]
      const dated = logs.filter(({ isDated }) => isDated)
      await this.#file.write(dated.map((log) => [log.topic, log.partition, log.offset]))
      const horizons = logs.flatMap(({ topic, partition, horizonMs }) =>
        horizonMs === null ? [] : [[topic, partition, horizonMs]],
      )
      if (horizons.length > 0 || this.#hasHorizons) await this.#horizons.write(horizons)
      this.#hasHorizons = horizons.length > 0
      this.#isBehind = false
    })
  }
}

/**
 * The number of each log, by topic and partition. A damaged file counts as absent, as in Kafka.
 *
 * @throws {@link StorageError} when the file cannot be read.
 */
async function readNumbers(
  file: CheckpointFile,
): Promise<Map<string, { topic: string; partition: number; number: number }>> {
  const found = new Map<string, { topic: string; partition: number; number: number }>()
  try {
    for (const [topic = '', second, third] of await file.read()) {
      const [partition, number] = [file.wholeNumber(second), file.wholeNumber(third)]
      found.set(topicPartitionKey({ topic, partition }), { topic, partition, number })
    }
    return found
  } catch (error) {
    if (error instanceof CorruptRecordError) return new Map()
    const { path } = file
    const message = `${path} cannot be read: ${reasonOf(error)}`
    throw new StorageError(message, { path, outcome: 'not-written' }, { cause: error })
  }
}
