import { CorruptRecordError } from '../errors.ts'
import { readWholeFile, writeFully } from '../platform/file-io.ts'
import type { FileSystem } from '../platform/file-system.ts'

/** Version, id of the producer, and the first, the last and the last stable offset of a transaction. */
const ENTRY_BYTES = 34
const MAX_FILE_BYTES = 64 * 1024 * 1024

/**
 * Writes the aborted transactions of several segments, as a broker has noted them, for the one that takes
 * their place; durable when it resolves. Compaction keeps all records of transactions and their markers, so
 * all entries stay. Without them a broker would show what was aborted as committed.
 *
 * Makes no file where there is no entry.
 *
 * @throws {@link CorruptRecordError} when a file holds something else than whole entries.
 */
export async function joinTransactionIndexes(
  fileSystem: FileSystem,
  sources: readonly string[],
  target: string,
): Promise<void> {
  const found: Buffer[] = []
  for (const path of sources) {
    const content = await readWholeFile(fileSystem, path, MAX_FILE_BYTES)
    if (content === null || content.length === 0) continue
    const restBytes = content.length % ENTRY_BYTES
    if (restBytes > 0) {
      const position = content.length - restBytes
      throw new CorruptRecordError('the last entry is not whole', { path, position })
    }
    found.push(content)
  }
  if (found.length === 0) return
  const file = await fileSystem.open(target, 'create')
  try {
    await file.truncate(0)
    await writeFully(file, found, 0)
    await file.sync()
  } finally {
    await file.close()
  }
}
