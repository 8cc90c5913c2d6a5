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

/** What {@link ForeignOffsets} reads with. */
export interface ForeignOffsetsOptions {
  readonly fileSystem: FileSystem
  readonly clock: Clock
  readonly random: Random
  readonly states: LogStates
  /** Whether the directory was closed in order. */
  readonly isClean: boolean
}

/**
 * The committed offsets that another program has left, before they are taken over. A group is looked for by
 * the number of partitions, and one broker of several need not have the last one. Too small a number would
 * look for groups where they have not committed, so that they would begin anew without a word.
 */
export class ForeignOffsets {
  readonly #directories: PartitionDirectories
  readonly #options: ForeignOffsetsOptions

  constructor(directories: PartitionDirectories, options: ForeignOffsetsOptions) {
    this.#directories = directories
    this.#options = options
  }

  /**
   * How many partitions the topic has: Kafka's 50 where the groups in those that are there are where that
   * number puts them, otherwise as many as are there, where none is missing between them. One alone that is empty is all.
   *
   * @param found which are there, at least one.
   * @throws {@link CorruptRecordError} where it is neither.
   */
  async countPartitions(found: readonly number[]): Promise<number> {
    const least = Math.max(...found) + 1
    const isUsual = least <= USUAL_PARTITIONS && (await this.#areAmong(found, USUAL_PARTITIONS))
    if (isUsual && !(await this.#isOneEmpty(found))) return USUAL_PARTITIONS
    if (found.length === least && (await this.#areAmong(found, least))) return least
    throw new CorruptRecordError(
      `not all partitions of '${OFFSETS_TOPIC}' are there, and how many there are in all cannot be told, ` +
        `but that there are neither ${USUAL_PARTITIONS} nor ${least}: copy all of them, or none`,
      { path: this.#directories.pathOf(OFFSETS_TOPIC, least - 1), position: 0 },
    )
  }

  /** Whether the groups in these partitions are where they are among so many. */
  async #areAmong(found: readonly number[], count: number): Promise<boolean> {
    if (found.length === USUAL_PARTITIONS) return true
    for (const partition of found) {
      const isOwn = (groupId: string): boolean => partitionForGroup(groupId, count) === partition
      if (!(await this.#isOfAll(partition, isOwn, true))) return false
    }
    return true
  }

  /** The first one alone, without a commit, is most likely all there is: Varve's own topic has one. */
  async #isOneEmpty(found: readonly number[]): Promise<boolean> {
    return found.length === 1 && found[0] === 0 && (await this.#isOfAll(0, () => false, false))
  }

  /**
   * Whether it is true of all groups that have committed in a partition.
   *
   * @param ifUnreadable the answer where that cannot be told: the damage is reported once the partition is opened.
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

  /** Nothing is changed, as nobody has taken the directory over yet. */
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

/** The groups that the commits of a batch are of. */
async function groupsOf(batch: RecordBatch, partition: number): Promise<string[]> {
  if (batch.isControl) return []
  const records = await decodeRecords(batch, { topic: OFFSETS_TOPIC, partition })
  return records.flatMap(({ key }) => {
    const commit = key === null ? null : decodeOffsetCommitKey(key)
    return commit === null ? [] : [commit.groupId]
  })
}
