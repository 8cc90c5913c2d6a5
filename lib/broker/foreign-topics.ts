import type { TopicConfig } from '../config.ts'
import { topicIdFromName } from '../storage/partition-metadata.ts'
import { ForeignOffsets, type ForeignOffsetsOptions } from './foreign-offsets.ts'
import { OFFSETS_TOPIC, OFFSETS_TOPIC_CONFIG } from './offsets-topic-config.ts'
import type { PartitionDirectories } from './partition-directory.ts'
import { topicPartitionKey } from './topic-partition.ts'
import type { TopicEntry, TopicRegistry } from './topic-registry.ts'

/** What {@link adoptTopics} works with. */
export interface AdoptionOptions extends ForeignOffsetsOptions {
  /** Whether nothing may be written: then the next open finds the same. */
  readonly readOnly: boolean
}

/**
 * Takes over the topics of a directory that another program, such as a Kafka broker, has filled.
 *
 * @throws {@link CorruptRecordError} where it cannot be told which partition a group's offsets are in.
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
  // In one step: a list with some of them would be taken for all there are.
  if (entries.length > 0 && !options.readOnly) await registry.replace(entries)
  return entries
}

/** The partitions that there are of each topic. */
async function findPartitions(directories: PartitionDirectories): Promise<Map<string, number[]>> {
  const partitions = new Map<string, number[]>()
  for (const { topic, partition } of await directories.list()) {
    // A directory of somebody else's may be called like that of a partition.
    if (!(await directories.holdsLog(topic, partition))) continue
    const found = partitions.get(topic)
    if (found === undefined) partitions.set(topic, [partition])
    else found.push(partition)
  }
  return partitions
}

/** One broker of several need not have all partitions, and those that it has know the id. */
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
 * A checkpoint may know of partitions that were not copied. They are not lost by that: see {@link LeftBehindError}.
 * Before the list is written, as they would be taken for lost by who finds it.
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
 * How the other program has configured a topic is not in its directory, so nothing that it has kept is
 * deleted or compacted until somebody says what is to be. What groups commit is compacted anywhere.
 */
function configOf(name: string): TopicConfig {
  return name === OFFSETS_TOPIC ? OFFSETS_TOPIC_CONFIG : { retentionMs: -1 }
}
