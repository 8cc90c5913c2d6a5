import { keepAge, writeFully } from '../platform/file-io.ts'
import type { File } from '../platform/file-system.ts'
import { BatchReader } from './batch-reader.ts'

/** Bytes that are read and written at once, unless a batch is larger. */
const CHUNK_BYTES = 1024 * 1024

/**
 * Writes the batches of a log file in [`position`, `end`) over themselves and ends it behind them, so that
 * the next sync tells of bytes and of a size that an earlier one may have lost. A power loss in the
 * middle of it does not matter: each byte becomes what it is. So the file stays as old as it was.
 *
 * @throws {@link CorruptRecordError} when they are not whole: the page cache has changed.
 */
export async function writeAgain(file: File, position: number, end: number): Promise<void> {
  // An empty file has no records whose age it would tell.
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
