import { keepAge, writeFully } from '../platform/file-io.ts'
import type { File } from '../platform/file-system.ts'
import { BatchReader } from './batch-reader.ts'

/** Bytes read and written at once, unless a batch is larger. */
const CHUNK_BYTES = 1024 * 1024

/**
 * Writes the batches of a log file in [`position`, `end`) over themselves and ends the file there.
 * The next sync then covers bytes and a size that an earlier one may have lost. A power loss in
 * between does no harm: every byte keeps its value. For the same reason, the file keeps its age.
 *
 * @throws {@link CorruptRecordError} when they are not intact: the page cache has changed.
 */
export async function writeAgain(file: File, position: number, end: number): Promise<void> {
  // The age of an empty file does not matter: it has no records.
  const before = end > 0 ? await file.stat() : null
  const reader = new BatchReader(file, position, end)
  while (!reader.isAtEnd()) {
    const from = reader.position
    const batches: Buffer[] = []
    while (!reader.isAtEnd() && reader.position - from < CHUNK_BYTES) {
      await reader.header(CHUNK_BYTES)
      batches.push((await reader.batch()).buffer)
      reader.skip()
    }
    await writeFully(file, batches, from)
  }
  await file.truncate(end)
  if (before !== null) await keepAge(file, before.modifiedMs)
}
