import { join } from 'node:path'
import { resolveTopicConfig, type GivenTopicConfig, type ResolvedTopicConfig } from '../config.ts'
import { ClosedError, CorruptRecordError, type AppendOutcome, type VarveError } from '../errors.ts'
import { throwFailures } from '../errors/several-failures.ts'
import type { FileStat, FileSystem } from '../platform/file-system.ts'
import { promptIo } from '../platform/prompt-io.ts'
import type { Random } from '../platform/random.ts'
import { loadReadable, whyUnreadable } from '../storage/load-readable.ts'
import type { LogState } from '../storage/log-state.ts'
import { Log } from '../storage/log.ts'
import { isOfAnotherTopic, PARTITION_METADATA_FILE } from '../storage/partition-metadata.ts'
import { isReadFailure } from '../storage/read-failure.ts'
import { LeftBehindError } from './left-behind-error.ts'
import { whyFenced } from './lock-fence.ts'
import type { LogStates } from './log-states.ts'
import { OFFSETS_TOPIC } from './offsets-topic-config.ts'
import type { PartitionContext } from './partition-context.ts'
import { Partition } from './partition.ts'
import type { PartitionDirectories } from './partition-directory.ts'
import { INTERNAL_TOPICS } from './topic-name.ts'
import { topicPartitionKey } from './topic-partition.ts'
import type { TopicEntry, TopicRegistry } from './topic-registry.ts'

/** How many logs are opened concurrently. */
const OPEN_CONCURRENCY = 8

/**
 * How many logs are closed concurrently. It is higher, because they share writes of the
 * checkpoints.
 */
const CLOSE_CONCURRENCY = 16

/** Partitions of a topic: `to` is exclusive. */
export interface PartitionRange {
  readonly from: number
  readonly to: number
}

/** What is known of logs before they are opened. */
export interface LogPast {
  /** Whether they were closed cleanly. */
  readonly isClean: boolean
  /**
   * Whether an unreadable log is opened as a damaged one, so that it does not keep the others from
   * opening. Otherwise none is opened, and the caller may try again.
   */
  readonly mayBeUnreadable: boolean
}

/** Dependencies of {@link PartitionOpener}. */
export interface PartitionOpenerOptions {
  readonly fileSystem: FileSystem
  readonly random: Random
  readonly states: LogStates
  readonly defaults: GivenTopicConfig
  readonly partitionContext: PartitionContext
}

/** Opens the logs of partitions whose directories exist. Calls may overlap. */
export class PartitionOpener {
  readonly #options: PartitionOpenerOptions
  readonly #directories: PartitionDirectories
  readonly #whyGone: (entry: TopicEntry) => Promise<VarveError | null>

  /**
   * @param whyGone is called if another process owns the directory, and files of a topic are gone.
   */
  constructor(
    options: PartitionOpenerOptions,
    directories: PartitionDirectories,
    whyGone: (entry: TopicEntry) => Promise<VarveError | null>,
  ) {
    this.#options = options
    this.#directories = directories
    this.#whyGone = whyGone
  }

