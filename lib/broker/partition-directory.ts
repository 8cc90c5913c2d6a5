import { join } from 'node:path'
import { TopicExistsError } from '../errors.ts'
import type { DirectoryEntry, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { isLogFileName, isSegmentFileName, parseSegmentFileName } from '../storage/log-files.ts'
import {
  PARTITION_METADATA_FILE,
  readPartitionMetadata,
  writePartitionMetadata,
} from '../storage/partition-metadata.ts'
import { removeLogFile } from '../storage/segment-removal.ts'
import { MAX_PARTITIONS } from './topic.ts'
import {
  isDeletedDirectoryName,
  parsePartitionDirectoryName,
  partitionDirectoryName,
} from './topic-name.ts'
import type { TopicPartition } from './topic-partition.ts'

/**
 * The directories of partitions inside a broker's directory. Calls for one partition must not
 * overlap.
 */
export class PartitionDirectories {
  readonly #fileSystem: FileSystem
  readonly #dir: string

  constructor(fileSystem: FileSystem, dir: string) {
    this.#fileSystem = fileSystem
    this.#dir = dir
  }

  pathOf(topic: string, partition: number): string {
    return join(this.#dir, partitionDirectoryName(topic, partition))
  }

  /**
   * Every partition that has a directory. A directory whose number is too high for a topic only
   * happens to have such a name.
   */
  async list(): Promise<TopicPartition[]> {
    return partitionsAmong(await this.#fileSystem.list(this.#dir))
  }

  /**
   * Creates an empty directory with the topic's id. Its name is durable after
   * {@link PartitionDirectories.sync}.
   *
   * @throws {@link TopicExistsError} when a directory of that name holds a log, or the name belongs
   * to something else, such as a link to a directory.
   */
  async create(topic: string, partition: number, topicId: string): Promise<void> {
    const path = this.pathOf(topic, partition)
    await this.#fileSystem.createDirectory(path)
    if (!(await this.#isThere(path))) {
      throw new TopicExistsError(topic, `${path} exists and is not a directory`)
    }
    const names = await this.#fileSystem.list(path)
    if (names.some((entry) => isSegmentFileName(entry.name))) {
      throw new TopicExistsError(topic, `${path} exists and already holds a log`)
    }
    // Left-over files, above all the list of segments, do not describe this log. They are durably
    // gone with the sync after the metadata; until then, a failed creation is undone.
    const leftOvers = names.filter(({ name, kind }) => kind === 'file' && isLogFileName(name))
    for (const { name } of leftOvers) await removeLogFile(this.#fileSystem, join(path, name))
    await writePartitionMetadata(this.#fileSystem, path, topicId)
  }

  /** The topic id in a partition's directory; `null` if there is no id or no directory. */
  async topicIdOf(topic: string, partition: number): Promise<string | null> {
    try {
      const metadata = await readPartitionMetadata(this.#fileSystem, this.pathOf(topic, partition))
      return metadata?.topicId ?? null
    } catch (error) {
      if (isTooLong(error)) return null
      throw error
    }
  }

  /** Whether a partition's directory holds any file of a log. */
  async holdsLog(topic: string, partition: number): Promise<boolean> {
    const names = await this.#namesIn(this.pathOf(topic, partition))
    return names.some((name) => name === PARTITION_METADATA_FILE || isSegmentFileName(name))
  }

  /**
   * Whether the path of a partition's directory is in use. On file systems that ignore case, it may
   * belong to another topic.
   */
  async isTaken(topic: string, partition: number): Promise<boolean> {
    return (await this.#fileSystem.stat(this.pathOf(topic, partition))) !== null
  }

  /** Makes the names of all directories durable. */
  sync(): Promise<void> {
    return this.#fileSystem.syncDirectory(this.#dir)
  }

  /**
   * Removes a directory left by an attempt to create a topic, if it belongs to that attempt: it has
   * the attempt's id, or is still empty. No attempt has records; a directory with records was
   * copied there, for example from one broker of several. So was one whose records have all been
   * deleted: an attempt begins at offset 0.
   */
  async removeUnfinished(topic: string, partition: number, topicId: string): Promise<void> {
    const path = this.pathOf(topic, partition)
    if (!(await this.#isThere(path))) return
    const names = await this.#namesIn(path)
    const id = await this.topicIdOf(topic, partition)
    const isEmpty = names.every((name) => name === `${PARTITION_METADATA_FILE}.tmp`)
    const isOfAttempt = id === topicId || (id === null && isEmpty)
    if (isOfAttempt && !(await this.#isWritten(path, names))) await this.remove(topic, partition)
  }

  /** Whether there is a segment that was written to, or that follows others. */
  async #isWritten(path: string, names: readonly string[]): Promise<boolean> {
    for (const name of names) {
      const segment = parseSegmentFileName(name)
      if (segment?.kind !== 'log') continue
      // No attempt has a segment that is being replaced.
      if (segment.suffix !== '' || segment.offset > 0) return true
      if (((await this.#fileSystem.stat(join(path, name)))?.sizeBytes ?? 0) > 0) return true
    }
    return false
  }

  /**
   * Removes a partition's directory with the files of its log. Unknown files stay, and then the
   * directory stays as well.
   */
  async remove(topic: string, partition: number): Promise<void> {
    await this.#removeDirectory(this.pathOf(topic, partition))
  }

  /**
   * Completes deletions that a Kafka broker has begun by renaming a directory, as far as possible.
   *
   * @returns what {@link PartitionDirectories.list} returns: no partition has a renamed directory.
   */
  async removeRenamed(): Promise<TopicPartition[]> {
    const entries = await this.#fileSystem.list(this.#dir)
    for (const entry of entries) {
      if (entry.kind !== 'directory' || !isDeletedDirectoryName(entry.name)) continue
      try {
        await this.#removeDirectory(join(this.#dir, entry.name))
      } catch (error) {
        if (!isOfOneDirectory(error)) throw error
      }
    }
    return partitionsAmong(entries)
  }

  /**
   * Whether the path is a directory, and not a link to one, which may hold other people's files.
   */
  async #isThere(path: string): Promise<boolean> {
    try {
      return (await this.#fileSystem.stat(path))?.kind === 'directory'
    } catch (error) {
      if (isTooLong(error)) return false
      throw error
    }
  }

  async #namesIn(path: string): Promise<string[]> {
    try {
      return (await this.#fileSystem.list(path)).map((entry) => entry.name)
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return []
      throw error
    }
  }

  async #removeDirectory(path: string): Promise<void> {
    try {
      if (!(await this.#isThere(path))) return
      const entries = await this.#fileSystem.list(path)
      const isMetadata = ({ name }: DirectoryEntry): boolean => name === PARTITION_METADATA_FILE
      const files = entries.filter(({ name, kind }) => kind !== 'directory' && isLogFileName(name))
      const others = files.filter((entry) => !isMetadata(entry))
      for (const { name } of others) await removeLogFile(this.#fileSystem, join(path, name))
      if (files.some(isMetadata)) {
        // The owner of the directory must be known while other files are in it: a power loss may
        // keep one removal and not another.
        if (others.length > 0) await this.#fileSystem.syncDirectory(path)
        await this.#fileSystem.unlink(join(path, PARTITION_METADATA_FILE))
      }
      await this.#fileSystem.removeDirectory(path)
    } catch (error) {
      if (!isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error
    }
  }
}

function partitionsAmong(entries: readonly DirectoryEntry[]): TopicPartition[] {
  const found: TopicPartition[] = []
  for (const { name, kind } of entries) {
    const place = kind === 'directory' ? parsePartitionDirectoryName(name) : null
    if (place !== null && place.partition < MAX_PARTITIONS) found.push(place)
  }
  return found
}

/**
 * Whether the failure concerns one directory that cannot be removed, such as a mount point or one
 * of another user, and not a resource that the process has run out of. A failed sync does not count
 * either: after it, removals would be assumed that are not on the disk.
 */
export function isOfOneDirectory(error: unknown): boolean {
  if (!isSystemError(error) || error.syscall === 'fsync') return false
  return !isSystemError(error, 'EMFILE', 'ENFILE', 'ENOMEM')
}

/** A name that is too long for the file system does not exist, and never did. */
function isTooLong(error: unknown): boolean {
  return isSystemError(error, 'ENAMETOOLONG')
}
