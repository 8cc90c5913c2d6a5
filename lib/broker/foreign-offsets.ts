import { resolveTopicConfig } from '../config.ts'
import { CorruptRecordError, StorageError } from '../errors.ts'
import type { FileSystem } from '../platform/file-system.ts'
import type { Random } from '../platform/random.ts'
import type { Clock } from '../platform/clock.ts'
import { decodeRecords } from '../record/decode.ts'
import type { RecordBatch } from '../record/record-batch.ts'
import { Log } from '../storage/log.ts'
import { isReadFailure } from '../storage/read-failure.ts'
import type { LogStates } from './log-states.ts'
import { decodeOffsetCommitKey, partitionForGroup } from './offset-commit-codec.ts'
import { OFFSETS_TOPIC, OFFSETS_TOPIC_CONFIG } from './offsets-topic-config.ts'
import type { PartitionDirectories } from './partition-directory.ts'
import { topicPartitionKey } from './topic-partition.ts'

/** Kafka's default for `offsets.topic.num.partitions`. */
const USUAL_PARTITIONS = 50

const READ_BYTES = 1024 * 1024

/** Options of {@link ForeignOffsets}. */
export interface ForeignOffsetsOptions {
  readonly fileSystem: FileSystem
  readonly clock: Clock
  readonly random: Random
  readonly states: LogStates
  /** Whether the directory was closed cleanly. */
  readonly isClean: boolean
}

/**
 * The committed offsets that another program has left, before they are taken over.
 *
 * The number of partitions determines where a group's offsets are, and one broker of several need
 * not have the last partition. With too small a number, groups would be looked up where they never
 * committed, and would silently start over.
 */
export class ForeignOffsets {
  readonly #directories: PartitionDirectories
  readonly #options: ForeignOffsetsOptions

  constructor(directories: PartitionDirectories, options: ForeignOffsetsOptions) {
    this.#directories = directories
    this.#options = options
  }

  /**
   * Determines how many partitions the topic has.
   *
   * It is Kafka's 50 if the groups in the existing partitions are where that number puts them.
   * Otherwise it is the number of existing partitions, if none is missing between them and their
   * groups fit that number. Partition 0 alone, without a commit, is taken for the whole topic.
   *
   * @param found the existing partitions, at least one.
   * @throws {@link CorruptRecordError} if neither number fits.
   */
  async countPartitions(found: readonly number[]): Promise<number> {
    const least = Math.max(...found) + 1
    const isUsual = least <= USUAL_PARTITIONS && (await this.#areAmong(found, USUAL_PARTITIONS))
    if (isUsual && !(await this.#isOneEmpty(found))) return USUAL_PARTITIONS
    if (found.length === least && (await this.#areAmong(found, least))) return least
    throw new CorruptRecordError(
      `some partitions of '${OFFSETS_TOPIC}' are missing, and their total number is unknown: it is ` +
        `neither ${USUAL_PARTITIONS} nor ${least}. Copy all of them, or none`,
      { path: this.#directories.pathOf(OFFSETS_TOPIC, least - 1), position: 0 },
    )
  }

  /** Whether the groups in these partitions are where `count` partitions would put them. */
  async #areAmong(found: readonly number[], count: number): Promise<boolean> {
    if (found.length === USUAL_PARTITIONS) return true
    for (const partition of found) {
      const isOwn = (groupId: string): boolean => partitionForGroup(groupId, count) === partition
      if (!(await this.#isOfAll(partition, isOwn, true))) return false
    }
    return true
  }

  /**
   * Partition 0 alone, without a commit, is most likely the whole topic: Varve's own has one
   * partition.
   */
  async #isOneEmpty(found: readonly number[]): Promise<boolean> {
    return found.length === 1 && found[0] === 0 && (await this.#isOfAll(0, () => false, false))
  }

  /**
   * Whether a condition holds for all groups that have committed in a partition.
   *
   * @param ifUnreadable the result if the partition cannot be read; opening it will report the
   * damage.
   */
  async #isOfAll(
    partition: number,
    isTrue: (groupId: string) => boolean,
    ifUnreadable: boolean,
  ): Promise<boolean> {
    let log: Log | null = null
    try {
      log = await this.#openLog(partition)
      let offset = log.logStartOffset
      for (;;) {
        const batches = await log.reader.readBatches(offset, { maxBytes: READ_BYTES })
        for (const batch of batches) {
          const groups = await groupsOf(batch, partition)
          if (!groups.every(isTrue)) return false
          offset = batch.nextOffset
        }
        if (batches.length === 0) return true
      }
    } catch (error) {
      const cause = error instanceof StorageError ? error.cause : error
      if (!(error instanceof CorruptRecordError || isReadFailure(cause))) throw error
      return ifUnreadable
    } finally {
      await log?.close()
    }
  }

  /** Read-only: the directory has not been taken over yet. */
  #openLog(partition: number): Promise<Log> {
    const { fileSystem, clock, random, states, isClean } = this.#options
    const place = { topic: OFFSETS_TOPIC, partition }
    return Log.load(this.#directories.pathOf(OFFSETS_TOPIC, partition), {
      ...{ fileSystem, clock, random, isClean },
      ...place,
      ...states.get(topicPartitionKey(place)),
      config: resolveTopicConfig(OFFSETS_TOPIC_CONFIG),
      readOnly: true,
      saveState: () => Promise.resolve(),
    })
  }
}

/** The groups whose commits are in a batch. */
async function groupsOf(batch: RecordBatch, partition: number): Promise<string[]> {
  if (batch.isControl) return []
  const records = await decodeRecords(batch, { topic: OFFSETS_TOPIC, partition })
  return records.flatMap(({ key }) => {
    const commit = key === null ? null : decodeOffsetCommitKey(key)
    return commit === null ? [] : [commit.groupId]
  })
}
