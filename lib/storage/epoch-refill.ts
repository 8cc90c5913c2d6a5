import { CorruptRecordError } from '../errors.ts'
import type { LeaderEpochCache } from './leader-epoch-cache.ts'
import type { LogSegments } from './log-segments.ts'

const READ_BYTES = 1024 * 1024

/** Loads the epochs. @returns whether they are known: the file may be missing, or damaged. */
export async function loadEpochs(epochs: LeaderEpochCache): Promise<boolean> {
  try {
    await epochs.load()
  } catch (error) {
    // The batches carry their epochs, so the cache can be filled again.
    if (!(error instanceof CorruptRecordError)) throw error
  }
  return epochs.entries.length > 0
}

/**
 * Fills the cache from the batches where the file does not help. Otherwise they are not asked: an
 * epoch is in the file before its first batch is written, and no checksum covers it in a batch.
 */
export async function refillEpochs(
  epochs: LeaderEpochCache,
  segments: LogSegments,
  range: { readonly logStartOffset: number; readonly logEndOffset: number },
): Promise<void> {
  const endOffset = range.logEndOffset
  let offset = range.logStartOffset
  while (offset < endOffset) {
    const batches = await segments
      .read(offset, { maxBytes: READ_BYTES, endOffset })
      .catch((error: unknown) => {
        // What is damaged shows when it is read. What is known of epochs may end there.
        if (error instanceof CorruptRecordError) return []
        throw error
      })
    for (const { partitionLeaderEpoch, baseOffset } of batches) {
      if (partitionLeaderEpoch > epochs.latestEpoch) epochs.assign(partitionLeaderEpoch, baseOffset)
    }
    const from = offset
    const next = segments.all.find((segment) => segment.baseOffset > from)
    offset = batches.at(-1)?.nextOffset ?? next?.baseOffset ?? endOffset
  }
}
