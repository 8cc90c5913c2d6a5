import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, replaceFile } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'
import type { Random } from '../platform/random.ts'

/** Name of the file in a partition's directory. */
export const PARTITION_METADATA_FILE = 'partition.metadata'

const CONTENT = /^version: 0\ntopic_id: ([A-Za-z0-9_-]{22})\n?$/
const ZERO_ID = 'AAAAAAAAAAAAAAAAAAAAAA'

/** A new topic id: a version 4 UUID in the 22-character form that Kafka writes. */
export function newTopicId(random: Random): string {
  const id = idOf(random.bytes(16), 4)
  // Kafka's tools treat an argument with a leading dash as an option.
  return id.startsWith('-') ? newTopicId(random) : id
}

/**
 * The id of a topic whose files contain none, such as those of old Kafka brokers: a version 8 UUID
 * made from the name. Whoever opens the directory gets the same id, even if it cannot be written.
 */
export function topicIdFromName(name: string): string {
  const id = idOf(createHash('sha256').update(name).digest().subarray(0, 16), 8)
  return id.startsWith('-') ? topicIdFromName(`${name} again`) : id
}

function idOf(bytes: Buffer, version: number): string {
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | (version << 4), 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  return bytes.toString('base64url')
}

/**
 * Reads the id of the topic that a partition's directory belongs to; `null` if there is no file.
 *
 * @throws {@link CorruptRecordError} when the file holds anything other than version 0 and an id.
 */
export async function readPartitionMetadata(
  fileSystem: FileSystem,
  dir: string,
): Promise<{ topicId: string } | null> {
  const path = join(dir, PARTITION_METADATA_FILE)
  const content = await readWholeFile(fileSystem, path, 4096)
  if (content === null) return null
  const topicId = CONTENT.exec(content.toString('utf8'))?.[1]
  if (topicId === undefined || topicId === ZERO_ID) {
    throw new CorruptRecordError('it has no valid topic id', { path, position: 0 })
  }
  return { topicId }
}

/**
 * Whether a partition's directory now belongs to a later topic of the same name.
 *
 * A directory that names no topic, or whose file is damaged, does not. The file is written in one
 * step before anything else in a new topic's directory, and is removed last. The contents of a
 * directory without it are therefore older, as with brokers that predate the file.
 *
 * @param topicId id of the topic that the directory belonged to; `undefined` if unknown.
 */
export async function isOfAnotherTopic(
  fileSystem: FileSystem,
  dir: string,
  topicId: string | undefined,
): Promise<boolean> {
  if (topicId === undefined) return false
  try {
    const metadata = await readPartitionMetadata(fileSystem, dir)
    return metadata !== null && metadata.topicId !== topicId
  } catch (error) {
    if (error instanceof CorruptRecordError) return false
    throw error
  }
}

/** Writes the file; its content and its name are durable when it resolves. */
export async function writePartitionMetadata(
  fileSystem: FileSystem,
  dir: string,
  topicId: string,
): Promise<void> {
  await replaceFile(
    fileSystem,
    join(dir, PARTITION_METADATA_FILE),
    `version: 0\ntopic_id: ${topicId}`,
  )
}
