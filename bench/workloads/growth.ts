import type { BenchCase, BenchContext } from '../bench-case.ts'
import { asyncAppendOnlyLog } from '../peers/async-append-only-log.ts'
import { betterSqlite3 } from '../peers/better-sqlite3.ts'
import { lmdbPeers } from '../peers/lmdb.ts'
import { peerIn, type Peer } from '../peers/peer.ts'
import { rawPeers } from '../peers/raw.ts'
import { varvePeers } from '../peers/varve.ts'
import { filledStore } from '../store.ts'
import { bulkAppend } from './bulk-append.ts'
import type { WorkloadDefinition } from './definition.ts'
import { randomRead } from './random-read.ts'
import { replay } from './replay.ts'

const VALUE_BYTES = 100
const RECORDS = 1_000_000
/** With a hundred times the records, the other logs would take several more minutes. */
const FACTORS: readonly (readonly [Peer, readonly number[]])[] = [
  [peerIn(rawPeers, 'raw'), [1, 10, 100]],
  [peerIn(varvePeers, 'varve'), [1, 10, 100]],
  [peerIn(lmdbPeers, 'lmdb'), [1, 10]],
  [betterSqlite3, [1, 10]],
  [asyncAppendOnlyLog, [1, 10]],
]

/**
 * Whether a log of ten or a hundred times the usual size is as fast as one of the usual size, and
 * how it then compares with other logs. A plain file shows the machine's share of the difference.
 */
export const growthCases: readonly BenchCase[] = [bulkAppend, replay, randomRead].flatMap(
  (workload) =>
    FACTORS.flatMap(([peer, factors]) =>
      factors.map((factor) => growthCase(workload, peer, factor)),
    ),
)

function growthCase(workload: WorkloadDefinition, peer: Peer, factor: number): BenchCase {
  const caseOf = (records: number): string =>
    `growth/${workload.name}/${peer.name}/records=${records / 1e6}M`
  const benchCase = {
    name: caseOf(RECORDS * factor),
    workload: 'growth',
    question: `${workload.name} of ${(RECORDS * factor) / 1e6} million records`,
    log: peer.name,
    valueBytes: VALUE_BYTES,
    unit: workload.unit,
    floor: factor === 1 ? null : caseOf(RECORDS),
    isLong: true,
    run: (context: BenchContext) =>
      workload.run(context, { peer, valueBytes: VALUE_BYTES, share: factor }),
  }
  if (workload.stored === undefined) return benchCase
  return { ...benchCase, store: filledStore(peer, VALUE_BYTES, RECORDS * factor) }
}
