import type { Partition } from './partition.ts'
import { outOfRange } from './record-deletion.ts'

/**
 * See `Partition.ensureDurable`. Most of what is committed was durable before it was read, and needs no promise.
 *
 * @returns `null` where nothing is to be waited for.
 */
export function ensureDurable(
  partition: Partition,
  offset: number,
  leaderEpoch: number | null,
): Promise<void> | null {
  if (isDurable(partition, offset, leaderEpoch)) return null
  return becomeDurable(partition, offset, leaderEpoch)
}

/**
 * A log that ends before the offset is looked at once more behind a flush, which waits for a cut that is under
 * way: until that has begun an epoch, nobody can tell it from a log that has never come so far.
 *
 * @param leaderEpoch of the record before `offset`, `null` where it is not known.
 */
async function becomeDurable(
  partition: Partition,
  offset: number,
  leaderEpoch: number | null,
): Promise<void> {
  const { log } = partition
  let lastEnd = Infinity
  while (!isDurable(partition, offset, leaderEpoch)) {
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

function isDurable(partition: Partition, offset: number, leaderEpoch: number | null): boolean {
  return offset <= partition.log.durableEndOffset || isCutOff(partition, leaderEpoch)
}

/** Whether the log has gone on in a later epoch, and what is left of this one is durable. */
function isCutOff({ log }: Partition, leaderEpoch: number | null): boolean {
  if (leaderEpoch === null || leaderEpoch >= log.leaderEpoch) return false
  const end = log.reader.endOffsetForEpoch(leaderEpoch)
  return end !== null && end <= log.durableEndOffset
}
