import type { TopicConfig } from '../config.ts'
import { topicIdFromName } from '../storage/partition-metadata.ts'
import { ForeignOffsets, type ForeignOffsetsOptions } from './foreign-offsets.ts'
import { OFFSETS_TOPIC, OFFSETS_TOPIC_CONFIG } from './offsets-topic-config.ts'
import type { PartitionDirectories } from './partition-directory.ts'
import { topicPartitionKey } from './topic-partition.ts'
import type { TopicEntry, TopicRegistry } from './topic-registry.ts'

/** Options of {@link adoptTopics}. */
export interface AdoptionOptions extends ForeignOffsetsOptions {
  /** Whether nothing may be written: the next open then finds the same. */
  readonly readOnly: boolean
}

/**
 * Takes over the topics of a directory that another program, such as a Kafka broker, has filled.
 *
 * @throws {@link CorruptRecordError} if it is uncertain which partition holds a group's offsets.
 */
export async function adoptTopics(
  registry: TopicRegistry,
  directories: PartitionDirectories,
  options: AdoptionOptions,
): Promise<TopicEntry[]> {
  const entries: TopicEntry[] = []
  for (const [name, found] of await findPartitions(directories)) {
    const id = (await idOf(directories, name, found)) ?? topicIdFromName(name)
    const last = Math.max(...found)
    let partitionCount = last + 1
    if (name === OFFSETS_TOPIC) {
      partitionCount = await new ForeignOffsets(directories, options).countPartitions(found)
      if (!options.readOnly) await forgetMissing(options, found, partitionCount)
    }
    entries.push({ name, id, partitionCount, state: 'active', config: configOf(name) })
  }
  // In one step: a partial list would be taken for the whole.
  if (entries.length > 0 && !options.readOnly) await registry.replace(entries)
  return entries
}

/** The existing partitions of each topic. */
async function findPartitions(directories: PartitionDirectories): Promise<Map<string, number[]>> {
  const partitions = new Map<string, number[]>()
  for (const { topic, partition } of await directories.list()) {
    // A directory of another kind may have the name of a partition.
    if (!(await directories.holdsLog(topic, partition))) continue
    const found = partitions.get(topic)
    if (found === undefined) partitions.set(topic, [partition])
    else found.push(partition)
  }
  return partitions
}

/** One broker of several need not have all partitions; the ones it has know the topic id. */
async function idOf(
  directories: PartitionDirectories,
  name: string,
  partitions: readonly number[],
): Promise<string | null> {
  for (const partition of partitions) {
    const id = await directories.topicIdOf(name, partition)
    if (id !== null) return id
  }
  return null
}

/**
 * A checkpoint may list partitions that were not copied. They are not lost for that reason: see
 * {@link LeftBehindError}. They are removed before the list of topics is written, because a reader
 * of the list would take them for lost.
 */
async function forgetMissing(
  { states }: AdoptionOptions,
  found: readonly number[],
  count: number,
): Promise<void> {
  const there = new Set(found)
  const all = Array.from({ length: count }, (_, partition) => partition)
  const missing = all.filter((partition) => !there.has(partition))
  await states.forget(
    missing.map((partition) => topicPartitionKey({ topic: OFFSETS_TOPIC, partition })),
  )
}

/**
 * The other program's configuration of a topic is not in its directory. So nothing it has kept is
 * deleted or compacted until someone configures it here. Committed offsets are compacted anywhere.
 */
function configOf(name: string): TopicConfig {
  return name === OFFSETS_TOPIC ? OFFSETS_TOPIC_CONFIG : { retentionMs: -1 }
}
