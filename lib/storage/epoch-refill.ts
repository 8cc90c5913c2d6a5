import { CorruptRecordError } from '../errors.ts'
import type { LeaderEpochCache } from './leader-epoch-cache.ts'
import type { LogSegments } from './log-segments.ts'

const READ_BYTES = 1024 * 1024

/** Loads the epochs. @returns whether they are known: the file may be missing or damaged. */
export async function loadEpochs(epochs: LeaderEpochCache): Promise<boolean> {
  try {
    await epochs.load()
  } catch (error) {
    // The batches contain their epochs, so the cache can be refilled.
    if (!(error instanceof CorruptRecordError)) throw error
  }
  return epochs.entries.length > 0
}

/**
 * Fills the cache from the batches if the file is unusable. Otherwise the file is authoritative: an
 * epoch is written to it before the first batch, and the CRC of a batch does not cover the epoch.
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
        // Damage will be reported by a read. The known epochs may end there.
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
