import type { Partition } from './partition.ts'
import { outOfRange } from './record-deletion.ts'

/**
 * See `Partition.ensureDurable`. Most committed records were durable before they were read, and
 * need no promise.
 *
 * @returns `null` if there is nothing to wait for.
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
 * A log that ends before the offset is checked once more after a flush, which waits for a
 * truncation in progress. Until the truncation has started an epoch, the log cannot be told from
 * one that never reached the offset.
 *
 * @param leaderEpoch of the record before `offset`; `null` if it is not known.
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
    // Only an end that moves back is news: one that rises may do so for ever.
    if (isFinal || logEndOffset >= lastEnd)
      throw damage ?? outOfRange(log, offset, durableEndOffset)
    lastEnd = logEndOffset
    await partition.flush()
  }
}

function isDurable(partition: Partition, offset: number, leaderEpoch: number | null): boolean {
  return offset <= partition.log.durableEndOffset || isCutOff(partition, leaderEpoch)
}

/** Whether the log has continued in a later epoch, and the rest of this one is durable. */
function isCutOff({ log }: Partition, leaderEpoch: number | null): boolean {
  if (leaderEpoch === null || leaderEpoch >= log.leaderEpoch) return false
  const end = log.reader.endOffsetForEpoch(leaderEpoch)
  return end !== null && end <= log.durableEndOffset
}
