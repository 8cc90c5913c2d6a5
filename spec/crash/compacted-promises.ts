import type { CompactionLedger } from './ledger.ts'
import type { PartitionObservation } from './observation.ts'

/**
 * Returns the promises that compaction broke in the observed partition, as sentences.
 *
 * A record may be missing if the record that replaces it was below the end of a pass, or if it was
 * a tombstone that was due. In the second case no older record of its key may be left.
 * Every record that is left has its original offset and value.
 *
 * @param history values by offset, `'null'` for a tombstone.
 */
export function compactionComplaints(
  place: string,
  { history, compaction }: { history: readonly (string | null)[]; compaction: CompactionLedger },
  { start, end, records }: PartitionObservation,
): string[] {
  const complaints: string[] = []
  const found = new Set(records.map(({ offset }) => offset))
  let before = start - 1
  for (const { offset, value } of records) {
    if (offset <= before || offset >= end) complaints.push(`${place} has ${offset} out of place`)
    if (history[offset] !== value) {
      complaints.push(`${place} has ${value} at ${offset}, not ${history[offset] ?? 'nothing'}`)
    }
    before = offset
  }
  const { below, tombstonesBelow } = compaction
  for (const [key, offsets] of offsetsByKey(compaction.keys.slice(0, end), start)) {
    for (const [slot, offset] of offsets.entries()) {
      if (found.has(offset) || (offsets[slot + 1] ?? Infinity) < below) continue
      const isDue = history[offset] === 'null' && offset < tombstonesBelow
      if (!isDue) complaints.push(`${place} lacks ${key} at ${offset}`)
      const left = offsets.find((each) => found.has(each)) ?? Infinity
      if (left < offset) complaints.push(`${place} has ${key} at ${left}, deleted at ${offset}`)
    }
  }
  return complaints
}

function offsetsByKey(keys: readonly string[], start: number): Map<string, number[]> {
  const byKey = new Map<string, number[]>()
  for (const [offset, key] of keys.entries()) {
    if (offset < start) continue
    const offsets = byKey.get(key) ?? []
    offsets.push(offset)
    byKey.set(key, offsets)
  }
  return byKey
}
