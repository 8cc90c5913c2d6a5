import { join } from 'node:path'
import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, replaceFile } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'
import type { Random } from '../platform/random.ts'
import { newTopicId } from '../storage/partition-metadata.ts'

/** This file marks a directory as that of a broker. */
export const META_PROPERTIES_FILE = 'meta.properties'

/**
 * Reads the cluster id from Kafka's `meta.properties`; `null` if there is no such file.
 *
 * @throws {@link CorruptRecordError} when the version is unknown, or there is no cluster id.
 */
export async function readMetaProperties(
  fileSystem: FileSystem,
  dir: string,
): Promise<string | null> {
  const path = join(dir, META_PROPERTIES_FILE)
  const content = await readWholeFile(fileSystem, path, 65_536)
  if (content === null) return null
  const properties = new Map<string, string>()
  for (const line of content.toString('latin1').split(/\r?\n/)) {
    const match = /^\s*([^#!=\s]+)\s*[=:]\s*(.*)$/.exec(line)
    if (match !== null) properties.set(match[1] ?? '', match[2] ?? '')
  }
  const version = properties.get('version')
  const clusterId = properties.get('cluster.id')
  if ((version !== '1' && version !== '0') || clusterId === undefined) {
    throw new CorruptRecordError(
      `version '${version ?? ''}' is not 0 or 1, or there is no cluster.id`,
      { path, position: 0 },
    )
  }
  return clusterId
}

/** Writes a new `meta.properties`; durable when it resolves. @returns the new cluster's id */
export async function createMetaProperties(
  fileSystem: FileSystem,
  dir: string,
  random: Random,
): Promise<string> {
  const clusterId = newTopicId(random)
  const lines = [
    'version=1',
    `cluster.id=${clusterId}`,
    'node.id=1',
    `directory.id=${newTopicId(random)}`,
  ]
  await replaceFile(fileSystem, join(dir, META_PROPERTIES_FILE), `${lines.join('\n')}\n`)
  return clusterId
}