  /** Internal topics do not follow the application's defaults, so that commits stay durable. */
  configOf({ name, config }: Pick<TopicEntry, 'name' | 'config'>): Readonly<ResolvedTopicConfig> {
    return resolveTopicConfig(config, INTERNAL_TOPICS.has(name) ? {} : this.#options.defaults)
  }

  /** Opens partitions of a topic; if one fails, none stays open. */
  async open(entry: TopicEntry, range: PartitionRange, past: LogPast): Promise<Partition[]> {
    const opened: Partition[] = []
    try {
      for (let from = range.from; from < range.to; from += OPEN_CONCURRENCY) {
        const count = Math.min(OPEN_CONCURRENCY, range.to - from)
        const results = await Promise.allSettled(
          Array.from({ length: count }, (_, each) => this.#openOne(entry, from + each, past)),
        )
        for (const result of results) if (result.status === 'fulfilled') opened.push(result.value)
        for (const result of results) if (result.status === 'rejected') throw result.reason
      }
      return opened
    } catch (error) {
      await closeAll(opened, new ClosedError('the broker could not be opened'))
      throw error
    }
  }

  /**
   * Like {@link PartitionOpener.open}, if another process may delete the topic meanwhile: it then
   * no longer exists, and its partitions are not damaged.
   *
   * @param registry is read again if something is wrong with the partitions.
   * @returns `null` for a topic that was deleted.
   */
  openUnlessLost(
    entry: TopicEntry,
    range: PartitionRange,
    past: LogPast,
    registry: TopicRegistry,
  ): Promise<Partition[] | null> {
    const opening = this.open(entry, range, past)
    const { readOnly } = this.#options.partitionContext
    return readOnly ? unlessLost(opening, () => registry.hasLost(entry)) : opening
  }

  async #openOne(entry: TopicEntry, partition: number, past: LogPast): Promise<Partition> {
    const { isClean, mayBeUnreadable } = past
    const { fileSystem, random, states, partitionContext } = this.#options
    const { clock, readOnly, batchCache } = partitionContext
    const topic = entry.name
    const path = this.#directories.pathOf(topic, partition)
    const key = topicPartitionKey({ topic, partition })
    let loss: CorruptRecordError | undefined
    try {
      const found = await fileSystem.stat(path)
      const { recoveryPoint } = states.get(key)
      const wasNeverHere = found === null && recoveryPoint === 0
      loss =
        wasNeverHere && topic === OFFSETS_TOPIC
          ? new LeftBehindError(path)
          : whyMissing(path, found?.kind, recoveryPoint)
    } catch (error) {
      if (!mayBeUnreadable || !isReadFailure(error)) throw error
      loss = whyUnreadable({ path, position: 0, error }, { ...states.get(key), isClean })
    }
    const logContext = {
      topic,
      partition,
      topicId: entry.id,
      fileSystem,
      clock,
      random,
      readOnly,
      isClean,
      config: this.configOf(entry),
      batchCache,
      loss,
      saveState: states.save.bind(states, key),
      beforeTruncation: (offset: number, leaderEpoch: number) =>
        partitionContext.beforeTruncation({ topic, partition }, offset, leaderEpoch),
      whyFenced: (outcome: AppendOutcome) => whyFenced(partitionContext, outcome),
      ...states.get(key),
      ...(readOnly
        ? {
            isStillClean: () => states.areClean(),
            loadState: () => reloaded(states, key),
            whyGone: () => this.#whyGone(entry),
          }
        : {}),
    }
    let log: Log
    try {
      log = await Log.load(path, logContext)
    } catch (error) {
      if (!mayBeUnreadable) throw error
      const isOthers = readOnly && (await isKnownAsOthers(fileSystem, path, entry.id))
      log = isOthers
        ? await Log.load(path, { ...logContext, loss: whyOthers(path, entry.id, error) })
        : await loadReadable(path, logContext, error)
    }
    return new Partition(log, partitionContext)
  }
}

/** {@link isOfAnotherTopic}, which a file that cannot be read does not tell. */
async function isKnownAsOthers(fileSystem: FileSystem, dir: string, id: string): Promise<boolean> {
  try {
    return await isOfAnotherTopic(fileSystem, dir, id)
  } catch (error) {
    if (!isReadFailure(error)) throw error
    return false
  }
}

/** @returns `null` for partitions of a deleted topic, none of which stays open. */
async function unlessLost(
  opening: Promise<Partition[]>,
  isLost: () => Promise<boolean>,
): Promise<Partition[] | null> {
  const reason = new ClosedError('its topic could not be opened')
  let opened: Partition[] = []
  try {
    opened = await opening
    // A log without segments does not have its first one yet, or is losing its segments now.
    const isSound = opened.every(({ log }) => log.damage === null && log.segments.length > 0)
    if (isSound || !(await isLost())) return opened
    await closeAll(opened, reason)
  } catch (error) {
    await closeAll(opened, reason).catch(() => undefined)
    // Of two errors the first is thrown.
    if (!(await isLost().catch(() => false))) throw error
  }
  return null
}

async function reloaded(states: LogStates, key: string): Promise<LogState> {
  await states.reload()
  return states.get(key)
}

/** Closes all partitions. @throws their errors, as {@link throwFailures}. */
export async function closeAll(
  partitions: readonly Partition[],
  reason: VarveError,
): Promise<void> {
  const failures: unknown[] = []
  // All of them first: an append may wait for room behind one of a partition that is closed later.
  for (const partition of partitions) partition.refuse(reason)
  // A few at a time, because each opens files; when one ends, the next begins.
  const rest = partitions.entries()
  const closeRest = async (): Promise<void> => {
    for (const [slot, partition] of rest) {
      // Most have nothing to write, so awaiting their close does not let the event loop turn.
      const turn = slot < CLOSE_CONCURRENCY ? null : promptIo.turnIfDue()
      if (turn !== null) await turn
      await partition.close(reason).catch((error: unknown) => failures.push(error))
    }
  }
  await Promise.all(Array.from({ length: CLOSE_CONCURRENCY }, closeRest))
  throwFailures(failures)
}

/**
 * The error for files of another topic of the same name, copied there for example from a backup.
 */
function whyOthers(dir: string, topicId: string, cause: unknown): CorruptRecordError {
  return new CorruptRecordError(
    `it has another topic id than the list of topics, ${topicId}: ` +
      'the partition was copied there from another topic of the same name',
    { path: join(dir, PARTITION_METADATA_FILE), position: 0, firstOffset: 0, lastOffset: null },
    { cause },
  )
}

/** A topic whose directory is gone has lost its records, and must not start again at offset 0. */
function whyMissing(
  path: string,
  kind: FileStat['kind'] | undefined,
  recoveryPoint: number,
): CorruptRecordError | undefined {
  if (kind === 'directory') return undefined
  // A link to a directory is refused too: it may lead to other people's files.
  const reason = kind === undefined ? 'the directory is missing' : 'it is not a directory'
  return new CorruptRecordError(reason, {
    path,
    position: 0,
    firstOffset: 0,
    lastOffset: recoveryPoint > 0 ? recoveryPoint - 1 : null,
  })
}
