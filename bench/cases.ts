import type { BenchCase, BenchContext, Measurement } from './bench-case.ts'
import { asyncAppendOnlyLog } from './peers/async-append-only-log.ts'
import { betterSqlite3 } from './peers/better-sqlite3.ts'
import { classicLevel } from './peers/classic-level.ts'
import { eventStorage } from './peers/event-storage.ts'
import { hypercore } from './peers/hypercore.ts'
import { lmdbPeers } from './peers/lmdb.ts'
import { ndjson } from './peers/ndjson.ts'
import type { Peer } from './peers/peer.ts'
import { rawPeers } from './peers/raw.ts'
import { sonicBoom } from './peers/sonic-boom.ts'
import { varvePeers } from './peers/varve.ts'
import { filledStore } from './store.ts'
import { acknowledged } from './workloads/acknowledged.ts'
import { bulkAppend } from './workloads/bulk-append.ts'
import { compactionCases } from './workloads/compaction.ts'
import { compressionCases } from './workloads/compression.ts'
import { consumersCases } from './workloads/consumers.ts'
import type { WorkloadDefinition } from './workloads/definition.ts'
import { growthCases } from './workloads/growth.ts'
import { loadCases } from './workloads/load.ts'
import { offlineCases } from './workloads/offline.ts'
import { open } from './workloads/open.ts'
import { openGrowthCases } from './workloads/open-growth.ts'
import { partitionsCases } from './workloads/partitions.ts'
import { randomRead } from './workloads/random-read.ts'
import { replay } from './workloads/replay.ts'
import { tail } from './workloads/tail.ts'
import { twice } from './workloads/twice.ts'

export const WORKLOADS: readonly WorkloadDefinition[] = [
  bulkAppend,
  ...acknowledged,
  replay,
  randomRead,
  tail,
  open,
]

/** The floors, Varve, and the logs that it is compared with. */
export const PEERS: readonly Peer[] = [
  ...rawPeers,
  ...varvePeers,
  ...lmdbPeers,
  betterSqlite3,
  classicLevel,
  hypercore,
  eventStorage,
  asyncAppendOnlyLog,
  sonicBoom,
  ndjson,
]

/** Every case, in the order of the report. */
export const CASES: readonly BenchCase[] = [
  ...WORKLOADS.flatMap((workload) => casesOf(workload)),
  ...growthCases,
  ...openGrowthCases,
  ...partitionsCases,
  ...consumersCases,
  ...loadCases,
  ...compressionCases,
  ...compactionCases,
  ...offlineCases,
]

/** Whether a log of this name is Varve or one of its variants. */
export function isVarve(log: string): boolean {
  return log.startsWith('varve')
}

/** Whether a log of this name is one of the floors. */
export function isRaw(log: string): boolean {
  return log.startsWith('raw')
}

/**
 * The cases whose name contains one of `patterns`, with the floors that they are compared with; all
 * cases if there are no patterns. Unless `withLong` is set, long cases are only selected by a
 * pattern that their name begins with.
 *
 * @throws an Error if a pattern matches no case.
 */
export function selectCases(patterns: readonly string[], withLong: boolean): readonly BenchCase[] {
  if (patterns.length === 0) return CASES.filter(({ isLong }) => withLong || isLong !== true)
  const selected = patterns.flatMap((pattern) => {
    const fitting = CASES.filter(({ name, isLong }) =>
      isLong === true && !withLong ? name.startsWith(pattern) : name.includes(pattern),
    )
    if (fitting.length === 0) throw new Error(`no case has '${pattern}' in its name`)
    return fitting
  })
  const floors = new Set(selected.map(({ floor }) => floor))
  return CASES.filter((each) => selected.includes(each) || floors.has(each.name))
}

/** @throws an Error if there is no such case. */
export function caseNamed(name: string): BenchCase {
  const found = CASES.find((each) => each.name === name)
  if (found === undefined) throw new Error(`no case is named '${name}'`)
  return found
}

function casesOf(workload: WorkloadDefinition): BenchCase[] {
  const { name, unit, floor, stored, valueSizes, isRepeated } = workload
  const peers = PEERS.filter(({ cannot }) => cannot[name] === undefined)
  return valueSizes.flatMap((valueBytes) =>
    peers.map((peer): BenchCase => {
      const share = peer.share?.[name] ?? 1
      const run = (context: BenchContext): Promise<Measurement> =>
        workload.run(context, { peer, valueBytes, share })
      const benchCase = {
        name: `${name}/${peer.name}/value=${valueBytes}`,
        workload: name,
        log: peer.name,
        valueBytes,
        unit,
        floor: peer.name === floor ? null : `${name}/${floor}/value=${valueBytes}`,
        run: (context: BenchContext) =>
          isRepeated === true && context.isTwice
            ? twice(context, stored !== undefined, run)
            : run(context),
      } satisfies BenchCase
      if (stored === undefined) return benchCase
      return { ...benchCase, store: filledStore(peer, valueBytes, stored(valueBytes)) }
    }),
  )
}
