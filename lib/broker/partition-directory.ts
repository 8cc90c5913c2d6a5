import { join } from 'node:path'
import { TopicExistsError } from '../errors.ts'
import type { DirectoryEntry, FileSystem } from '../platform/file-system.ts'
import { isSystemError } from '../platform/system-error.ts'
import { isLogFileName, isSegmentFileName } from '../storage/log-files.ts'
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

/** The directories of partitions inside a broker's directory. Calls for one partition must not overlap. */
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
   * Every partition that has a directory. A number that no topic can have here is that of a
   * directory that happens to be called so.
   */
  async list(): Promise<TopicPartition[]> {
    const found: TopicPartition[] = []
    for (const entry of await this.#fileSystem.list(this.#dir)) {
      const place = entry.kind === 'directory' ? parsePartitionDirectoryName(entry.name) : null
      if (place !== null && place.partition < MAX_PARTITIONS) found.push(place)
    }
    return found
  }

  /**
   * Makes an empty directory that says whose it is. Its name is durable after {@link PartitionDirectories.sync}.
   *
   * @throws {@link TopicExistsError} when there is a directory of that name that holds a log, or
   * something else, such as a link to a directory.
   */
  async create(topic: string, partition: number, topicId: string): Promise<void> {
    const path = this.pathOf(topic, partition)
    await this.#fileSystem.createDirectory(path)
    if (!(await this.#isThere(path))) {
      throw new TopicExistsError(topic, `${path} exists and is no directory`)
    }
    const names = await this.#fileSystem.list(path)
    if (names.some((entry) => isSegmentFileName(entry.name))) {
      throw new TopicExistsError(topic, `${path} exists and holds a log of its own`)
    }
    // What is said there of an earlier log, its segments above all, does not hold for this one. It is
    // gone for good with the sync behind the metadata; before that, the creation is taken back.
    const leftOvers = names.filter(({ name, kind }) => kind === 'file' && isLogFileName(name))
    for (const { name } of leftOvers) await removeLogFile(this.#fileSystem, join(path, name))
    await writePartitionMetadata(this.#fileSystem, path, topicId)
  }

  /** The topic id that a partition's directory names; `null` when it names none or is not there. */
  async topicIdOf(topic: string, partition: number): Promise<string | null> {
    try {
      const metadata = await readPartitionMetadata(this.#fileSystem, this.pathOf(topic, partition))
      return metadata?.topicId ?? null
    } catch (error) {
      if (isTooLong(error)) return null
      throw error
    }
  }

  /** Whether a partition's directory holds anything that a log is made of. */
  async holdsLog(topic: string, partition: number): Promise<boolean> {
    const names = await this.#namesIn(this.pathOf(topic, partition))
    return names.some((name) => name === PARTITION_METADATA_FILE || isSegmentFileName(name))
  }

  /**
   * Whether something stands where the directory of a partition would be made. The directory of
   * another topic does where names that differ only in case are one.
   */
  async isTaken(topic: string, partition: number): Promise<boolean> {
    return (await this.#fileSystem.stat(this.pathOf(topic, partition))) !== null
  }

  /** Makes the names of all directories durable. */
  sync(): Promise<void> {
    return this.#fileSystem.syncDirectory(this.#dir)
  }

  /**
   * Removes a directory that creating a topic has left, if it belongs to that attempt: it carries
   * the id, or nothing yet. No attempt has any records: those were copied there, as from a broker of several.
   */
  async removeUnfinished(topic: string, partition: number, topicId: string): Promise<void> {
    const path = this.pathOf(topic, partition)
    if (!(await this.#isThere(path))) return
    const names = await this.#namesIn(path)
    const id = await this.topicIdOf(topic, partition)
    const isEmpty = names.every((name) => name === `${PARTITION_METADATA_FILE}.tmp`)
    const isOfAttempt = id === topicId || (id === null && isEmpty)
    if (isOfAttempt && !(await this.#holdsBytes(path, names))) await this.remove(topic, partition)
  }

  /** Whether there is a segment that something was written to. */
  async #holdsBytes(path: string, names: readonly string[]): Promise<boolean> {
    for (const name of names) {
      if (!isSegmentFileName(name) || !name.endsWith('.log')) continue
      if (((await this.#fileSystem.stat(join(path, name)))?.sizeBytes ?? 0) > 0) return true
    }
    return false
  }

  /**
   * Removes a partition's directory with the files of its log. What is nobody's that is known here
   * is left, and then the directory is.
   */
  async remove(topic: string, partition: number): Promise<void> {
    await this.#removeDirectory(this.pathOf(topic, partition))
  }

  /** Finishes deletions that a Kafka broker has begun by renaming a directory, as far as that is possible. */
  async removeRenamed(): Promise<void> {
    for (const entry of await this.#fileSystem.list(this.#dir)) {
      if (entry.kind !== 'directory' || !isDeletedDirectoryName(entry.name)) continue
      try {
        await this.#removeDirectory(join(this.#dir, entry.name))
      } catch (error) {
        if (!isOfOneDirectory(error)) throw error
      }
    }
  }

  /** Whether there is a directory, and not a link to one, behind which other people's files may lie. */
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
        // Whose directory it is must be known as long as anything else is in it: a power loss may
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

/**
 * Whether it is one directory that cannot be removed, such as a mount point or what belongs to another user,
 * and not something that the process has no more of. Nor a failed sync, behind which a removal would count
 * that is not on the disk.
 */
export function isOfOneDirectory(error: unknown): boolean {
  if (!isSystemError(error) || error.syscall === 'fsync') return false
  return !isSystemError(error, 'EMFILE', 'ENFILE', 'ENOMEM')
}

/** What has too long a name for its file system is not there, and never was. */
function isTooLong(error: unknown): boolean {
  return isSystemError(error, 'ENAMETOOLONG')
}
