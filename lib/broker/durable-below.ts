import type { Partition } from './partition.ts'
import { outOfRange } from './record-deletion.ts'

/**
 * See `Partition.ensureDurable`.
 *
 * A log that ends before the offset is looked at once more behind a flush, which waits for a cut that is under
 * way: until that has begun an epoch, nobody can tell it from a log that has never come so far.
 *
 * @param leaderEpoch of the record before `offset`, `null` where it is not known.
 */
export async function ensureDurable(
  partition: Partition,
  offset: number,
  leaderEpoch: number | null,
): Promise<void> {
  const { log } = partition
  let lastEnd = Infinity
  while (offset > log.durableEndOffset && !isCutOff(partition, leaderEpoch)) {
    const { damage, failure, durableEndOffset, logEndOffset } = log
    const isUnsynced = durableEndOffset < Math.min(offset, logEndOffset)
    const isFinal = !isUnsynced && (damage !== null || failure !== null)
    // Only an end that goes back is news: one that rises may do so for ever.
    if (isFinal || logEndOffset >= lastEnd)
      throw damage ?? outOfRange(log, offset, durableEndOffset)
    lastEnd = logEndOffset
    await partition.flush()
  }
}

/** Whether the log has gone on in a later epoch, and what is left of this one is durable. */
function isCutOff({ log }: Partition, leaderEpoch: number | null): boolean {
  if (leaderEpoch === null || leaderEpoch >= log.leaderEpoch) return false
  const end = log.reader.endOffsetForEpoch(leaderEpoch)
  return end !== null && end <= log.durableEndOffset
}
